//! Validates a job and reads the terms by which it runs. Pure.

use dask_operator_api::{
    DaskJob, EmbeddedCluster, RunnerPodSpec, TemplateMetadata,
    meta::{self, Map},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use operator_runtime::rejection::Rejection;
use serde_json::Value;

use super::{
    container::Listed,
    extras,
    retention::{self, Retentions},
};
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
    /// When the DaskJob was created.
    pub(super) created: Option<Timestamp>,
    /// How long the runner may take to start.
    pub(super) start_deadline: Option<SignedDuration>,
    pub(super) retention: Retentions,
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
    if let Some(invalid) = extras::invalid(job, &name).or_else(|| retention::contradiction(&job.spec)) {
        return Err(invalid);
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
        created: job.metadata.creation_timestamp.as_ref().map(|time| time.0),
        start_deadline: spec.start_deadline_seconds.map(SignedDuration::from_secs),
        retention: Retentions::of(spec),
        invalid,
    }
}

/// Returns the containers whose end is the end of the runner, and when the kubelet restarts them. A container may have a
/// policy and rules of its own.
pub(super) fn listed_containers(job: &DaskJob) -> Vec<Listed> {
    let field = |name: &str| job.spec.job.spec.as_ref().map(|spec| spec.field(name)).unwrap_or_default();
    let of_pod = field("restartPolicy");
    let listed = |container: &Value| {
        let policy = container["restartPolicy"].as_str().or(of_pod.as_str()).unwrap_or("OnFailure");
        let has_rules = container["restartPolicyRules"].as_array().is_some_and(|rules| !rules.is_empty());
        Listed {
            name: container["name"].as_str().unwrap_or_default().to_owned(),
            // A rule may restart it after some exit codes. If none did, the pod fails.
            restarts_after_failure: policy != "Never" || has_rules,
            restarts_after_success: policy == "Always",
        }
    };
    field("containers").as_array().into_iter().flatten().map(listed).collect()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;
    use crate::job::{build::tests::mk_job, retention::Retention};

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
    fn the_runner_is_all_listed_containers_and_restarts_on_failure_unless_said_otherwise() {
        let listed = |job: &DaskJob| -> Vec<(String, bool, bool)> {
            let words = |of: Listed| (of.name, of.restarts_after_failure, of.restarts_after_success);
            listed_containers(job).into_iter().map(words).collect()
        };
        let named = |name: &str, failure, success| (name.to_owned(), failure, success);
        assert_eq!(listed(&mk_job(|_| {})), [named("job", true, false), named("sidecar", true, false)]);
        let job = mk_job(|job| {
            let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
            job["spec"]["job"]["spec"] = json!({"restartPolicy": "Never", "containers": [
                {"name": "z"},
                {"name": "a", "restartPolicy": "Always"},
                {"name": "r", "restartPolicy": "Never", "restartPolicyRules": rules},
            ]});
        });
        assert_eq!(listed(&job), [named("z", false, false), named("a", true, true), named("r", true, false)]);
        assert_eq!(listed(&mk_job(|job| job["spec"]["job"]["spec"] = json!(null))), []);
    }

    #[test]
    fn what_is_added_to_the_cluster_is_validated() {
        let bounds = json!({"minimum": 2, "maximum": 1});
        let job = mk_job(|job| job["spec"]["cluster"]["autoscaler"] = bounds);
        assert_eq!(reason(&job), Some("InvalidBounds"));
    }

    #[test]
    fn the_rules_of_deletion_are_validated() {
        let rule = json!({"policy": "DeleteSelf", "condition": {"jobStatus": "Failed"}});
        let job = mk_job(|job| job["spec"]["deletionRules"] = json!([rule, rule]));
        assert_eq!(reason(&job), Some("InvalidDeletionRules"));
    }

    #[test]
    fn terms_are_off_unless_given() {
        let expected = Terms { name: "demo".to_owned(), runner_name: "demo-runner".to_owned(), ..Terms::default() };
        assert_eq!(terms(&mk_job(|_| {}), None), expected);
        let job = mk_job(|job| {
            job["spec"]["suspend"] = json!(true);
            job["spec"]["backoffLimit"] = json!(1);
            job["spec"]["activeDeadlineSeconds"] = json!(2);
            job["spec"]["startDeadlineSeconds"] = json!(3);
            job["spec"]["ttlSecondsAfterFinished"] = json!(0);
            job["metadata"]["creationTimestamp"] = json!("1970-01-01T00:00:07Z");
        });
        let kept = Retention { job: Some(SignedDuration::ZERO), ..Retention::default() };
        let expected = Terms {
            suspend: true,
            backoff_limit: Some(1),
            deadline: Some(SignedDuration::from_secs(2)),
            created: Some(Timestamp::from_second(7).unwrap()),
            start_deadline: Some(SignedDuration::from_secs(3)),
            retention: Retentions { successful: kept, failed: kept },
            ..expected
        };
        assert_eq!(terms(&job, None), expected);
    }
}
