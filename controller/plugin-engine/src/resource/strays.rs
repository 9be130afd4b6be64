//! Reports plugin resources in namespaces whose plugins are not accepted to their authors. Nothing else looks at them.
//!
//! Such a plugin resource may belong to another release, in whose namespace it is. Only a status that nobody has written
//! is written, and only after that release had time to do so.

use std::{sync::Arc, time::Duration};

use dask_operator_api::DaskOperatorPlugin;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use operator_runtime::{
    conditions::{self, ACCEPTED},
    leader::Leading,
    rejection::Rejection,
    watch::Cache,
};

use super::{context::PluginContext, status::Findings, validate};
use crate::config::Settings;

/// How often the plugin resources are looked at. They are few, and all of them are in the cache.
const PERIOD: Duration = Duration::from_secs(5);
/// How old a plugin resource is before its status is written.
const MIN_AGE: SignedDuration = SignedDuration::from_secs(5);
/// The reason that is reported.
const REASON: &str = "TenantsDisabled";

/// Reports the plugin resources in `cache` that nobody accepts, forever.
pub(crate) async fn run(context: Arc<PluginContext>, cache: Cache<DaskOperatorPlugin>, _: Leading) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        for plugin in cache.all() {
            let namespace = plugin.namespace().unwrap_or_default();
            if context.env.releases.is_home(&namespace) {
                continue;
            }
            let Some(refusal) = refusal(&plugin, &context.settings, Timestamp::now()) else { continue };
            if let Err(error) = super::write_status(&context, &plugin, &Findings::refused(refusal)).await {
                let (plugin, namespace) = (plugin.name_any(), namespace.as_str());
                tracing::warn!(plugin, namespace, %error, "failed to report that a plugin is not accepted in its namespace");
            }
        }
    }
}

/// Returns what to report about `plugin`, unless that is reported already or another release has reported anything.
fn refusal(plugin: &DaskOperatorPlugin, settings: &Settings, now: Timestamp) -> Option<Rejection> {
    let refusal = validate::tenancy(plugin, settings).err().filter(|refusal| refusal.reason == REASON)?;
    let conditions = plugin.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let is_due = match conditions::find(conditions, ACCEPTED) {
        Some(accepted) => accepted.reason == REASON && accepted.observed_generation != plugin.metadata.generation,
        None => plugin.creation_timestamp().is_some_and(|created| now.duration_since(created.0) >= MIN_AGE),
    };
    is_due.then_some(refusal)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::test_settings;

    /// Returns the reason that is reported at second 100 about a plugin that was created at `created`.
    fn reported(namespace: &str, created: &str, accepted: &Value) -> Option<&'static str> {
        let conditions: Vec<&Value> = [accepted].into_iter().filter(|accepted| !accepted.is_null()).collect();
        let plugin = json!({
            "apiVersion": "kubernetes.dask.org/v1alpha1",
            "kind": "DaskOperatorPlugin",
            "metadata": {"name": "echo", "namespace": namespace, "generation": 2, "creationTimestamp": created},
            "spec": {"endpoint": {"service": {"name": "echo"}}, "subjects": [], "children": []},
            "status": {"conditions": conditions},
        });
        let plugin = serde_json::from_value(plugin).unwrap();
        let now = Timestamp::from_second(100).unwrap();
        refusal(&plugin, &test_settings(), now).map(|refusal| refusal.reason)
    }

    fn accepted(status: &str, reason: &str, generation: i64) -> Value {
        let time = "1970-01-01T00:01:00Z";
        json!({
            "type": "Accepted", "status": status, "reason": reason, "message": "", "lastTransitionTime": time,
            "observedGeneration": generation,
        })
    }

    #[test]
    fn a_plugin_is_reported_once_for_each_spec_and_if_nobody_else_serves_it() {
        let (old, new) = ("1970-01-01T00:01:35Z", "1970-01-01T00:01:36Z");
        let disabled = Some("TenantsDisabled");
        let table = [
            ("team-a", old, Value::Null, disabled),
            ("team-a", new, Value::Null, None),
            ("dask-operator", old, Value::Null, None),
            ("team-a", old, accepted("False", "TenantsDisabled", 2), None),
            ("team-a", new, accepted("False", "TenantsDisabled", 1), disabled),
            ("team-a", old, accepted("True", "Valid", 1), None),
            ("team-a", old, accepted("False", "Sensitive", 1), None),
        ];
        for (namespace, created, accepted, expected) in table {
            assert_eq!(reported(namespace, created, &accepted), expected, "{namespace} {created} {accepted}");
        }
    }
}
