//! Reads a job's children from the caches.

use dask_operator_api::{DaskCluster, DaskJob, meta};
use kube::{Resource, ResourceExt as _};
use operator_runtime::{k8s, rejection::Rejection};

use super::{
    children::{Cluster, Lookup, ObservedChildren, ObservedExtra, Scaled, ScaledKind},
    extras::Extra,
    runner::Runner,
    trouble,
    validate::listed_containers,
};
use crate::{
    caches::{Caches, cluster_key},
    cluster,
    view::PodView,
};

/// Returns the job's children as the caches contain them, which may be stale.
pub(super) fn cached(job: &DaskJob, caches: &Caches) -> ObservedChildren {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let cluster = caches.clusters.get(&namespace, &name);
    let runner = caches.pods.get(&namespace, &meta::runner_name(&name));
    world(job, cluster.as_deref(), runner.as_deref(), caches)
}

/// Returns the children of `job`. The cluster and the runner may be newer than the caches.
pub(super) fn world(
    job: &DaskJob,
    cluster: Option<&DaskCluster>,
    runner: Option<&PodView>,
    caches: &Caches,
) -> ObservedChildren {
    let owner = job.uid().unwrap_or_default();
    let own_cluster = cluster.filter(|cluster| k8s::is_controlled_by(*cluster, &owner));
    ObservedChildren {
        cluster: seen(job, cluster, &owner, |cluster| Cluster {
            uid: cluster.uid().unwrap_or_default(),
            is_going: cluster.metadata.deletion_timestamp.is_some(),
            // Phase `Error` is not enough, because a cluster may recover from it.
            is_broken: cluster::is_invalid(cluster),
            health: trouble::of_cluster(cluster.status.as_ref()),
        }),
        runner: seen(job, runner, &owner, |pod| Runner::of(pod, &listed_containers(job))),
        extras: own_cluster.map(|cluster| extras(job, cluster, caches)).unwrap_or_default(),
        scaled: own_cluster.map(|cluster| scaled(cluster, caches)).unwrap_or_default(),
    }
}

/// Returns what is found by the names of the objects that the job's spec adds to `cluster`.
fn extras(job: &DaskJob, cluster: &DaskCluster, caches: &Caches) -> Vec<ObservedExtra> {
    let (namespace, owner) = (job.namespace().unwrap_or_default(), cluster.uid().unwrap_or_default());
    let found = |extra: &Extra| {
        let name = extra.object_name(&cluster.name_any());
        match extra {
            Extra::WorkerGroup(_) => seen(job, caches.groups.get(&namespace, &name).as_deref(), &owner, |_| ()),
            Extra::Autoscaler => seen(job, caches.autoscalers.get(&namespace, &name).as_deref(), &owner, |_| ()),
        }
    };
    Extra::all(job).into_iter().map(|extra| ObservedExtra { found: found(&extra), extra }).collect()
}

/// Returns what makes `cluster` have workers, whether the job or somebody else added it.
fn scaled(cluster: &DaskCluster, caches: &Caches) -> Vec<Scaled> {
    let owner = cluster.uid().unwrap_or_default();
    let key = cluster_key(&cluster.namespace().unwrap_or_default(), &cluster.name_any());
    let (autoscalers, groups) = (caches.autoscalers.indexed(&key), caches.groups.indexed(&key));
    let autoscalers = autoscalers.iter().filter_map(|scaler| own(ScaledKind::Autoscaler, scaler.as_ref(), &owner));
    let groups = groups.iter().filter(|group| group.spec.worker.replicas > 0);
    autoscalers.chain(groups.filter_map(|group| own(ScaledKind::WorkerGroup, group.as_ref(), &owner))).collect()
}

/// Returns `object` if the owner controls it and it is not being deleted.
fn own<K: Resource<DynamicType = ()>>(kind: ScaledKind, object: &K, owner: &str) -> Option<Scaled> {
    let is_own = k8s::is_controlled_by(object, owner) && object.meta().deletion_timestamp.is_none();
    is_own.then(|| Scaled { kind, name: object.name_any(), uid: object.uid().unwrap_or_default() })
}

fn seen<K: Resource<DynamicType = ()>, T>(
    job: &DaskJob,
    object: Option<&K>,
    owner: &str,
    ours: impl Fn(&K) -> T,
) -> Lookup<T> {
    match object {
        None => Lookup::Nothing,
        Some(object) if k8s::is_controlled_by(object, owner) => Lookup::Ours(ours(object)),
        Some(object) => Lookup::Foreign(in_the_way(&K::kind(&()), &job.name_any(), object)),
    }
}

