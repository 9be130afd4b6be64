//! Environment variables of a container, as far as its spec gives their values. Those from Secrets, ConfigMaps and fields
//! are unknown.

use std::collections::BTreeMap;

use serde_json::Value;

/// The longest value that is used. Longer ones count as unknown.
const MAX_VALUE: usize = 1024;
/// How many variables are read.
const MAX_VARIABLES: usize = 1000;

/// Variables with their values.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    values: BTreeMap<String, String>,
}

impl Variables {
    /// Returns the variables that `container` sets.
    pub(super) fn of(container: &Value) -> Self {
        let mut variables = Self::default();
        for entry in container["env"].as_array().into_iter().flatten().take(MAX_VARIABLES) {
            let Some(name) = entry["name"].as_str() else { continue };
            let value = entry["value"].as_str().and_then(|value| variables.expanded(value, MAX_VALUE));
            variables.set(name, value);
        }
        variables
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Sets a variable. `None` makes its value unknown.
    pub(super) fn set(&mut self, name: &str, value: Option<String>) {
        match value.filter(|value| value.len() <= MAX_VALUE) {
            Some(value) => self.values.insert(name.to_owned(), value),
            None => self.values.remove(name),
        };
    }

    /// Returns `text` with the values of its references `$(NAME)`, as Kubernetes expands command, args and values:
    /// references to unknown variables stay, and `$$` is a dollar sign. `None` if the result has more than `limit` bytes.
    pub(super) fn expanded(&self, text: &str, limit: usize) -> Option<String> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                expanded.push('$');
                rest = after;
            } else if let Some((value, after)) = self.reference(rest) {
                expanded.push_str(value);
                rest = after;
            } else {
                expanded.push('$');
            }
            if expanded.len() > limit {
                return None;
            }
        }
        expanded.push_str(rest);
        (expanded.len() <= limit).then_some(expanded)
    }

    /// Returns the value of the variable that `text` begins with in parentheses, and what follows.
    fn reference<'a>(&self, text: &'a str) -> Option<(&str, &'a str)> {
        let (name, after) = text.strip_prefix('(')?.split_once(')')?;
        Some((self.get(name)?, after))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn variables() -> Variables {
        Variables::of(&json!({"env": [
            {"name": "A", "value": "a"},
            {"name": "B", "value": "$(A)/$(LATER)"},
            {"name": "LATER", "value": "x"},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "EMPTY"},
            {"value": "no name"},
            "no object",
        ]}))
    }

    #[test]
    fn references_are_expanded_as_kubernetes_does() {
        let table = [
            ("plain", "plain"),
            ("$(A)", "a"),
            ("x$(A)y$(A)", "xaya"),
            ("$(B)", "a/$(LATER)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(SECRET)$(NONE)", "$(SECRET)$(NONE)"),
            ("$(A", "$(A"),
            ("$()", "$()"),
        ];
        for (text, expected) in table {
            assert_eq!(variables().expanded(text, 100).as_deref(), Some(expected), "{text}");
        }
    }

    /// Each value could refer to the one before it ten times.
    #[test]
    fn values_that_multiply_are_given_up() {
        let mut env = vec![json!({"name": "V0", "value": "x".repeat(100)})];
        env.extend((1..900).map(|i| json!({"name": format!("V{i}"), "value": format!("$(V{})", i - 1).repeat(10)})));
        let variables = Variables::of(&json!({"env": env}));
        assert_eq!((variables.get("V1").map(str::len), variables.get("V2")), (Some(1000), None));
        assert_eq!(variables.expanded(&"$(V1)".repeat(100_000), 5000), None);
    }
}
