//! The number of subjects by state. It is read from the workers at each scrape, so the series of a plugin end with its
//! worker.

use std::{fmt, sync::OnceLock};

use operator_runtime::metrics::{Described, Family};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::gauge::ConstGauge};

use crate::model::summary::SubjectStates;

const SUBJECTS: Family<2> = Family::gauge(
    "dask_operator_plugin_subjects",
    ["plugin", "state"],
    "Subjects that match, by state: `Synced`, `Failing`, `Pending` (the plugin has no result yet), `Waiting` (it has \
     not answered yet) and `Held` (the prune guard waits for an approval).",
);
const FAILING: Family<2> = Family::gauge(
    "dask_operator_plugin_failing_subjects",
    ["plugin", "reason"],
    "Subjects that fail, by reason: what the call, the answer or a write ended with.",
);

/// Returns the states of each plugin's subjects, with the plugin's name in labels.
pub(crate) type SubjectsSource = Box<dyn Fn() -> Vec<(String, SubjectStates)> + Send + Sync>;

/// The source of the counts. It is empty until the engine is set up.
#[derive(Default)]
pub(crate) struct Subjects(pub(crate) OnceLock<SubjectsSource>);

impl fmt::Debug for Subjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subjects").finish_non_exhaustive()
    }
}

/// Returns the number of subjects in each state. All states are there, so that a rule need not handle missing series.
fn by_state(states: &SubjectStates) -> [(&'static str, i64); 5] {
    [
        ("Synced", states.synced),
        ("Failing", states.failing.values().sum()),
        ("Pending", states.pending),
        ("Waiting", states.waiting),
        ("Held", states.held),
    ]
}

impl Collector for Subjects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let plugins = self.0.get().map(|source| source()).unwrap_or_default();
        let subjects = plugins.iter().flat_map(|(plugin, states)| {
            by_state(states).map(|(state, count)| ([plugin.as_str(), state], ConstGauge::new(count)))
        });
        let failing = plugins.iter().flat_map(|(plugin, states)| {
            states.failing.iter().map(|(reason, count)| ([plugin.as_str(), *reason], ConstGauge::new(*count)))
        });
        SUBJECTS.encode(&mut encoder, subjects)?;
        FAILING.encode(&mut encoder, failing)
    }
}

pub(crate) fn described() -> Vec<Described> {
    vec![SUBJECTS.described(), FAILING.described()]
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex},
    };

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::metrics::PluginMetrics;

    /// Returns the samples of `metrics` about subjects.
    fn samples(metrics: &PluginMetrics) -> Vec<String> {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let text = operator_runtime::metrics::encode(&registry, None).unwrap().1;
        let is_relevant = |line: &&str| !line.starts_with('#') && line.contains("subjects{");
        text.lines().filter(is_relevant).map(str::to_owned).collect()
    }

    #[test]
    fn all_states_are_counted_and_nothing_is_left_of_a_plugin_that_is_gone() {
        let failing = BTreeMap::from([("Conflict", 2), ("KindNotAllowed", 1)]);
        let states = SubjectStates { synced: 5, waiting: 1, pending: 2, held: 4, failing };
        let plugins = Arc::new(Mutex::new(vec![("echo".to_owned(), states)]));
        let (metrics, source) = (PluginMetrics::default(), Arc::clone(&plugins));
        metrics.watch_subjects(Box::new(move || source.lock().unwrap().clone()));
        let expected = [
            r#"dask_operator_plugin_subjects{plugin="echo",state="Synced"} 5"#,
            r#"dask_operator_plugin_subjects{plugin="echo",state="Failing"} 3"#,
            r#"dask_operator_plugin_subjects{plugin="echo",state="Pending"} 2"#,
            r#"dask_operator_plugin_subjects{plugin="echo",state="Waiting"} 1"#,
            r#"dask_operator_plugin_subjects{plugin="echo",state="Held"} 4"#,
            r#"dask_operator_plugin_failing_subjects{plugin="echo",reason="Conflict"} 2"#,
            r#"dask_operator_plugin_failing_subjects{plugin="echo",reason="KindNotAllowed"} 1"#,
        ];
        assert_eq!(samples(&metrics), expected);
        plugins.lock().unwrap().clear();
        assert!(samples(&metrics).is_empty());
    }
}
