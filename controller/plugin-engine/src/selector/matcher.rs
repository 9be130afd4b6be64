//! Decides which subjects a plugin is called about. All functions are pure.

use std::collections::BTreeMap;

use dask_operator_api::{MatchCondition, MatchRules};
use kube::{
    Resource, ResourceExt as _,
    core::{Selector, SelectorExt as _},
};
use operator_runtime::rejection::Rejection;

use super::expression::{Budget, Expression, Variables};

/// The memory limit of the patterns of all conditions, in KiB. Patterns are kept as long as the plugin exists.
const MAX_PATTERN_MEMORY: u64 = 1024;

/// The compiled `match` field of a plugin resource.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matcher {
    namespaces: Option<Selector>,
    objects: Option<Selector>,
    conditions: Vec<NamedExpression>,
}

/// A compiled match condition.
#[derive(Clone, Debug)]
struct NamedExpression {
    name: String,
    expression: Expression,
}

/// The error of a condition that has no result for a subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("match.conditions {condition}: {error}")]
pub(crate) struct Undecided {
    condition: String,
    error: String,
}

impl Matcher {
    /// Compiles `rules`. An error says what is wrong with them.
    pub(crate) fn compile(rules: &MatchRules) -> Result<Self, Rejection> {
        let selector = |field: &str, selector: &Option<_>| {
            let compiled = selector.clone().map(Selector::try_from).transpose();
            compiled.map_err(|error| Rejection::new("InvalidSelector", format!("match.{field}: {error}")))
        };
        let namespaces = selector("namespaceSelector", &rules.namespace_selector)?;
        let objects = selector("objectSelector", &rules.object_selector)?;
        let conditions = rules.conditions.iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        let memory: u64 = conditions.iter().map(|condition| condition.expression.memory).sum();
        if memory > MAX_PATTERN_MEMORY {
            let message = format!(
                "match.conditions: all patterns together take {memory} KiB, and may take {MAX_PATTERN_MEMORY} KiB: use \
                 fewer and smaller ones"
            );
            return Err(Rejection::new("InvalidExpression", message));
        }
        Ok(Self { namespaces, objects, conditions })
    }

    /// Returns whether the labels of namespaces have to be known.
    pub(crate) fn reads_namespaces(&self) -> bool {
        self.namespaces.is_some()
    }

    /// Returns whether the objects themselves have to be known.
    pub(crate) fn has_conditions(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// Returns whether `object` matches the object selector.
    pub(crate) fn selects(&self, object: &impl Resource) -> bool {
        self.objects.as_ref().is_none_or(|selector| selector.matches(object.labels()))
    }

    /// Returns whether a namespace with these labels matches the namespace selector.
    pub(crate) fn selects_namespace(&self, labels: &BTreeMap<String, String>) -> bool {
        self.namespaces.as_ref().is_none_or(|selector| selector.matches(labels))
    }

    /// Evaluates the conditions. As with `matchConditions` of admission webhooks, a condition that is false decides,
    /// regardless of the others. Otherwise a condition that fails leaves the result undecided.
    pub(crate) fn decide(&self, variables: &Variables<'_>) -> Result<bool, Undecided> {
        let (mut open, mut budget) = (None, Budget::new());
        for NamedExpression { name, expression } in &self.conditions {
            match expression.evaluate(variables, &mut budget) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) => {
                    open = open.or_else(|| Some(Undecided { condition: name.clone(), error }));
                }
            }
        }
        open.map_or(Ok(true), Err)
    }
}

/// Compiles a condition.
fn compile(condition: &MatchCondition) -> Result<NamedExpression, Rejection> {
    let MatchCondition { name, expression } = condition;
    let compiled = Expression::compile(expression);
    let compiled =
        compiled.map_err(|error| Rejection::new("InvalidExpression", format!("match.conditions {name}: {error}")))?;
    Ok(NamedExpression { name: name.clone(), expression: compiled })
}

#[cfg(test)]
mod tests {
    use kube::api::DynamicObject;
    use serde_json::{Value, json};

    use super::*;

