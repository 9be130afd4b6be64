//! Tests of scrapes of all metrics.

use super::*;
use crate::retirements::Retirement;
use dask_scheduler_client::Side;

/// Returns the samples with these names, in the order of the scrape.
pub(super) fn samples(metrics: &Metrics, names: &[&str]) -> Vec<String> {
    let (_, text) = metrics.answer(None).unwrap();
    let name = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
    let is_wanted = |line: &&str| names.contains(&name(line).as_str());
    text.lines().filter(|line| !line.starts_with('#')).filter(is_wanted).map(str::to_owned).collect()
}

fn types(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned).collect()
}

/// Dashboards, alerts and the book refer to these names.
#[test]
fn all_families_are_there_as_the_book_has_them_before_anything_happened() {
    let (_, text) = Metrics::default().answer(None).unwrap();
    let described = described();
    let expected: Vec<String> = described.iter().map(|family| format!("{} {}", family.name, family.kind)).collect();
    assert_eq!(types(&text), expected);
}

#[test]
fn help_is_one_line_of_sentences() {
    for Described { name, help, .. } in described() {
        assert!(help.ends_with('.') && !help.contains(['\n', '|']) && !help.contains("  "), "{name}: {help}");
    }
}

#[test]
fn the_books_table_is_as_the_families_are() {
    let mut table = Vec::new();
    print(&mut table).unwrap();
    let book = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/metrics-table.md")).unwrap();
    assert!(table == book, "docs/src/metrics-table.md is out of date: make generate");
}

#[test]
fn workers_are_counted_from_zero_by_strategy_and_outcome() {
    let metrics = Metrics::default();
    metrics.retirements().add(Retirement::Refused(Side::Http), 2);
    metrics.retirements().add(Retirement::Forced, 2);
    metrics.retirements().add(Retirement::Forced, 1);
    let expected = [
        r#"dask_operator_retirements_total{strategy="rpc",outcome="retired"} 0"#,
        r#"dask_operator_retirements_total{strategy="http",outcome="retired"} 0"#,
        r#"dask_operator_retirements_total{strategy="rpc",outcome="refused"} 0"#,
        r#"dask_operator_retirements_total{strategy="http",outcome="refused"} 2"#,
        r#"dask_operator_retirements_total{strategy="rpc",outcome="unanswered"} 0"#,
        r#"dask_operator_retirements_total{strategy="unregistered",outcome="removed"} 0"#,
        r#"dask_operator_retirements_total{strategy="forced",outcome="removed"} 3"#,
    ];
    assert_eq!(samples(&metrics, &["dask_operator_retirements_total"]), expected);
}
