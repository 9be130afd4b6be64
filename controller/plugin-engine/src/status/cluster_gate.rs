//! Decides which plugins keep a cluster in the phase `Pending` (`failurePolicy: Fail`); pure.

use std::collections::BTreeMap;

use dask_operator_api::{DaskOperatorPlugin, FailurePolicy, SubjectKind, SubjectRule, meta::component};
use kube::ResourceExt as _;

use super::aggregate::{SubjectReport, SubjectReports};
use crate::model::subject::SubjectKey;
use crate::model::summary::SyncState;

/// A plugin resource that may hold clusters.
pub(crate) struct GatePlugin<'a> {
    pub(crate) identity: String,
    /// Whether the plugin serves all namespaces.
    pub(crate) is_shared: bool,
    pub(crate) resource: &'a DaskOperatorPlugin,
}

/// A cluster that plugins may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatedCluster<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) uid: &'a str,
}

/// Returns whether `plugin` keeps `cluster` from becoming `Running`. It does if its rules
/// may match the cluster or its scheduler, and it has not yet reported that they do not match or that everything is
/// synced.
pub(crate) fn holds(
    plugin: &GatePlugin<'_>,
    cluster: GatedCluster<'_>,
    reports: Option<&BTreeMap<SubjectKey, SubjectReport>>,
) -> bool {
    let (spec, resource) = (&plugin.resource.spec, plugin.resource);
    let serves = plugin.is_shared || resource.namespace().as_deref() == Some(cluster.namespace);
    if spec.failure_policy != FailurePolicy::Fail || spec.suspend || is_refused(resource) || !serves {
        return false;
    }
    let kinds = spec.subjects.iter().filter(|rule| concerns_clusters(rule)).map(|rule| rule.kind);
    let reports = || reports.into_iter().flatten().filter(|(_, report)| report.owner.uid == cluster.uid);
    let is_silent_about = |kind: SubjectKind| !reports().any(|(subject, _)| subject.kind == kind);
    let is_well = |report: &SubjectReport| matches!(report.state, SyncState::Synced | SyncState::Unmatched);
    let mut kinds = kinds.peekable();
    kinds.peek().is_some() && (kinds.any(is_silent_about) || !reports().all(|(_, report)| is_well(report)))
}

/// Returns whether the plugin resource was rejected because it is invalid.
pub(crate) fn is_refused(plugin: &DaskOperatorPlugin) -> bool {
    plugin.status.as_ref().is_some_and(|status| {
        status.conditions.iter().any(|condition| condition.type_ == "Accepted" && condition.status == "False")
    })
}

/// Returns the identities of those of `plugins` that hold a cluster.
pub(crate) fn holders<'a>(
    plugins: impl Iterator<Item = GatePlugin<'a>>,
    cluster: GatedCluster<'_>,
    reports: Option<&SubjectReports>,
) -> Vec<String> {
    let mut holders: Vec<String> = plugins
        .filter(|plugin| holds(plugin, cluster, reports.and_then(|reports| reports.get(&plugin.identity))))
        .map(|plugin| plugin.identity)
        .collect();
    holders.sort();
    holders
}