    fn matcher(rules: Value) -> Result<Matcher, Rejection> {
        Matcher::compile(&serde_json::from_value(rules).unwrap())
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn object(labels: &[(&str, &str)]) -> DynamicObject {
        serde_json::from_value(
            json!({"metadata": {"name": "a", "labels": labels.iter().copied().collect::<BTreeMap<_, _>>()}}),
        )
        .unwrap()
    }

    #[test]
    fn without_rules_everything_matches() {
        let all = matcher(json!({})).unwrap();
        assert!(all.selects(&object(&[])) && all.selects_namespace(&labels(&[])));
        assert!(!all.reads_namespaces() && !all.has_conditions());
        assert_eq!(all.decide(&Variables::of_json(&json!({}), &json!({}), None)), Ok(true));
    }

    #[test]
    fn selectors_are_those_of_kubernetes() {
        let selector = json!({
            "matchLabels": {"team": "a"},
            "matchExpressions": [{"key": "stage", "operator": "NotIn", "values": ["test"]}],
        });
        for field in ["objectSelector", "namespaceSelector"] {
            let one = matcher(json!({field: selector})).unwrap();
            let table: [(&[(&str, &str)], bool); 4] = [
                (&[], false),
                (&[("team", "a")], true),
                (&[("team", "a"), ("stage", "test")], false),
                (&[("team", "b")], false),
            ];
            for (given, expected) in table {
                let selected = one.selects(&object(given)) && one.selects_namespace(&labels(given));
                assert_eq!(selected, expected, "{field} {given:?}");
            }
            assert_eq!(one.reads_namespaces(), field == "namespaceSelector");
            let broken = json!({field: {"matchExpressions": [{"key": "a", "operator": "Near"}]}});
            let refused = matcher(broken).unwrap_err();
            assert_eq!(refused.reason, "InvalidSelector");
            assert!(refused.message.contains(field), "{}", refused.message);
        }
    }

    #[test]
    fn a_condition_that_is_false_decides_even_if_another_one_fails() {
        let (yes, no, fails) = ("object.a == 1", "object.a == 2", "object.b == 1");
        let table: [(&[&str], Result<bool, &str>); 7] = [
            (&[yes], Ok(true)),
            (&[yes, yes], Ok(true)),
            (&[yes, no], Ok(false)),
            (&[fails, no], Ok(false)),
            (&[no, fails], Ok(false)),
            (&[yes, fails], Err("1")),
            (&[fails, yes, fails], Err("0")),
        ];
        let (object, owner) = (json!({"a": 1}), json!({}));
        let variables = Variables::of_json(&object, &owner, None);
        for (texts, expected) in table {
            let conditions: Vec<Value> = texts
                .iter()
                .enumerate()
                .map(|(index, text)| json!({"name": index.to_string(), "expression": text}))
                .collect();
            let decided = matcher(json!({"conditions": conditions})).unwrap().decide(&variables);
            let decided = decided.map_err(|open| open.condition);
            assert_eq!(decided, expected.map_err(str::to_owned), "{texts:?}");
        }
    }

    fn decide(texts: &[String], object: &Value) -> Result<bool, String> {
        let conditions: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| json!({"name": index.to_string(), "expression": text}))
            .collect();
        let matcher = matcher(json!({"conditions": conditions})).unwrap();
        matcher.decide(&Variables::of_json(object, &json!({}), None)).map_err(|open| open.to_string())
    }

    #[test]
    fn a_condition_that_costs_too_much_does_not_keep_others_from_deciding() {
        let object = json!({"x": vec![0; 500_000]});
        let costly = "object.x.all(a, object.x.all(b, true))".to_owned();
        let undecided = decide(&["true".to_owned(), costly.clone()], &object).unwrap_err();
        assert!(undecided.starts_with("match.conditions 1: it costs more than 1000000 units"), "{undecided}");
        assert_eq!(decide(&[costly.clone(), "false".to_owned()], &object), Ok(false));
        assert_eq!(decide(&[costly], &json!({"x": [0, 0]})), Ok(true), "other objects are not affected");
    }

    #[test]
    fn all_conditions_have_a_limit_together() {
        let object = json!({"x": vec![0; 200_000]});
        // Each condition costs at least 600 000 units.
        let conditions = |count| vec!["object.x.all(a, true)".to_owned() + " && size(object.x.map(b, b)) > 0"; count];
        assert_eq!(decide(&conditions(2), &object), Ok(true));
        let undecided = decide(&conditions(16), &object).unwrap_err();
        assert!(undecided.contains(": the conditions together cost more than 2500000 units"), "{undecided}");
    }

    #[test]
    fn patterns_of_all_conditions_have_a_limit_together() {
        let conditions = |count: usize| {
            let one = |index: usize| json!({"name": index.to_string(), "expression": "component.matches('^a')"});
            matcher(json!({"conditions": (0..count).map(one).collect::<Vec<_>>()}))
        };
        assert!(conditions(15).is_ok());
        let refused = conditions(16).unwrap_err();
        assert_eq!(refused.reason, "InvalidExpression");
        assert!(refused.message.contains("all patterns together take"), "{}", refused.message);
    }

    #[test]
    fn an_expression_that_is_refused_is_named() {
        let conditions =
            json!([{"name": "fine", "expression": "true"}, {"name": "prod", "expression": "subject == 1"}]);
        let refused = matcher(json!({"conditions": conditions})).unwrap_err();
        assert_eq!(refused.reason, "InvalidExpression");
        assert!(
            refused.message.starts_with("match.conditions prod: there is no variable subject"),
            "{}",
            refused.message
        );
    }
}
