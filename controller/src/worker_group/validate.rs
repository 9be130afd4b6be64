//! Validates a group and computes what its workers are built from. Pure.

use dask_operator_api::{
    CountOrPercentage, DaskWorkerGroup, WorkerAllocation, WorkerSpec, WorkerUpdateType,
    meta::{self, Map},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use operator_runtime::rejection::Rejection;

use super::observe::Observed;
use crate::{
    defaults::Defaults,
    scheduler::scheduler_address,
    template_version::{TemplateVersion, deployment_pod},
};

/// The longest name of a group: it becomes a label's value, which has at most 63 characters.
const MAX_NAME: usize = 63;

/// A group that workers can be built for.
#[derive(Clone, Debug)]
pub(super) struct ValidatedGroup {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) cluster: String,
    pub(super) owner: OwnerReference,
    /// The cluster, if the group has no controller yet and the cluster should become it.
    pub(super) adopt_by: Option<OwnerReference>,
    /// Labels that workers inherit, from the cluster and from the group.
    pub(super) labels: Map,
    /// Annotations that workers inherit.
    pub(super) annotations: Map,
    pub(super) worker: WorkerSpec,
    pub(super) replicas: usize,
    /// The address that workers connect to.
    pub(super) scheduler_address: String,
    /// The version of what workers are built from.
    pub(super) template: TemplateVersion,
    /// Whether workers of an older template are replaced.
    pub(super) rolling: bool,
    /// How many workers may be missing during the replacement.
    pub(super) max_unavailable: MaxUnavailable,
    /// How fast workers are created.
    pub(super) allocation: WorkerAllocation,
}

/// A number of workers, absolute or as a percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MaxUnavailable {
    Count(usize),
    Percent(usize),
}

impl MaxUnavailable {
    /// Returns the number for a group of `replicas`. It is at least 1, because with 0 no worker could ever be
    /// replaced.
    pub(super) fn of(self, replicas: usize) -> usize {
        match self {
            Self::Count(count) => count.max(1),
            Self::Percent(percent) => replicas.saturating_mul(percent).div_ceil(100).max(1),
        }
    }

    fn parse(given: Option<&CountOrPercentage>) -> Option<Self> {
        match given {
            None => Some(Self::Count(1)),
            Some(CountOrPercentage::Count(count)) => usize::try_from(*count).ok().map(Self::Count),
            Some(CountOrPercentage::Percentage(text)) => {
                let percent = text.strip_suffix('%')?.parse().ok().filter(|percent| *percent <= 100)?;
                Some(Self::Percent(percent))
            }
        }
    }
}

pub(super) fn validate(
    group: &DaskWorkerGroup,
    observed: &Observed,
    defaults: &Defaults,
) -> Result<ValidatedGroup, Rejection> {
    let (name, namespace) = (group.name_any(), group.namespace().unwrap_or_default());
    if name.len() > MAX_NAME {
        let message = format!("the name has {} characters, and a worker group's may have {MAX_NAME}", name.len());
        return Err(Rejection { reason: "InvalidName", message });
    }
    let cluster = observed.cluster.as_deref().filter(|cluster| cluster.metadata.deletion_timestamp.is_none());
    let Some((cluster, cluster_ref)) = cluster.and_then(|cluster| Some((cluster, meta::owner_ref(cluster)?))) else {
        let message = format!("there is no DaskCluster {} in this namespace", group.spec.cluster);
        return Err(Rejection { reason: "ClusterNotFound", message });
    };
    let Some(owner) = meta::owner_ref(group) else {
        return Err(Rejection { reason: "NotStored", message: "the object has no uid".to_owned() });
    };
    if let Some(other) = meta::dask_controller(group, "DaskCluster").filter(|other| other.uid != cluster_ref.uid) {
        let message = format!("the group belongs to an older DaskCluster {} and will go with it", other.name);
        return Err(Rejection { reason: "WaitingForDeletion", message });
    }
    let worker = &group.spec.worker;
    let strategy = worker.update_strategy.clone().unwrap_or_default();
    let Some(max_unavailable) = MaxUnavailable::parse(strategy.max_unavailable.as_ref()) else {
        let message = "worker.updateStrategy.maxUnavailable must be a number or a percentage such as \"25%\"";
        return Err(Rejection::new("InvalidMaxUnavailable", message));
    };
    let scheduler_address =
        scheduler_address(&group.spec.cluster, &cluster.spec.scheduler, &namespace, &defaults.cluster_domain);
    let controlled = group.owner_references().iter().any(|owner| owner.controller == Some(true));
    Ok(ValidatedGroup {
        labels: meta::merged([&meta::inherited(cluster.labels()), &meta::inherited(group.labels())]),
        annotations: meta::inherited(group.annotations()),
        worker: group.spec.worker.clone(),
        replicas: usize::try_from(group.spec.worker.replicas).unwrap_or(0),
        template: template(worker, &scheduler_address),
        rolling: strategy.type_.unwrap_or_default() == WorkerUpdateType::RollingUpdate,
        max_unavailable,
        allocation: merged_allocation(&[worker.allocation, cluster.spec.worker.allocation, Some(defaults.allocation)]),
        scheduler_address,
        adopt_by: (!controlled).then_some(cluster_ref),
        cluster: group.spec.cluster.clone(),
        owner,
        name,
        namespace,
    })
}

