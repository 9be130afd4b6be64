//! Counts and times of plugins, for Prometheus. Labels are plugins and words of the program: nothing that users
//! or plugins make up.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, histogram::Histogram},
    registry::Registry,
};

/// Upper bounds in seconds; a call may take 30 at most.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

type Word = &'static str;

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    plugins: Arc<Plugins>,
    registry: Registry,
}

/// Kept by plugin, so that all series of one can be dropped with it.
#[derive(Debug, Default)]
struct Plugins(Mutex<BTreeMap<String, Series>>);

#[derive(Debug, Default)]
struct Series {
    /// By hook and outcome.
    requests: BTreeMap<(Word, Word), u64>,
    /// By hook.
    durations: BTreeMap<Word, Histogram>,
    in_flight: i64,
    children: i64,
    /// By result.
    applied: BTreeMap<Word, u64>,
    /// By reason.
    rejected: BTreeMap<Word, u64>,
    breaker: i64,
}

/// A call under way; it counts as such until this is dropped.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    metrics: &'a Metrics,
    plugin: &'a str,
    hook: Word,
    begin: Instant,
}

impl Metrics {
    /// Nothing was counted yet.
    pub fn new() -> Self {
        let (plugins, mut registry) = (Arc::new(Plugins::default()), Registry::default());
        registry.register_collector(Box::new(Arc::clone(&plugins)));
        Self { plugins, registry }
    }

    /// Everything as `OpenMetrics` text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A call to a plugin begins.
    pub(crate) fn call<'a>(&'a self, plugin: &'a str, hook: Word) -> Call<'a> {
        self.of(plugin, |series| series.in_flight += 1);
        Call { metrics: self, plugin, hook, begin: Instant::now() }
    }

    /// A child was applied, or not.
    pub(crate) fn applied(&self, plugin: &str, result: Word) {
        self.of(plugin, |series| *series.applied.entry(result).or_default() += 1);
    }

    /// A child was refused.
    pub(crate) fn rejected(&self, plugin: &str, reason: Word) {
        self.of(plugin, |series| *series.rejected.entry(reason).or_default() += 1);
    }

    /// The plugin has so many children.
    pub(crate) fn children(&self, plugin: &str, count: i64) {
        self.of(plugin, |series| series.children = count);
    }

    /// Whether the plugin is not called because it does not answer.
    pub(crate) fn breaker(&self, plugin: &str, open: bool) {
        self.of(plugin, |series| series.breaker = i64::from(open));
    }

    /// The plugin is gone.
    pub(crate) fn forget(&self, plugin: &str) {
        self.plugins.lock().remove(plugin);
    }

