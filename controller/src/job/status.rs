//! Writes a job's status and emits Events about it.

use dask_operator_api::{DaskJob, DaskJobStatus};
use kube::{
    Api, Resource as _, ResourceExt as _,
    runtime::events::{Event, EventType},
};
use operator_runtime::{
    k8s::{self, Warnings},
    rejection::Rejection,
};

use super::{event_dedup::EventDedup, phase::job_status};
use crate::{context::Context, field_warnings};

/// The longest note of an Event that the API server accepts, in bytes.
const MAX_NOTE: usize = 1024;

static TOLD: EventDedup = EventDedup::new();

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
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let api: Api<DaskJob> = Api::namespaced(context.client.clone(), &namespace);
    k8s::apply_status(&api, k8s::FIELD_MANAGER, job, desired).await?;
    if recorded.job_status != desired.job_status {
        log(&namespace, &name, &recorded, desired);
    }
    if let Some(why) = why {
        publish(context, job, why).await;
    }
    Ok(())
}

/// Emits an Event about what blocks a job, unless it was emitted already.
pub(super) async fn tell(context: &Context, job: &DaskJob, why: &Rejection) {
    let existing = || context.caches.jobs.all().iter().filter_map(|job| job.uid()).collect();
    if TOLD.is_news(&job.uid().unwrap_or_default(), why.reason, existing) {
        publish(context, job, why).await;
    }
}

/// Emits an Event about what the API server warned about when the job's children were created. A DaskJob has no
/// conditions.
pub(super) async fn warn(context: &Context, job: &DaskJob, warnings: &Warnings) {
    if !warnings.is_empty() {
        let why = Rejection::new(field_warnings::reason(warnings), field_warnings::message(warnings));
        publish(context, job, &why).await;
    }
}

/// Forgets what blocked a job, so that the next block is reported again.
pub(super) fn forget(job: &DaskJob) {
    TOLD.forget(&job.uid().unwrap_or_default());
}

/// Logs a change of the phase. Users and tests search for some of these messages, which are dask-kubernetes' own.
fn log(namespace: &str, name: &str, recorded: &DaskJobStatus, desired: &DaskJobStatus) {
    if recorded.job_status.is_none() {
        tracing::info!(namespace, name, "A DaskJob has been created");
    }
    match desired.job_status.as_deref() {
        Some(job_status::CLUSTER_CREATED) => tracing::info!(namespace, name, "cluster and runner are created"),
        Some(job_status::RUNNING) => tracing::info!(namespace, name, "Job is running"),
        Some(job_status::SUCCESSFUL) => tracing::info!(namespace, name, "Job succeeded, deleting Dask cluster."),
        Some(job_status::FAILED) => tracing::info!(namespace, name, "Job failed, deleting Dask cluster."),
        Some(job_status::SUSPENDED) => tracing::info!(namespace, name, "job is suspended"),
        _ => {}
    }
}

/// Emits an Event. A failure is only logged, because Events are optional.
async fn publish(context: &Context, job: &DaskJob, why: &Rejection) {
    let event = Event {
        type_: EventType::Warning,
        reason: why.reason.to_owned(),
        note: Some(why.message[..why.message.floor_char_boundary(MAX_NOTE)].to_owned()),
        action: "Run".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &job.object_ref(&())).await {
        tracing::warn!(%error, "failed to publish an Event");
    }
}