/// Returns the version of what workers are built from.
fn template(worker: &WorkerSpec, scheduler_address: &str) -> TemplateVersion {
    let (spec, metadata, address) = (worker.spec.clone(), worker.metadata.clone(), scheduler_address.to_owned());
    let canonical = move || (deployment_pod(&spec), metadata, address);
    TemplateVersion::new(&(&worker.spec, &worker.metadata, scheduler_address), canonical)
}

/// Returns, for each of the two numbers, the value of the first of `layers` that sets it.
fn merged_allocation(layers: &[Option<WorkerAllocation>]) -> WorkerAllocation {
    let given = || layers.iter().flatten();
    WorkerAllocation {
        batch_size: given().find_map(|layer| layer.batch_size),
        delay_seconds: given().find_map(|layer| layer.delay_seconds),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dask_operator_api::{DaskCluster, meta::map_of};
    use serde_json::{Value, json};

    use super::*;
    use crate::test_fixtures::{mk_cluster, mk_defaults, mk_group};

    fn observed(cluster: Option<DaskCluster>) -> Observed {
        Observed { cluster: cluster.map(Arc::new), ..Observed::default() }
    }

    fn validated(group: &DaskWorkerGroup) -> Result<ValidatedGroup, Rejection> {
        validate(group, &observed(Some(mk_cluster("demo"))), &mk_defaults("cluster.local"))
    }

    fn mk_owned_group(owners: Value) -> DaskWorkerGroup {
        let mut group = mk_group("demo-default", "demo");
        group.metadata.owner_references = Some(serde_json::from_value(owners).unwrap());
        group
    }

    fn cluster_owner(uid: &str, controller: bool) -> Value {
        json!({
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskCluster",
            "name": "demo",
            "uid": uid,
            "controller": controller,
            "blockOwnerDeletion": true,
        })
    }

    fn foreign_owner(controller: bool) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "a", "controller": controller})
    }

    #[test]
    fn workers_connect_below_the_domain_of_the_kubernetes_cluster() {
        let valid =
            validate(&mk_group("g", "demo"), &observed(Some(mk_cluster("demo"))), &mk_defaults("k8s.example.org"));
        assert_eq!(valid.unwrap().scheduler_address, "tcp://demo-scheduler.ns.svc.k8s.example.org:8786");
    }

    #[test]
    fn a_group_without_a_cluster_waits_for_it() {
        let missing = Rejection {
            reason: "ClusterNotFound",
            message: "there is no DaskCluster demo in this namespace".to_owned(),
        };
        let mut going = mk_cluster("demo");
        going.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-11-23T09:00:00Z")).unwrap());
        let mut unstored = mk_cluster("demo");
        unstored.metadata.uid = None;
        for cluster in [None, Some(going), Some(unstored)] {
            let group = mk_group("demo-default", "demo");
            assert_eq!(validate(&group, &observed(cluster), &mk_defaults("cluster.local")).unwrap_err(), missing);
        }
    }

    /// The garbage collector is about to delete it. Workers created now would be deleted at once, and their results
    /// lost.
    #[test]
    fn a_group_of_an_older_cluster_of_the_same_name_gets_no_workers() {
        let group = mk_owned_group(json!([cluster_owner("older-uid", true)]));
        let message = "the group belongs to an older DaskCluster demo and will go with it".to_owned();
        assert_eq!(validated(&group).unwrap_err(), Rejection { reason: "WaitingForDeletion", message });
    }

    /// The name becomes a label's value, and the API server would reject each of its workers.
    #[test]
    fn a_name_that_is_too_long_for_a_label_is_invalid() {
        let error = validated(&mk_group(&"a".repeat(64), "demo")).unwrap_err();
        let message = "the name has 64 characters, and a worker group's may have 63".to_owned();
        assert_eq!(error, Rejection { reason: "InvalidName", message });
        assert!(validated(&mk_group(&"a".repeat(63), "demo")).is_ok());
    }

    #[test]
    fn a_group_that_was_never_stored_is_invalid() {
        let mut group = mk_group("demo-default", "demo");
        group.metadata.uid = None;
        assert_eq!(validated(&group).unwrap_err().reason, "NotStored");
    }

    /// The API server rejects a second controller, and the first one manages the group.
    #[test]
    fn a_group_is_put_under_its_cluster_only_if_nothing_controls_it() {
        let table = [
            ("nobody", json!([]), true),
            ("an owner that does not control", json!([foreign_owner(false)]), true),
            ("the cluster, not controlling", json!([cluster_owner("cluster-uid", false)]), true),
            ("an older cluster, not controlling", json!([cluster_owner("older-uid", false)]), true),
            ("the cluster", json!([cluster_owner("cluster-uid", true)]), false),
            ("somebody else", json!([foreign_owner(true)]), false),
            ("both", json!([foreign_owner(false), cluster_owner("cluster-uid", true)]), false),
        ];
        for (owner, references, adopts) in table {
            let valid = validated(&mk_owned_group(references)).unwrap();
            let expected = adopts.then(|| serde_json::from_value(cluster_owner("cluster-uid", true)).unwrap());
            assert_eq!(valid.adopt_by, expected, "{owner}");
        }
    }

    fn max_unavailable(given: &Value, replicas: usize) -> Option<usize> {
        let mut group = mk_group("demo-default", "demo");
        group.spec.worker.update_strategy = serde_json::from_value(json!({"maxUnavailable": given})).unwrap();
        validated(&group).ok().map(|valid| valid.max_unavailable.of(replicas))
    }

    #[test]
    fn as_many_workers_may_be_missing_as_the_strategy_says() {
        let table = [
            (json!(null), 10, Some(1)),
            (json!(3), 10, Some(3)),
            (json!(0), 10, Some(1)),
            (json!("25%"), 10, Some(3)),
            (json!("0%"), 10, Some(1)),
            (json!("100%"), 10, Some(10)),
            (json!("101%"), 10, None),
            (json!("many"), 10, None),
            (json!(-1), 10, None),
        ];
        for (given, replicas, expected) in table {
            assert_eq!(max_unavailable(&given, replicas), expected, "{given}");
        }
    }

    #[test]
    fn the_allocation_is_that_of_the_group_then_of_the_cluster_then_of_the_controller() {
        let allocation = |batch_size, delay_seconds| WorkerAllocation { batch_size, delay_seconds };
        let layers = [Some(allocation(Some(1), None)), None, Some(allocation(Some(3), Some(30)))];
        assert_eq!(merged_allocation(&layers), allocation(Some(1), Some(30)));
        assert_eq!(merged_allocation(&layers[1..]), allocation(Some(3), Some(30)));
    }

    /// A new number of workers must not restart existing ones.
    #[test]
    fn the_template_is_what_workers_are_made_from_and_nothing_else() {
        let template = |edit: fn(&mut DaskWorkerGroup)| {
            let mut group = mk_group("demo-default", "demo");
            edit(&mut group);
            validated(&group).unwrap().template
        };
        let before = template(|_| {});
        let same: [fn(&mut DaskWorkerGroup); 3] = [
            |group| group.spec.worker.replicas = 7,
            |group| group.metadata.labels = Some(map_of([("team", "a")])),
            |group| group.spec.worker.retire_deadline_seconds = Some(1),
        ];
        for edit in same {
            assert_eq!(template(edit), before);
        }
        let other: [fn(&mut DaskWorkerGroup); 2] = [
            |group| group.spec.worker.spec.set("nodeName", json!("n")),
            |group| group.spec.worker.metadata.labels = map_of([("team", "a")]),
        ];
        for edit in other {
            assert_ne!(template(edit), before);
        }
    }

    #[test]
    fn negative_replicas_are_none() {
        let table = [(i64::MIN, 0), (-1, 0), (0, 0), (3, 3)];
        for (replicas, expected) in table {
            let mut group = mk_group("demo-default", "demo");
            group.spec.worker.replicas = replicas;
            assert_eq!(validated(&group).unwrap().replicas, expected, "{replicas}");
        }
    }
}
