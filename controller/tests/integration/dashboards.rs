//! The queries of the chart's dashboard and alert rules.

use std::{collections::BTreeSet, convert::Infallible, path::Path};

use dask_operator::metrics::{self, Described};
use promql_parser::{
    parser::{self, AggregateExpr, BinaryExpr, Expr, MatrixSelector, VectorSelector},
    util::{ExprVisitor, walk_expr},
};
use serde::Deserialize;
use serde_json::Value;

/// The chart's rules.
pub(crate) const RULES: &str = "charts/dask-operator/files/alerts.yaml";
const DASHBOARD: &str = "charts/dask-operator/files/dashboard.json";
/// Labels that Prometheus adds to each scraped metric, and the label of a histogram's buckets.
const GIVEN: [&str; 4] = ["namespace", "job", "instance", "le"];

/// Reads a file of this repository.
pub(crate) fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// A rule, as Prometheus reads it.
#[derive(Debug, Deserialize)]
pub(crate) struct Alert {
    #[serde(rename = "alert")]
    pub(crate) name: String,
    pub(crate) expr: String,
    pub(crate) labels: Value,
    pub(crate) annotations: Value,
}

pub(crate) fn alerts() -> Vec<Alert> {
    #[derive(Deserialize)]
    struct File {
        groups: Vec<Group>,
    }
    #[derive(Deserialize)]
    struct Group {
        rules: Vec<Alert>,
    }
    let rules: File = serde_saphyr::from_str(&file(RULES)).unwrap();
    rules.groups.into_iter().flat_map(|group| group.rules).collect()
}

/// A query of a panel.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) panel: String,
    /// With all variables replaced, as Grafana does.
    pub(crate) expr: String,
    pub(crate) legend: String,
}

pub(crate) fn dashboard() -> Value {
    serde_json::from_str(&file(DASHBOARD)).unwrap()
}

/// Returns all queries of the dashboard, with this window of rates.
pub(crate) fn questions(window: &str) -> Vec<Question> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let questions = panels.filter(|panel| panel["type"] != "row").flat_map(|panel| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        panel["targets"].as_array().unwrap().iter().map(move |target| Question {
            panel: text(&panel["title"]),
            expr: filled_in(target["expr"].as_str().unwrap(), window),
            legend: text(&target["legendFormat"]),
        })
    });
    questions.collect()
}

/// Returns `expr` as Grafana sends it while everything is selected.
pub(crate) fn filled_in(expr: &str, window: &str) -> String {
    let expr = expr.replace("$__rate_interval", window).replace("$namespace", ".*").replace("$job", ".*");
    assert!(!expr.contains('$'), "a variable that nobody fills in: {expr}");
    expr
}

/// Returns the selectors of `expr`, and the labels that it groups or joins by.
#[derive(Default)]
pub(crate) struct Mentioned {
    pub(crate) selectors: Vec<VectorSelector>,
    pub(crate) labels: BTreeSet<String>,
}

impl ExprVisitor for Mentioned {
    type Error = Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Infallible> {
        match expr {
            Expr::VectorSelector(selector) | Expr::MatrixSelector(MatrixSelector { vs: selector, .. }) => {
                self.selectors.push(selector.clone());
            }
            Expr::Aggregate(AggregateExpr { modifier: Some(modifier), .. }) => {
                self.labels.extend(modifier.labels().labels.iter().cloned());
            }
            Expr::Binary(BinaryExpr { modifier: Some(modifier), .. }) => {
                let matching = modifier.matching.iter().flat_map(|matching| &matching.labels().labels);
                self.labels.extend(matching.cloned());
            }
            _ => {}
        }
        Ok(true)
    }
}

pub(crate) fn mentioned(expr: &str) -> Result<Mentioned, String> {
    let parsed = parser::parse(expr)?;
    let mut mentioned = Mentioned::default();
    let Ok(_) = walk_expr(&mut mentioned, &parsed);
    Ok(mentioned)
}

/// Returns what is wrong with the names in `expr` and `legend`.
pub(crate) fn problems(expr: &str, legend: &str) -> Vec<String> {
    let mentioned = match mentioned(expr) {
        Ok(mentioned) => mentioned,
        Err(error) => return vec![error],
    };
    let (mut problems, mut known) = (Vec::new(), BTreeSet::from(GIVEN));
    for selector in &mentioned.selectors {
        let name = selector.name.as_deref().unwrap_or_default();
        let Some(family) = family(name) else {
            problems.push(format!("there is no metric {name}"));
            continue;
        };
        let labels: BTreeSet<&str> = family.labels.iter().copied().chain(GIVEN).collect();
        let matchers = selector.matchers.matchers.iter().map(|matcher| matcher.name.as_str());
        problems.extend(
            matchers.filter(|label| !labels.contains(label)).map(|label| format!("{name} has no label {label}")),
        );
        known.extend(labels);
    }
    // The labels of a metric that does not exist are unknown.
    if !problems.is_empty() {
        return problems;
    }
    let legend_labels = legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
    let used = mentioned.labels.iter().map(String::as_str).chain(legend_labels);
    problems
        .extend(used.filter(|label| !known.contains(label)).map(|label| format!("nothing there has a label {label}")));
    problems
}

/// Returns the family of a sample's name.
fn family(name: &str) -> Option<Described> {
    metrics::described().into_iter().find(|family| match family.kind {
        "histogram" => {
            let suffix = name.strip_prefix(family.name.as_str());
            matches!(suffix, Some("_bucket" | "_sum" | "_count"))
        }
        _ => family.name == name,
    })
}
