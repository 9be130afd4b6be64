//! Tests of scrapes of the runtime's metrics.

use super::*;

/// Returns the samples of the metrics with these names, in the order of a scrape.
pub(super) fn samples(metrics: &RuntimeMetrics, names: &[&str]) -> Vec<String> {
    let (_, text) = scrape(metrics, None);
    let name = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
    let is_wanted = |line: &&str| names.contains(&name(line).as_str());
    text.lines().filter(|line| !line.starts_with('#')).filter(is_wanted).map(str::to_owned).collect()
}

fn scrape(metrics: &RuntimeMetrics, accept: Option<&str>) -> (&'static str, String) {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    encode(&registry, accept).unwrap()
}

/// Prometheus accepts several formats at once. Other tools do not say which ones they accept.
#[test]
fn the_format_is_what_the_scraper_accepts() {
    let metrics = RuntimeMetrics::default();
    metrics.passes("ConfigMap");
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    let (media, text) = scrape(&metrics, Some(prometheus));
    assert_eq!(media, OPEN_METRICS);
    assert!(text.ends_with("# EOF\n") && text.contains("# TYPE dask_operator_reconcile counter\n"), "{text}");
    for accept in [None, Some("*/*"), Some("text/plain")] {
        let (media, text) = scrape(&metrics, accept);
        assert_eq!(media, PROMETHEUS_TEXT);
        assert!(!text.contains("# EOF") && text.contains("# TYPE dask_operator_reconcile_total counter\n"));
    }
}

#[test]
fn a_replica_reports_its_version_and_whether_it_leads() {
    let metrics = RuntimeMetrics::default();
    let version = env!("CARGO_PKG_VERSION");
    let names = ["dask_operator_leader", "dask_operator_build_info"];
    let build = format!(r#"dask_operator_build_info{{version="{version}"}} 1"#);
    assert_eq!(samples(&metrics, &names), ["dask_operator_leader 0", build.as_str()]);
    metrics.lead(Box::new(|| true));
    assert_eq!(samples(&metrics, &names)[0], "dask_operator_leader 1");
}