/// Describes an object of another owner that has the name of a child of `job`. One of an older job of the same name, or
/// of its cluster, is waited for.
pub(super) fn in_the_way(kind: &str, job: &str, object: &impl Resource) -> Rejection {
    let name = object.name_any();
    let owner = meta::dask_controller(object, "DaskJob").or_else(|| meta::dask_controller(object, "DaskCluster"));
    if owner.is_some_and(|owner| owner.name == job) || object.meta().deletion_timestamp.is_some() {
        let message = format!("waiting until {kind} {name} of an older job of this name is gone");
        return Rejection::new("WaitingForDeletion", message);
    }
    let message = format!("{kind} {name} exists and does not belong to this job; delete it or rename the job");
    Rejection::new("NameTaken", message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dask_operator_api::DaskWorkerGroup;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        job::{build::tests::mk_job, trouble::Health},
        test_fixtures::{mk_cluster, mk_group},
    };

    fn seen_of(owners: &Value, phase: &str) -> Lookup<Cluster> {
        seen_as("demo", owners, phase)
    }

    fn seen_as(name: &str, owners: &Value, phase: &str) -> Lookup<Cluster> {
        let mut cluster = mk_cluster(name);
        cluster.metadata.owner_references = Some(serde_json::from_value(owners.clone()).unwrap());
        cluster.status = Some(serde_json::from_value(json!({"phase": phase})).unwrap());
        world(&mk_job(|_| {}), Some(&cluster), None, &Caches::new()).cluster
    }

    fn owner(kind: &str, uid: &str) -> Value {
        json!([{"apiVersion": "kubernetes.dask.org/v1", "kind": kind, "name": "demo", "uid": uid, "controller": true}])
    }

    /// A quota that is exceeded now may be free a minute later.
    #[test]
    fn a_cluster_in_error_is_broken_only_if_it_is_invalid() {
        let ours = |is_broken| {
            let (uid, health) = ("cluster-uid".to_owned(), Health::Unknown);
            Lookup::Ours(Cluster { uid, is_going: false, is_broken, health })
        };
        assert_eq!(seen_of(&owner("DaskJob", "job-uid"), "Error"), ours(false));
        assert_eq!(seen_as("not.valid", &owner("DaskJob", "job-uid"), "Error"), ours(true));
    }

    #[test]
    fn only_what_the_job_itself_controls_is_the_jobs() {
        let ours = |is_broken| {
            let (uid, health) = ("cluster-uid".to_owned(), Health::Unknown);
            Lookup::Ours(Cluster { uid, is_going: false, is_broken, health })
        };
        assert_eq!(seen_of(&owner("DaskJob", "job-uid"), "Running"), ours(false));
        let reason = |seen| match seen {
            Lookup::Foreign(Rejection { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(seen_of(&owner("DaskJob", "older-uid"), "Running")), "WaitingForDeletion");
        assert_eq!(reason(seen_of(&json!([]), "Running")), "NameTaken");
    }

    fn mk_owned_group(name: &str, replicas: i64, owner: &str) -> DaskWorkerGroup {
        let mut group = mk_group(name, "demo");
        group.spec.worker.replicas = replicas;
        group.metadata.namespace = Some("team-a".to_owned());
        let owners = json!([{
            "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "demo", "uid": owner,
            "controller": true,
        }]);
        group.metadata.owner_references = Some(serde_json::from_value(owners).unwrap());
        group
    }

    #[test]
    fn objects_of_the_jobs_cluster_are_distinguished_from_those_of_an_older_one() {
        let worker = json!({"spec": {"containers": [{"name": "worker"}]}});
        let named = |name: &str| json!({"name": name, "worker": worker});
        let job = mk_job(|job| {
            job["spec"]["cluster"]["workerGroups"] = json!([named("own"), named("older"), named("none")]);
        });
        let caches = Caches::new();
        let groups = [
            mk_owned_group("demo-own", 0, "cluster-uid"),
            mk_owned_group("demo-older", 5, "older-uid"),
            mk_owned_group("demo-of-somebody", 2, "cluster-uid"),
        ];
        for group in groups {
            caches.groups.apply(None, Event::Apply(group), &mut Arc::new);
        }
        let mut cluster = mk_cluster("demo");
        cluster.metadata.namespace = Some("team-a".to_owned());
        cluster.metadata.owner_references = Some(serde_json::from_value(owner("DaskJob", "job-uid")).unwrap());
        let seen = world(&job, Some(&cluster), None, &caches);
        let found: Vec<String> = seen
            .extras
            .iter()
            .map(|extra| match &extra.found {
                Lookup::Nothing => "nothing".to_owned(),
                Lookup::Ours(()) => "ours".to_owned(),
                Lookup::Foreign(why) => why.reason.to_owned(),
            })
            .collect();
        assert_eq!(found, ["ours", "WaitingForDeletion", "nothing"]);
        let scaled: Vec<&str> = seen.scaled.iter().map(|scaled| scaled.name.as_str()).collect();
        assert_eq!(scaled, ["demo-of-somebody"], "with at least one worker");
        assert_eq!(world(&job, None, None, &caches).extras, []);
    }
}
