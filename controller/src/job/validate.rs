//! Validates a job and reads the terms by which it runs. Pure.

use dask_operator_api::{
    DaskJob, EmbeddedCluster, RunnerPodSpec, TemplateMetadata,
    meta::{self, Map},
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use operator_runtime::rejection::Rejection;

use super::runner::Kind;
use crate::scheduler::scheduler_address;

/// The limit of cluster names, because a job's cluster has the job's name.
const MAX_NAME: usize = 63 - "-scheduler".len();

/// The settings of a job's spec that decide how it proceeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) name: String,
    pub(super) runner_name: String,
    pub(super) suspend: bool,
    pub(super) backoff_limit: Option<i64>,
    pub(super) deadline: Option<SignedDuration>,
    pub(super) ttl: Option<SignedDuration>,
    /// Why the job can never run, if so.
    pub(super) invalid: Option<Rejection>,
}

/// A job that cluster and runner can be built for.
#[derive(Clone, Debug)]
pub(super) struct ValidatedJob {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) owner: OwnerReference,
    /// Labels that children inherit.
    pub(super) labels: Map,
    /// Further labels of the job that the cluster's Service selects by.
    pub(super) selected_labels: Map,
    /// Annotations that children inherit.
    pub(super) annotations: Map,
    pub(super) cluster: EmbeddedCluster,
    pub(super) runner_metadata: TemplateMetadata,
    pub(super) runner: RunnerPodSpec,
    /// The address that the runner connects to.
    pub(super) scheduler_address: String,
}

pub(super) fn validate(job: &DaskJob, cluster_domain: &str) -> Result<ValidatedJob, Rejection> {
    let name = job.name_any();
    if name.len() > MAX_NAME || !meta::is_dns_label(&name) {
        let message = format!(
            "the name {name:?} cannot be used for a job, whose cluster has the same name: it must have at most \
             {MAX_NAME} characters, only a-z, 0-9 and '-', and must begin and end with a letter or digit"
        );
        return Err(Rejection::new("InvalidName", message));
    }
    let Some(runner) = job.spec.job.spec.clone() else {
        return Err(Rejection::new("NoRunner", "spec.job.spec is missing: there is nothing to run"));
    };
    let (Some(namespace), Some(owner)) = (job.namespace(), meta::owner_ref(job)) else {
        return Err(Rejection::new("NotStored", "the object has no namespace or uid"));
    };
    let cluster = job.spec.cluster.clone();
    let labels = meta::inherited(job.labels());
    let mut selected_labels = meta::selected(job.labels(), &cluster.spec.scheduler.service.field("selector"));
    selected_labels.retain(|key, _| !labels.contains_key(key));
    Ok(ValidatedJob {
        scheduler_address: scheduler_address(&name, &cluster.spec.scheduler, &namespace, cluster_domain),
        name,
        namespace,
        owner,
        labels,
        selected_labels,
        annotations: meta::inherited(job.annotations()),
        cluster,
        runner_metadata: job.spec.job.metadata.clone(),
        runner,
    })
}

/// Returns the terms of the job's spec. `invalid` is set if no children can be built for it.
pub(super) fn terms(job: &DaskJob, invalid: Option<Rejection>) -> Terms {
    let spec = &job.spec;
    Terms {
        name: job.name_any(),
        runner_name: meta::runner_name(&job.name_any()),
        suspend: spec.suspend.unwrap_or(false),
        backoff_limit: spec.backoff_limit,
        deadline: spec.active_deadline_seconds.map(SignedDuration::from_secs),
        ttl: spec.ttl_seconds_after_finished.map(SignedDuration::from_secs),
        invalid,
    }
}

/// Returns which container is the runner, and whether it is restarted when it ends.
pub(super) fn runner_kind(job: &DaskJob) -> Kind {
    let field = |name: &str| job.spec.job.spec.as_ref().map(|spec| spec.field(name)).unwrap_or_default();
    Kind {
        container: field("containers")[0]["name"].as_str().unwrap_or_default().to_owned(),
        restart_policy: field("restartPolicy").as_str().unwrap_or("OnFailure").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;
    use crate::job::build::tests::mk_job;

    fn reason(job: &DaskJob) -> Option<&'static str> {
        validate(job, "cluster.local").err().map(|invalid| invalid.reason)
    }

    /// A longer name would be rejected for the cluster only, and the job would wait forever.
    #[test]
    fn names_are_those_that_a_cluster_may_have() {
        let table = [
            ("a".repeat(53), None),
            ("a".repeat(54), Some("InvalidName")),
            ("dotted.name".to_owned(), Some("InvalidName")),
            ("0-name".to_owned(), None),
        ];
        for (name, expected) in table {
            assert_eq!(reason(&mk_job(|job| job["metadata"]["name"] = json!(name))), expected, "{name}");
        }
    }

    #[test]
    fn a_job_without_a_pod_or_that_was_never_stored_is_invalid() {
        assert_eq!(reason(&mk_job(|job| job["spec"]["job"]["spec"] = json!(null))), Some("NoRunner"));
        assert_eq!(reason(&mk_job(|job| job["metadata"]["uid"] = json!(null))), Some("NotStored"));
    }

    #[test]
    fn the_runner_is_the_first_container_and_restarts_on_failure_unless_said_otherwise() {
        let job = mk_job(|_| {});
        let kind = runner_kind(&job);
        assert_eq!((kind.container.as_str(), kind.restart_policy.as_str()), ("job", "OnFailure"));
        let job = mk_job(|job| {
            job["spec"]["job"]["spec"] =
                json!({"restartPolicy": "Never", "containers": [{"name": "z"}, {"name": "a"}]});
        });
        let kind = runner_kind(&job);
        assert_eq!((kind.container.as_str(), kind.restart_policy.as_str()), ("z", "Never"));
    }

    #[test]
    fn terms_are_off_unless_given() {
        let expected = Terms { name: "demo".to_owned(), runner_name: "demo-runner".to_owned(), ..Terms::default() };
        assert_eq!(terms(&mk_job(|_| {}), None), expected);
        let job = mk_job(|job| {
            job["spec"]["suspend"] = json!(true);
            job["spec"]["backoffLimit"] = json!(1);
            job["spec"]["activeDeadlineSeconds"] = json!(2);
            job["spec"]["ttlSecondsAfterFinished"] = json!(0);
        });
        let expected = Terms {
            suspend: true,
            backoff_limit: Some(1),
            deadline: Some(SignedDuration::from_secs(2)),
            ttl: Some(SignedDuration::ZERO),
            ..expected
        };
        assert_eq!(terms(&job, None), expected);
    }
}