/// Returns whether a rule counts for the gate. Workers and jobs do not, because they are created and deleted while a
/// cluster is running.
fn concerns_clusters(rule: &SubjectRule) -> bool {
    let of_scheduler = rule.component.as_deref().is_none_or(|wanted| wanted == component::SCHEDULER);
    match rule.kind {
        SubjectKind::DaskCluster => true,
        SubjectKind::Service | SubjectKind::Deployment | SubjectKind::Pod => of_scheduler,
        SubjectKind::DaskWorkerGroup | SubjectKind::DaskJob | SubjectKind::DaskAutoscaler => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::status::aggregate::Owner;

    fn plugin(edit: impl Fn(&mut Value)) -> DaskOperatorPlugin {
        let mut value = json!({
            "apiVersion": "kubernetes.dask.org/v1alpha1",
            "kind": "DaskOperatorPlugin",
            "metadata": {"name": "strict", "namespace": "dask-operator"},
            "spec": {
                "endpoint": {"service": {"name": "strict"}},
                "subjects": [{"kind": "Service", "component": "scheduler"}],
                "children": [{"apiVersion": "v1", "kind": "ConfigMap"}],
                "failurePolicy": "Fail",
            },
        });
        edit(&mut value);
        serde_json::from_value(value).unwrap()
    }

    fn key(kind: SubjectKind) -> SubjectKey {
        SubjectKey { kind, namespace: "ns".to_owned(), name: "demo-scheduler".to_owned() }
    }

    fn report(uid: &str, state: SyncState) -> SubjectReport {
        let owner = Owner { key: key(SubjectKind::DaskCluster), uid: uid.to_owned() };
        SubjectReport { owner, state, children: 0, conditions: Vec::new(), unfit: 0, warnings: BTreeSet::new() }
    }

    const CLUSTER: GatedCluster<'_> = GatedCluster { namespace: "ns", uid: "uid" };

    /// Returns whether a plugin holds a cluster that it has not reported about.
    fn holds_at_first(resource: &DaskOperatorPlugin, is_shared: bool, cluster: GatedCluster<'_>) -> bool {
        holds(&GatePlugin { identity: "strict".to_owned(), is_shared, resource }, cluster, None)
    }

    fn holds_after(plugin: &DaskOperatorPlugin, said: &[(SubjectKind, SubjectReport)]) -> bool {
        let reports = said.iter().map(|(kind, report)| (key(*kind), report.clone())).collect();
        let plugin = GatePlugin { identity: "strict".to_owned(), is_shared: true, resource: plugin };
        holds(&plugin, CLUSTER, Some(&reports))
    }

    fn failing() -> SyncState {
        SyncState::Failing { reason: "ServerError", message: String::new() }
    }

    #[test]
    fn a_plugin_holds_a_cluster_until_it_reports_success_about_that_cluster() {
        let strict = plugin(|_| {});
        assert!(holds_at_first(&strict, true, CLUSTER));
        let table = [
            ("uid", SyncState::Waiting, true),
            ("uid", SyncState::pending("no address yet"), true),
            ("uid", failing(), true),
            ("uid", SyncState::Synced, false),
            ("uid", SyncState::Unmatched, false),
            ("namesake", SyncState::Synced, true),
        ];
        for (uid, state, expected) in table {
            let said = [(SubjectKind::Service, report(uid, state.clone()))];
            assert_eq!(holds_after(&strict, &said), expected, "{uid} {state:?}");
        }
    }

    #[test]
    fn each_kind_of_subject_counts() {
        let kinds = json!([{"kind": "Service"}, {"kind": "Deployment"}, {"kind": "Pod", "component": "worker"}]);
        let strict = plugin(|value| value["spec"]["subjects"] = kinds.clone());
        let service = (SubjectKind::Service, report("uid", SyncState::Synced));
        assert!(holds_after(&strict, std::slice::from_ref(&service)));
        let failed = (SubjectKind::Deployment, report("uid", failing()));
        assert!(holds_after(&strict, &[service.clone(), failed]));
        let synced = (SubjectKind::Deployment, report("uid", SyncState::Synced));
        assert!(!holds_after(&strict, &[service, synced]), "workers come later");
    }

    #[test]
    fn plugins_that_are_lenient_suspended_refused_or_for_others_hold_nothing() {
        let edits: [(&str, Value); 5] = [
            ("/spec/failurePolicy", json!("Ignore")),
            ("/spec/suspend", json!(true)),
            ("/spec/subjects", json!([{"kind": "Pod", "component": "worker"}])),
            ("/spec/subjects", json!([{"kind": "DaskWorkerGroup"}, {"kind": "DaskJob"}])),
            (
                "/status",
                json!({"conditions": [{"type": "Accepted", "status": "False", "reason": "a", "message": "",
                    "lastTransitionTime": "2026-11-23T09:00:00Z"}]}),
            ),
        ];
        for (pointer, value) in edits {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            let lenient = plugin(|plugin| plugin.pointer_mut(parent).unwrap()[field] = value.clone());
            assert!(!holds_at_first(&lenient, true, CLUSTER), "{pointer} {value}");
        }
        assert!(!holds_at_first(&plugin(|_| {}), false, CLUSTER), "a plugin of another team");
        assert!(holds_at_first(&plugin(|_| {}), false, GatedCluster { namespace: "dask-operator", uid: "uid" }));
    }
}
