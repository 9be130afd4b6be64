//! Counters and durations of the calls to plugins.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use operator_runtime::metrics::{Described, Family, Word};
use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::ConstCounter, gauge::ConstGauge, histogram::Histogram},
};

const REQUESTS: Family<3> = Family::counter(
    "dask_operator_plugin_requests",
    ["plugin", "hook", "outcome"],
    "Calls to a plugin by hook and outcome: the plugin's answer, or why there was none.",
);
const DURATION: Family<2> =
    Family::histogram("dask_operator_plugin_request_duration_seconds", ["plugin", "hook"], "How long calls took.");
const IN_FLIGHT: Family<1> = Family::gauge("dask_operator_plugin_inflight", ["plugin"], "Calls in progress.");
const CHILDREN: Family<1> = Family::gauge("dask_operator_plugin_children", ["plugin"], "Children that exist.");
const APPLIED: Family<2> = Family::counter(
    "dask_operator_plugin_apply",
    ["plugin", "result"],
    "Children that were written: `Applied`, or why they could not be.",
);
const REJECTED: Family<2> = Family::counter(
    "dask_operator_plugin_rejected_children",
    ["plugin", "reason"],
    "Children that were refused, by reason.",
);
const BREAKER: Family<1> = Family::gauge(
    "dask_operator_plugin_breaker_state",
    ["plugin"],
    "1 while a plugin that does not answer is not called, else 0.",
);

/// Upper bounds in seconds. A call takes at most 30 seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The series of all plugins, keyed by plugin so that they can be dropped together when it is deleted.
#[derive(Debug, Default)]
pub(crate) struct Plugins(Mutex<BTreeMap<String, Series>>);

#[derive(Debug, Default)]
struct Series {
    /// Finished calls by hook and outcome.
    requests: BTreeMap<(Word, Word), u64>,
    /// Durations in seconds by hook.
    durations: BTreeMap<Word, Histogram>,
    in_flight: i64,
    children: i64,
    /// Written children by result.
    applied: BTreeMap<Word, u64>,
    /// Refused children by reason.
    rejected: BTreeMap<Word, u64>,
    breaker: i64,
}

/// A call in flight. It is counted as such until this is dropped.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    plugins: &'a Plugins,
    plugin: &'a str,
    hook: Word,
    begin: Instant,
}

impl Plugins {
    pub(crate) fn call<'a>(&'a self, plugin: &'a str, hook: Word) -> Call<'a> {
        self.of(plugin, |series| series.in_flight += 1);
        Call { plugins: self, plugin, hook, begin: Instant::now() }
    }

    pub(crate) fn applied(&self, plugin: &str, result: Word) {
        self.of(plugin, |series| *series.applied.entry(result).or_default() += 1);
    }

    pub(crate) fn rejected(&self, plugin: &str, reason: Word) {
        self.of(plugin, |series| *series.rejected.entry(reason).or_default() += 1);
    }

    pub(crate) fn children(&self, plugin: &str, count: i64) {
        self.of(plugin, |series| series.children = count);
    }

    pub(crate) fn breaker(&self, plugin: &str, open: bool) {
        self.of(plugin, |series| series.breaker = i64::from(open));
    }

    pub(crate) fn forget(&self, plugin: &str) {
        self.lock().remove(plugin);
    }

