use dask_operator_api::{DaskJob, DaskJobStatus};
use kube::{
    Api, Resource as _, ResourceExt as _,
    runtime::events::{Event, EventType},
};
use operator_runtime::{k8s, rejection::Rejection};

use super::{event_dedup::EventDedup, phase::job_status};
use crate::context::Context;

/// Longest note of an Event that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;

static TOLD: EventDedup = EventDedup::new();

/// Writes `desired` if it differs from what is recorded, and says why.
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

/// Tells what stands in the way of a job, once.
pub(super) async fn tell(context: &Context, job: &DaskJob, why: &Rejection) {
    let existing = || context.caches.jobs.all().iter().filter_map(|job| job.uid()).collect();
    if TOLD.is_news(&job.uid().unwrap_or_default(), why.reason, existing) {
        publish(context, job, why).await;
    }
}

/// Nothing stands in the way of a job any more.
pub(super) fn forget(job: &DaskJob) {
    TOLD.forget(&job.uid().unwrap_or_default());
}

/// People and tests look for some of these sentences: they are dask-kubernetes' own.
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

/// Failing to publish is logged and nothing else: Events are a courtesy.
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
