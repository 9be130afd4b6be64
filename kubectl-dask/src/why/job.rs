//! Explains why a DaskJob failed, or is not finished.

use dask_operator_api::meta::{self, component};
use serde_json::Value;

use super::{Finding, acceptance, pods};
use crate::{
    json::{Condition, list, number, text},
    snapshot::Snapshot,
};

/// Reasons of Events that say why a job failed.
const FAILURES: [&str; 8] = [
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "StartDeadlineExceeded",
    "RunnerFailed",
    "RunnerLost",
    "ClusterFailed",
    "ClusterLost",
    "InvalidName",
];

pub(super) fn of(seen: &Snapshot) -> Option<Finding> {
    let job = seen.job.as_ref()?;
    match text(job, "/status/jobStatus") {
        "Failed" => Some(failed(seen)),
        "Successful" if seen.cluster.is_none() => {
            Some(Finding::works("job-successful", "the job is done, and its cluster is gone", ""))
        }
        "Suspended" => {
            let resume = seen.kubectl(&format!(
                "patch daskjob {} --type merge -p '{{\"spec\": {{\"suspend\": false}}}}'",
                seen.name
            ));
            Some(Finding::works("job-suspended", "the job is suspended", format!("resume it: {resume}")))
        }
        _ => unaccepted(seen).or_else(|| runner(seen)).or_else(|| without_cluster(seen)),
    }
}

fn failed(seen: &Snapshot) -> Finding {
    let logs = seen.kubectl(&format!("logs {}", meta::runner_name(&seen.name)));
    let said = seen.event(&seen.name, &FAILURES);
    if let Some(code) = exit_code(seen) {
        let cause = format!("the job failed: its runner ended with exit code {code}");
        return Finding::broken("job-failed", cause, format!("read its log: {logs}"));
    }
    let why = said.unwrap_or("its runner or its cluster failed, and the Events about it are gone");
    Finding::broken(
        "job-failed",
        format!("the job failed: {why}"),
        format!("read the log of its runner, if it is still there: {logs}"),
    )
}

/// Returns the exit code of the runner's container that failed.
fn exit_code(seen: &Snapshot) -> Option<i64> {
    let codes = seen
        .pods_of(component::JOB_RUNNER)
        .flat_map(|pod| list(pod, "/status/containerStatuses"))
        .filter_map(|status| number(status, "/state/terminated/exitCode"));
    codes.into_iter().find(|code| *code != 0)
}

/// A DaskJob has no conditions: its author sees an Event instead.
fn unaccepted(seen: &Snapshot) -> Option<Finding> {
    let started = !text(seen.job.as_ref()?, "/status/jobStatus").is_empty();
    let message = seen.event(&seen.name, &["InvalidName"]).filter(|_| !started)?;
    let condition = Condition { type_: "Accepted", status: "False", reason: "InvalidName", message, since: None };
    Some(acceptance::rejected(seen, "the job", &condition))
}

fn runner(seen: &Snapshot) -> Option<Finding> {
    let is_unfinished = |pod: &&Value| !["Succeeded", "Failed"].contains(&text(pod, "/status/phase"));
    pods::of(seen, seen.pods_of(component::JOB_RUNNER).filter(is_unfinished))
}

fn without_cluster(seen: &Snapshot) -> Option<Finding> {
    if seen.cluster.is_some() || seen.lacks("daskclusters") {
        return None;
    }
    let status = text(seen.job.as_ref()?, "/status/jobStatus");
    if status.is_empty() {
        let cause =
            "no operator has looked at the job: none runs that watches its namespace, or it was created a moment ago";
        return Some(Finding::broken("no-operator", cause, super::operator::action(seen)));
    }
    Some(Finding::waiting("job-starting", format!("the job is {status}, and its cluster is not there yet")))
}