    fn of(&self, plugin: &str, change: impl FnOnce(&mut Series)) {
        let mut plugins = self.lock();
        match plugins.get_mut(plugin) {
            Some(series) => change(series),
            None => change(plugins.entry(plugin.to_owned()).or_default()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Series>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call<'_> {
    /// Records the end of the call with its outcome.
    pub(crate) fn ended(self, outcome: Word) {
        self.plugins.of(self.plugin, |series| {
            *series.requests.entry((self.hook, outcome)).or_default() += 1;
            let histogram = series.durations.entry(self.hook).or_insert_with(|| Histogram::new(BUCKETS));
            histogram.observe(self.begin.elapsed().as_secs_f64());
        });
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // The series of a plugin that was deleted in the meantime must not be created again.
        if let Some(series) = self.plugins.lock().get_mut(self.plugin) {
            series.in_flight = (series.in_flight - 1).max(0);
        }
    }
}

impl Collector for Plugins {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let plugins = self.lock();
        let plugins = || plugins.iter().map(|(plugin, series)| (plugin.as_str(), series));
        let gauge = |value: fn(&Series) -> i64| {
            plugins().map(move |(plugin, series)| ([plugin], ConstGauge::new(value(series))))
        };
        let counter = |counts: fn(&Series) -> &BTreeMap<Word, u64>| {
            plugins().flat_map(move |(plugin, series)| {
                counts(series).iter().map(move |(word, count)| ([plugin, *word], ConstCounter::new(*count)))
            })
        };
        let requests = plugins().flat_map(|(plugin, series)| {
            let counts = series.requests.iter();
            counts.map(move |((hook, outcome), count)| ([plugin, *hook, *outcome], ConstCounter::new(*count)))
        });
        let durations = plugins().flat_map(|(plugin, series)| {
            series.durations.iter().map(move |(hook, histogram)| ([plugin, *hook], histogram.clone()))
        });
        let to = &mut encoder;
        REQUESTS.encode(to, requests)?;
        DURATION.encode(to, durations)?;
        IN_FLIGHT.encode(to, gauge(|series| series.in_flight))?;
        CHILDREN.encode(to, gauge(|series| series.children))?;
        APPLIED.encode(to, counter(|series| &series.applied))?;
        REJECTED.encode(to, counter(|series| &series.rejected))?;
        BREAKER.encode(to, gauge(|series| series.breaker))
    }
}

pub(crate) fn described() -> Vec<Described> {
    vec![
        REQUESTS.described(),
        DURATION.described(),
        IN_FLIGHT.described(),
        CHILDREN.described(),
        APPLIED.described(),
        REJECTED.described(),
        BREAKER.described(),
    ]
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use crate::metrics::PluginMetrics;

    fn text(metrics: &PluginMetrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        operator_runtime::metrics::encode(&registry, None).unwrap().1
    }

    fn samples(metrics: &PluginMetrics) -> Vec<String> {
        let is_relevant = |line: &&str| line.starts_with("dask_operator_plugin_") && !line.contains("duration_seconds");
        text(metrics).lines().filter(is_relevant).map(str::to_owned).collect()
    }

    #[test]
    fn what_happens_is_counted_by_plugin() {
        let metrics = PluginMetrics::default();
        metrics.call("echo", "Sync").ended("Success");
        let open = metrics.call("echo", "Sync");
        metrics.children("echo", 3);
        metrics.applied("echo", "Applied");
        metrics.rejected("echo", "KindDenied");
        metrics.breaker("echo", true);
        let expected = [
            r#"dask_operator_plugin_requests_total{plugin="echo",hook="Sync",outcome="Success"} 1"#,
            r#"dask_operator_plugin_inflight{plugin="echo"} 1"#,
            r#"dask_operator_plugin_children{plugin="echo"} 3"#,
            r#"dask_operator_plugin_apply_total{plugin="echo",result="Applied"} 1"#,
            r#"dask_operator_plugin_rejected_children_total{plugin="echo",reason="KindDenied"} 1"#,
            r#"dask_operator_plugin_breaker_state{plugin="echo"} 1"#,
        ];
        assert_eq!(samples(&metrics), expected);
        let text = text(&metrics);
        let count = r#"dask_operator_plugin_request_duration_seconds_count{plugin="echo",hook="Sync"} 1"#;
        assert!(text.contains(count), "{text}");
        drop(open);
        assert!(samples(&metrics).contains(&r#"dask_operator_plugin_inflight{plugin="echo"} 0"#.to_owned()));
    }

    /// Otherwise the metrics of a long-running controller would contain plugins that were deleted long ago.
    #[test]
    fn nothing_is_left_of_a_plugin_that_is_gone_even_if_a_call_was_under_way() {
        let metrics = PluginMetrics::default();
        let call = metrics.call("echo", "Sync");
        metrics.applied("other", "Applied");
        metrics.forget("echo");
        drop(call);
        assert!(samples(&metrics).iter().all(|line| !line.contains("echo")), "{:?}", samples(&metrics));
        assert!(!samples(&metrics).is_empty());
    }
}