    fn of(&self, plugin: &str, change: impl FnOnce(&mut Series)) {
        let mut plugins = self.plugins.lock();
        match plugins.get_mut(plugin) {
            Some(series) => change(series),
            None => change(plugins.entry(plugin.to_owned()).or_default()),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Call<'_> {
    /// The call is over.
    pub(crate) fn ended(self, outcome: Word) {
        self.metrics.of(self.plugin, |series| {
            *series.requests.entry((self.hook, outcome)).or_default() += 1;
            let histogram = series.durations.entry(self.hook).or_insert_with(|| Histogram::new(BUCKETS));
            histogram.observe(self.begin.elapsed().as_secs_f64());
        });
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // A plugin that has gone in the meantime must not come back.
        if let Some(series) = self.metrics.plugins.lock().get_mut(self.plugin) {
            series.in_flight = (series.in_flight - 1).max(0);
        }
    }
}

impl Plugins {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Series>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Labels<'a> = Vec<(Word, &'a str)>;

impl Collector for Plugins {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let plugins = self.lock();
        let plugins = || plugins.iter().map(|(plugin, series)| (("plugin", plugin.as_str()), series));
        let gauge = |value: fn(&Series) -> i64| {
            plugins().map(move |(plugin, series)| (vec![plugin], ConstGauge::new(value(series))))
        };
        let counter = |label: Word, counts: fn(&Series) -> &BTreeMap<Word, u64>| {
            plugins().flat_map(move |(plugin, series)| {
                let counts = counts(series).iter();
                counts.map(move |(word, count)| (vec![plugin, (label, *word)], ConstCounter::new(*count)))
            })
        };
        let requests = plugins().flat_map(|(plugin, series)| {
            let labels = move |(hook, outcome)| vec![plugin, ("hook", hook), ("outcome", outcome)];
            series.requests.iter().map(move |(words, count)| (labels(*words), ConstCounter::new(*count)))
        });
        let durations = plugins().flat_map(|(plugin, series)| {
            series.durations.iter().map(move |(hook, histogram)| (vec![plugin, ("hook", *hook)], histogram.clone()))
        });
        // Counters get `_total` when they are written.
        let to = &mut encoder;
        family(to, "requests", "Calls to a plugin by hook and outcome.", MetricType::Counter, requests)?;
        family(to, "request_duration_seconds", "How long calls took.", MetricType::Histogram, durations)?;
        family(to, "inflight", "Calls under way.", MetricType::Gauge, gauge(|series| series.in_flight))?;
        family(to, "children", "Children that stand.", MetricType::Gauge, gauge(|series| series.children))?;
        let applied = counter("result", |series| &series.applied);
        family(to, "apply", "Children that were applied, by result.", MetricType::Counter, applied)?;
        let rejected = counter("reason", |series| &series.rejected);
        family(to, "rejected_children", "Children that were refused.", MetricType::Counter, rejected)?;
        let help = "1 while a plugin that does not answer is not called, else 0.";
        family(to, "breaker_state", help, MetricType::Gauge, gauge(|series| series.breaker))
    }
}

fn family<'a, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    type_: MetricType,
    samples: impl Iterator<Item = (Labels<'a>, M)>,
) -> fmt::Result {
    let name = format!("dask_operator_plugin_{name}");
    let mut family = encoder.encode_descriptor(&name, help, None, type_)?;
    for (labels, sample) in samples {
        sample.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(metrics: &Metrics) -> Vec<String> {
        let text = metrics.text().unwrap();
        let telling = |line: &&str| !line.starts_with('#') && !line.contains("duration_seconds");
        text.lines().filter(telling).map(str::to_owned).collect()
    }

    /// Dashboards and alerts name them.
    #[test]
    fn all_families_are_there_by_their_names_before_anything_happened() {
        let text = Metrics::new().text().unwrap();
        let types: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let expected = [
            "dask_operator_plugin_requests counter",
            "dask_operator_plugin_request_duration_seconds histogram",
            "dask_operator_plugin_inflight gauge",
            "dask_operator_plugin_children gauge",
            "dask_operator_plugin_apply counter",
            "dask_operator_plugin_rejected_children counter",
            "dask_operator_plugin_breaker_state gauge",
        ];
        assert_eq!(types, expected);
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn what_happens_is_counted_by_plugin() {
        let metrics = Metrics::new();
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
        let text = metrics.text().unwrap();
        let count = r#"dask_operator_plugin_request_duration_seconds_count{plugin="echo",hook="Sync"} 1"#;
        assert!(text.contains(count), "{text}");
        drop(open);
        assert!(samples(&metrics).contains(&r#"dask_operator_plugin_inflight{plugin="echo"} 0"#.to_owned()));
    }

    /// Else a controller that runs for long would tell of plugins that nobody remembers.
    #[test]
    fn nothing_is_left_of_a_plugin_that_is_gone_even_if_a_call_was_under_way() {
        let metrics = Metrics::new();
        let call = metrics.call("echo", "Sync");
        metrics.applied("other", "Applied");
        metrics.forget("echo");
        drop(call);
        assert!(samples(&metrics).iter().all(|line| !line.contains("echo")), "{:?}", samples(&metrics));
        assert!(!samples(&metrics).is_empty());
    }
}
