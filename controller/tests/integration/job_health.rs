//! A table of a job's states, and how kstatus and Argo CD understand them. A job has no conditions: clients compare the
//! fields of its status as a set.

use operator_runtime::testing::{HealthCase, check_health};
use serde_json::{Value, json};

use crate::support::job;

fn job_in(status: &str) -> Value {
    let mut object = job("demo");
    object["metadata"] = json!({"name": "demo", "namespace": "ns", "generation": 1});
    if !status.is_empty() {
        let runner = "demo-runner";
        object["status"] = json!({"clusterName": "demo", "jobRunnerPodName": runner, "jobStatus": status});
    }
    object
}

/// kstatus takes a resource without conditions for current, so Helm and Flux do not wait for the end of a job.
#[test]
fn argo_cd_shows_how_far_a_job_is() {
    let mut going = job_in("Running");
    going["metadata"]["deletionTimestamp"] = json!("2026-11-23T09:00:00Z");
    going["metadata"]["finalizers"] = json!(["plugin.kubernetes.dask.org/dns"]);
    let deleted = "the resource is being deleted, and waits for finalizers: plugin.kubernetes.dask.org/dns";
    let table = [
        ("new", job_in(""), "Current", "Progressing", "the controller has not observed the resource yet"),
        ("job_created", job_in("JobCreated"), "Current", "Progressing", "the job is JobCreated"),
        ("cluster_created", job_in("ClusterCreated"), "Current", "Progressing", "the job is ClusterCreated"),
        ("running", job_in("Running"), "Current", "Progressing", "the job is Running"),
        ("successful", job_in("Successful"), "Current", "Healthy", "the job is Successful"),
        ("failed", job_in("Failed"), "Current", "Degraded", "the job is Failed"),
        ("suspended", job_in("Suspended"), "Current", "Suspended", "the job is Suspended"),
        ("being_deleted", going, "Terminating", "Progressing", deleted),
    ];
    let case = |(state, object, kstatus, health, message): (_, _, _, _, &str)| HealthCase {
        state,
        object,
        kstatus,
        health,
        message: message.to_owned(),
    };
    check_health("DaskJob", &table.map(case));
}
