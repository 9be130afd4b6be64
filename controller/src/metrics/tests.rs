use super::*;

/// The samples of these names, in the order in which they are told.
pub(super) fn samples(metrics: &Metrics, names: &[&str]) -> Vec<String> {
    let (_, text) = metrics.answer(None).unwrap();
    let name = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
    let is_wanted = |line: &&str| names.contains(&name(line).as_str());
    text.lines().filter(|line| !line.starts_with('#')).filter(is_wanted).map(str::to_owned).collect()
}

fn types(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned).collect()
}

/// Dashboards, alerts and the book name them.
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

/// Prometheus asks for several formats at once, people's tools for none.
#[test]
fn the_format_is_what_the_scraper_accepts() {
    let metrics = Metrics::default();
    metrics.call("echo", "Sync").ended("Success");
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    let (media, text) = metrics.answer(Some(prometheus)).unwrap();
    assert_eq!(media, OPEN_METRICS);
    assert!(text.ends_with("# EOF\n") && text.contains("# TYPE dask_operator_plugin_requests counter\n"), "{text}");
    for accept in [None, Some("*/*"), Some("text/plain")] {
        let (media, text) = metrics.answer(accept).unwrap();
        assert_eq!(media, PROMETHEUS_TEXT);
        assert!(!text.contains("# EOF") && text.contains("# TYPE dask_operator_plugin_requests_total counter\n"));
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
fn a_replica_tells_its_version_and_whether_it_leads() {
    let metrics = Metrics::default();
    let version = env!("CARGO_PKG_VERSION");
    let names = ["dask_operator_leader", "dask_operator_build_info"];
    let build = format!(r#"dask_operator_build_info{{version="{version}"}} 1"#);
    assert_eq!(samples(&metrics, &names), ["dask_operator_leader 0", build.as_str()]);
    metrics.lead(Box::new(|| true));
    assert_eq!(samples(&metrics, &names)[0], "dask_operator_leader 1");
}
