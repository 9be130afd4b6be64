//! The dashboard, the alert rules and the book name only metrics that the controller exports.

use std::collections::BTreeSet;

use dask_operator::metrics;
use serde_json::Value;

use super::dashboards::{alerts, dashboard, file, mentioned, problems, questions};

#[test]
fn a_metric_or_label_that_is_misspelt_is_found() {
    let table = [
        ("sum by (phase) (dask_operator_clusters)", "{{phase}}", ""),
        ("sum by (phase) (dask_operator_cluster)", "", "there is no metric dask_operator_cluster"),
        ("rate(dask_operator_reconcile[5m])", "", "there is no metric dask_operator_reconcile"),
        ("dask_operator_clusters{phases=\"Running\"}", "", "dask_operator_clusters has no label phases"),
        ("sum by (phases) (dask_operator_clusters)", "", "nothing there has a label phases"),
        ("dask_operator_leader * on (pod) dask_operator_leader", "", "nothing there has a label pod"),
        ("dask_operator_leader", "{{replica}}", "nothing there has a label replica"),
        ("dask_operator_reconcile_duration_seconds", "", "there is no metric dask_operator_reconcile_duration_seconds"),
        ("rate(dask_operator_reconcile_duration_seconds_count[5m])", "{{kind}}", ""),
    ];
    for (expr, legend, expected) in table {
        assert_eq!(problems(expr, legend).join("; "), expected, "{expr}");
    }
    assert!(!problems("sum(dask_operator_leader", "").is_empty(), "it cannot be parsed");
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    for question in questions("5m") {
        let problems = problems(&question.expr, &question.legend);
        assert!(problems.is_empty(), "{}: {problems:?} in {}", question.panel, question.expr);
    }
}

#[test]
fn alerts_ask_for_metrics_that_there_are() {
    for alert in alerts() {
        let problems = problems(&alert.expr, "");
        assert!(problems.is_empty(), "{}: {problems:?} in {}", alert.name, alert.expr);
    }
}

/// A metric that no panel shows is better left out.
#[test]
fn each_metric_is_on_the_dashboard() {
    let asked: BTreeSet<String> = questions("5m")
        .iter()
        .flat_map(|question| mentioned(&question.expr).unwrap().selectors)
        .filter_map(|selector| selector.name)
        .collect();
    // The dashboards of Prometheus show these.
    let elsewhere = ["process_virtual_memory_bytes", "process_max_fds", "process_threads"];
    for family in metrics::described() {
        let shown = asked.iter().any(|name| name.trim_end_matches("_bucket") == family.name);
        assert!(shown || elsewhere.contains(&family.name.as_str()), "{} is on no panel", family.name);
    }
}

#[test]
fn panels_lie_beside_each_other_and_are_told_apart() {
    let dashboard = dashboard();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(cells.insert((x, y)), "two panels at {x},{y}: {panel}");
            }
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        }
    }
}

#[test]
fn each_alert_says_how_bad_it_is_what_it_means_and_what_to_do() {
    let book = file("docs/src/metrics.md");
    for alert in alerts() {
        assert!(matches!(alert.labels["severity"].as_str(), Some("warning" | "critical")), "{alert:?}");
        for text in ["summary", "description"] {
            let text = alert.annotations[text].as_str().unwrap();
            assert!(text.ends_with('.'), "{text}");
        }
        let runbook = alert.annotations["runbook_url"].as_str().unwrap();
        let (_, anchor) = runbook.split_once("/docs/src/metrics.md#").unwrap();
        assert_eq!(anchor, alert.name.to_lowercase());
        assert!(book.contains(&format!("\n### {}\n", alert.name)), "the book does not say what {} means", alert.name);
    }
}

/// promtool runs these tests; nothing else would find an alert without one.
#[test]
fn each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() {
    let tests: Value = serde_saphyr::from_str(&file("charts/alerts-test.yaml")).unwrap();
    let (mut fire, mut rest) = (BTreeSet::new(), BTreeSet::new());
    for test in tests["tests"].as_array().unwrap() {
        for case in test["alert_rule_test"].as_array().unwrap() {
            let name = case["alertname"].as_str().unwrap().to_owned();
            let fires = case["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
            if fires {
                fire.insert(name)
            } else {
                rest.insert(name)
            };
        }
    }
    let all: BTreeSet<String> = alerts().into_iter().map(|alert| alert.name).collect();
    assert_eq!((&fire, &rest), (&all, &all));
}
