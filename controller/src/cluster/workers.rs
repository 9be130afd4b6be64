//! Sums up the worker groups of a cluster for `kubectl get`: how many workers there are, and what fails first. Pure.

use dask_operator_api::{
    DaskCluster, DaskWorkerGroup, WorkerCounts,
    conditions::{AVAILABLE, PLUGINS_SYNCED, SCALED, WORKERS_AVAILABLE},
    meta,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use operator_runtime::conditions::{self, ConditionUpdate, READY};

use super::{observe::Observed, validate::ValidatedCluster};
use crate::worker_group;

/// Returns the workers of all groups. A default group that does not exist yet counts as its spec says.
pub(super) fn counts(valid: &ValidatedCluster, observed: &Observed) -> WorkerCounts {
    let default = meta::default_group_name(&valid.name);
    let mut counts = WorkerCounts::default();
    if !observed.groups.iter().any(|group| group.name_any() == default) {
        counts.desired = valid.worker.replicas.max(0);
    }
    for group in observed.groups.iter().filter(|group| group.metadata.deletion_timestamp.is_none()) {
        counts.desired += group.spec.worker.replicas.max(0);
        if let Some(status) = &group.status {
            counts.ready += status.ready_replicas.unwrap_or(0);
            counts.connected += status.connected_replicas.unwrap_or(0);
        }
    }
    counts
}

/// Returns the message of the first failure, in the order in which a user would fix them: what keeps clients from
/// connecting, then the workers, then plugins. Returns an empty message if nothing fails.
pub(super) fn first_failure(cluster: &DaskCluster, verdicts: &[ConditionUpdate], observed: &Observed) -> String {
    let failing = |type_: &str| verdicts.iter().find(|verdict| verdict.type_ == type_ && verdict.status == Some(false));
    let not_ready = || verdicts.iter().find(|verdict| verdict.type_ == READY && !verdict.holds());
    let plugins = || {
        let conditions = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        conditions::find(conditions, PLUGINS_SYNCED).filter(|synced| synced.status == "False")
    };
    let message = not_ready()
        .map(|verdict| verdict.message.clone())
        .or_else(|| failure_of_groups(cluster, observed))
        .or_else(|| failing(WORKERS_AVAILABLE).map(|verdict| verdict.message.clone()))
        .or_else(|| plugins().map(|synced| synced.message.clone()));
    conditions::cut(message.unwrap_or_default())
}

/// Returns the first failure of a group: the default group is first, and the others follow by name.
fn failure_of_groups(cluster: &DaskCluster, observed: &Observed) -> Option<String> {
    let default = meta::default_group_name(&cluster.name_any());
    let mut groups: Vec<&DaskWorkerGroup> = observed.groups.iter().map(AsRef::as_ref).collect();
    groups.sort_by_key(|group| (group.name_any() != default, group.name_any()));
    groups.into_iter().find_map(|group| {
        let failure = failure_of_group(group)?;
        Some(format!("worker group {}: {}", group.name_any(), failure.message))
    })
}

/// Returns the condition that fails first. A group that is being scaled also reports whether its workers are available,
/// which says more.
fn failure_of_group(group: &DaskWorkerGroup) -> Option<&Condition> {
    let status = group.status.as_ref().filter(|status| status.observed_generation == group.metadata.generation)?;
    let fails = |type_: &&str| {
        conditions::find(&status.conditions, type_)
            .filter(|condition| condition.status == "False")
            .filter(|condition| !worker_group::IN_PROGRESS.contains(&condition.reason.as_str()))
    };
    [conditions::ACCEPTED, SCALED, AVAILABLE].iter().find_map(fails)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::{cluster::validate::validate, test_fixtures::mk_cluster};

    fn group(name: &str, replicas: i64, status: &Value) -> Arc<DaskWorkerGroup> {
        let value = json!({
            "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup",
            "metadata": {"name": name, "namespace": "ns", "generation": 1},
            "spec": {"cluster": "demo", "worker": {"replicas": replicas, "spec": {"containers": []}}},
            "status": status,
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn observed(groups: Vec<Arc<DaskWorkerGroup>>) -> Observed {
        Observed { groups, ..Observed::default() }
    }

    fn condition(type_: &str, status: &str, reason: &str) -> Value {
        let message = format!("{type_} is {reason}");
        let time = "2026-11-23T08:00:00Z";
        json!({"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": time})
    }

    fn with(conditions: &[Value]) -> Value {
        json!({"observedGeneration": 1, "conditions": conditions})
    }

    #[test]
    fn workers_of_all_groups_count_as_the_groups_ask_for_now() {
        let mut cluster = mk_cluster("demo");
        cluster.spec.worker.replicas = 2;
        let valid = validate(&cluster).unwrap();
        let counts = |groups| {
            let WorkerCounts { desired, ready, connected } = counts(&valid, &observed(groups));
            (desired, ready, connected)
        };
        let running = json!({"readyReplicas": 4, "connectedReplicas": 3});
        assert_eq!(counts(vec![]), (2, 0, 0), "the default group is still to be created");
        assert_eq!(counts(vec![group("demo-default", 4, &running)]), (4, 4, 3), "it was scaled by itself");
        let two =
            vec![group("demo-default", 4, &running), group("gpu", 1, &json!({})), group("none", -1, &Value::Null)];
        assert_eq!(counts(two), (5, 4, 3));
        let mut going = group("gpu", 7, &running);
        Arc::make_mut(&mut going).metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(counts(vec![going]), (2, 0, 0), "a group that is being deleted asks for nothing");
    }

    #[test]
    fn the_message_is_that_of_the_first_failure() {
        let ready = ConditionUpdate::yes(READY, "Ready", "all is well");
        let starting = ConditionUpdate::no(READY, "ImagePullFailed", "no image");
        let available = ConditionUpdate::no(WORKERS_AVAILABLE, "Starting", "not all workers run yet");
        let quota =
            || with(&[condition("Scaled", "False", "QuotaExceeded"), condition("Available", "False", "Starting")]);
        let scaling = || with(&[condition("Scaled", "False", "Scaling"), condition("Available", "False", "Crash")]);
        let fine = || with(&[condition("Scaled", "True", "Scaled"), condition("Available", "True", "Available")]);
        let stale = json!({"observedGeneration": 0, "conditions": [condition("Scaled", "False", "QuotaExceeded")]});
        let groups = |gpu: &Value, default: &Value| vec![group("a-gpu", 1, gpu), group("demo-default", 1, default)];
        let mut cluster = mk_cluster("demo");
        let mut unsynced = cluster.clone();
        let plugins = with(&[condition("PluginsSynced", "False", "NotSynced")]);
        unsynced.status = Some(serde_json::from_value(plugins).unwrap());
        cluster.status = None;
        let both = [ready.clone(), available];
        let table = [
            (&cluster, vec![starting], groups(&quota(), &quota()), "no image"),
            (
                &cluster,
                vec![ready.clone()],
                groups(&quota(), &scaling()),
                "worker group demo-default: Available is Crash",
            ),
            (&unsynced, vec![ready.clone()], groups(&quota(), &fine()), "worker group a-gpu: Scaled is QuotaExceeded"),
            (&unsynced, both.to_vec(), groups(&fine(), &stale), "not all workers run yet"),
            (&unsynced, vec![ready.clone()], groups(&fine(), &fine()), "PluginsSynced is NotSynced"),
            (&cluster, vec![ready], groups(&fine(), &fine()), ""),
        ];
        for (cluster, verdicts, groups, expected) in table {
            assert_eq!(first_failure(cluster, &verdicts, &observed(groups)), expected);
        }
    }
}
