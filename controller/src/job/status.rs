//! Writes a job's status and emits Events about it.

use dask_operator_api::{DaskJob, DaskJobStatus};
use jiff::SignedDuration;
use kube::{
    Api, ResourceExt as _,
    runtime::events::{Event, EventType},
};
use operator_runtime::{
    k8s::{self, Warnings},
    rejection::Rejection,
    report,
};

use super::{
    children::{Lookup, ObservedChildren},
    event_dedup::{About, EventDedup},
    next::job_status,
    retention::Retentions,
    trouble::Health,
};
use crate::{context::Context, field_warnings};

static REPORTED: EventDedup = EventDedup::new();

/// Writes `desired` if it differs from the recorded status, and emits an Event with the reason.
pub(super) async fn write(
    context: &Context,
    job: &DaskJob,
    desired: &DaskJobStatus,
    why: Option<&Rejection>,
) -> Result<(), k8s::Error> {
    let recorded = job.status.clone().unwrap_or_default();
    if recorded == *desired {
        return Ok(());
    }
    let api: Api<DaskJob> = Api::namespaced(context.client.clone(), &job.namespace().unwrap_or_default());
    k8s::apply_status(&api, k8s::FIELD_MANAGER, job, desired).await?;
    if recorded.job_status != desired.job_status {
        log(job, &recorded, desired);
    }
    if let Some(why) = why {
        publish(context, job, (why.reason, &why.message)).await;
    }
    Ok(())
}

/// Emits an Event about what blocks a job, unless it was emitted already.
pub(super) async fn report_rejection(context: &Context, job: &DaskJob, why: &Rejection) {
    report_about(context, job, About::Creation, (why.reason, &why.message)).await;
}

/// Emits an Event about each problem of the job's cluster and runner, unless it was emitted already.
pub(super) async fn report_problems(context: &Context, job: &DaskJob, world: &ObservedChildren) {
    let (uid, good) = (job.uid().unwrap_or_default(), Health::Good);
    let cluster = match &world.cluster {
        Lookup::Ours(cluster) => &cluster.health,
        _ => &good,
    };
    let runner = match &world.runner {
        Lookup::Ours(runner) => &runner.health,
        _ => &good,
    };
    for (about, health) in [(About::Cluster, cluster), (About::Runner, runner)] {
        match health {
            Health::Bad(trouble) => report_about(context, job, about, (&trouble.reason, &trouble.message)).await,
            Health::Good => REPORTED.forget(&uid, about),
            // It may be in the same trouble again.
            Health::Unknown => {}
        }
    }
}

async fn report_about(context: &Context, job: &DaskJob, about: About, (reason, message): (&str, &str)) {
    let existing = || context.caches.jobs.all().iter().filter_map(|job| job.uid()).collect();
    if REPORTED.is_new(&job.uid().unwrap_or_default(), about, reason, existing) {
        publish(context, job, (reason, message)).await;
    }
}

/// Emits an Event about what the API server warned about when the job's children were created. A DaskJob has no
/// conditions.
pub(super) async fn warn(context: &Context, job: &DaskJob, warnings: &Warnings) {
    if !warnings.is_empty() {
        let message = field_warnings::message(warnings);
        publish(context, job, (field_warnings::reason(warnings), &message)).await;
    }
}

/// Forgets what blocked a job, so that the next block is reported again.
pub(super) fn forget(job: &DaskJob) {
    REPORTED.forget(&job.uid().unwrap_or_default(), About::Creation);
}

/// Forgets all that was reported about a job that has ended.
pub(super) fn forget_all(job: &DaskJob) {
    REPORTED.forget_all(&job.uid().unwrap_or_default());
}

/// Logs a change of the phase. Users and tests search for some of these messages, which are dask-kubernetes' own.
fn log(job: &DaskJob, recorded: &DaskJobStatus, desired: &DaskJobStatus) {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let deletes_cluster = Retentions::of(&job.spec).after(desired).cluster == Some(SignedDuration::ZERO);
    if recorded.job_status.is_none() {
        tracing::info!(namespace, name, "A DaskJob has been created");
    }
    match desired.job_status.as_deref() {
        Some(job_status::CLUSTER_CREATED) => tracing::info!(namespace, name, "cluster and runner are created"),
        Some(job_status::RUNNING) => tracing::info!(namespace, name, "Job is running"),
        Some(job_status::SUCCESSFUL) if !deletes_cluster => tracing::info!(namespace, name, "job succeeded"),
        Some(job_status::SUCCESSFUL) => tracing::info!(namespace, name, "Job succeeded, deleting Dask cluster."),
        Some(job_status::FAILED) if !deletes_cluster => tracing::info!(namespace, name, "job failed"),
        Some(job_status::FAILED) => tracing::info!(namespace, name, "Job failed, deleting Dask cluster."),
        Some(job_status::SUSPENDED) => tracing::info!(namespace, name, "job is suspended"),
        _ => {}
    }
}

async fn publish(context: &Context, job: &DaskJob, (reason, message): (&str, &str)) {
    let event = Event {
        type_: EventType::Warning,
        reason: reason.to_owned(),
        note: Some(message.to_owned()),
        action: "Run".to_owned(),
        secondary: None,
    };
    report::publish(&context.recorder, job, event).await;
}
