//! Reads a job's children from the caches or from the API server.

use dask_operator_api::{DaskCluster, DaskJob, meta};
use kube::{Api, Resource, ResourceExt as _};
use operator_runtime::{k8s, rejection::Rejection};

use super::{
    children::{Cluster, Lookup, ObservedChildren},
    runner::Runner,
    validate::runner_kind,
};
use crate::{
    cluster,
    context::{Caches, Context},
    view::PodView,
};

/// Returns the job's children as the caches contain them, which may be stale.
pub(super) fn cached(job: &DaskJob, caches: &Caches) -> ObservedChildren {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let cluster = caches.clusters.get(&namespace, &name);
    let runner = caches.pods.get(&namespace, &meta::runner_name(&name));
    world(job, cluster.as_deref(), runner.as_deref())
}

/// Returns the job and its children, read from the API server. `None` if the job is gone.
pub(super) async fn live(job: &DaskJob, context: &Context) -> Result<Option<(DaskJob, ObservedChildren)>, k8s::Error> {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let runner_name = meta::runner_name(&name);
    let jobs: Api<DaskJob> = Api::namespaced(context.client.clone(), &namespace);
    let clusters: Api<DaskCluster> = Api::namespaced(context.client.clone(), &namespace);
    let pods: Api<PodView> = Api::namespaced(context.client.clone(), &namespace);
    // The children are read last: they must not be older than the job's status.
    let found = k8s::timed("get", &name, jobs.get_opt(&name)).await?;
    let is_same = |found: &DaskJob| found.uid() == job.uid() && found.metadata.deletion_timestamp.is_none();
    let Some(current) = found.filter(is_same) else {
        return Ok(None);
    };
    let (cluster, runner) = tokio::try_join!(
        k8s::timed("get", &name, clusters.get_opt(&name)),
        k8s::timed("get", &runner_name, pods.get_opt(&runner_name)),
    )?;
    let world = world(&current, cluster.as_ref(), runner.as_ref());
    Ok(Some((current, world)))
}

fn world(job: &DaskJob, cluster: Option<&DaskCluster>, runner: Option<&PodView>) -> ObservedChildren {
    ObservedChildren {
        cluster: seen(job, cluster, |cluster| Cluster {
            uid: cluster.uid().unwrap_or_default(),
            is_going: cluster.metadata.deletion_timestamp.is_some(),
            // Phase `Error` is not enough, because a cluster may recover from it.
            is_broken: cluster::is_invalid(cluster),
        }),
        runner: seen(job, runner, |pod| Runner::of(pod, &runner_kind(job))),
    }
}

fn seen<K: Resource<DynamicType = ()>, T>(job: &DaskJob, object: Option<&K>, ours: impl Fn(&K) -> T) -> Lookup<T> {
    match object {
        None => Lookup::Nothing,
        Some(object) if operator_runtime::k8s::is_controlled_by(object, &job.uid().unwrap_or_default()) => {
            Lookup::Ours(ours(object))
        }
        Some(object) => Lookup::Foreign(in_the_way(&K::kind(&()), object)),
    }
}

/// Describes an object of another owner that has the name of a child. One of an older job of the same name is waited
/// for.
pub(super) fn in_the_way(kind: &str, object: &impl Resource) -> Rejection {
    let name = object.name_any();
    if meta::dask_controller(object, "DaskJob").is_some() || object.meta().deletion_timestamp.is_some() {
        let message = format!("waiting until {kind} {name} of an older job of this name is gone");
        return Rejection::new("WaitingForDeletion", message);
    }
    let message = format!("{kind} {name} exists and does not belong to this job; delete it or rename the job");
    Rejection::new("NameTaken", message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{job::build::tests::mk_job, test_fixtures::mk_cluster};

    fn seen_of(owners: &Value, phase: &str) -> Lookup<Cluster> {
        seen_as("demo", owners, phase)
    }

    fn seen_as(name: &str, owners: &Value, phase: &str) -> Lookup<Cluster> {
        let mut cluster = mk_cluster(name);
        cluster.metadata.owner_references = Some(serde_json::from_value(owners.clone()).unwrap());
        cluster.status = Some(serde_json::from_value(json!({"phase": phase})).unwrap());
        world(&mk_job(|_| {}), Some(&cluster), None).cluster
    }

    fn owner(kind: &str, uid: &str) -> Value {
        json!([{"apiVersion": "kubernetes.dask.org/v1", "kind": kind, "name": "demo", "uid": uid, "controller": true}])
    }

    /// A quota that is exceeded now may be free a minute later.
    #[test]
    fn a_cluster_in_error_is_broken_only_if_it_is_invalid() {
        let ours = |is_broken| Lookup::Ours(Cluster { uid: "cluster-uid".to_owned(), is_going: false, is_broken });
        assert_eq!(seen_of(&owner("DaskJob", "job-uid"), "Error"), ours(false));
        assert_eq!(seen_as("not.valid", &owner("DaskJob", "job-uid"), "Error"), ours(true));
    }

    #[test]
    fn only_what_the_job_itself_controls_is_the_jobs() {
        let ours = |is_broken| Lookup::Ours(Cluster { uid: "cluster-uid".to_owned(), is_going: false, is_broken });
        assert_eq!(seen_of(&owner("DaskJob", "job-uid"), "Running"), ours(false));
        let reason = |seen| match seen {
            Lookup::Foreign(Rejection { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(seen_of(&owner("DaskJob", "older-uid"), "Running")), "WaitingForDeletion");
        assert_eq!(reason(seen_of(&json!([]), "Running")), "NameTaken");
    }
}
