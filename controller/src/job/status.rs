//! Writes a job's status and emits Events about it.

use std::collections::HashSet;

use dask_operator_api::{DaskJob, DaskJobStatus, job_status};
use jiff::SignedDuration;
use kube::{
    ResourceExt as _,
    runtime::events::{Event, EventType},
};
use operator_runtime::{
    k8s::{self, Warnings},
    rejection::Rejection,
    report::StatusReporter,
    watch::Cache,
};

use super::{
    children::{Lookup, ObservedChildren},
    event_dedup::{About, EventDedup},
    retention::Retentions,
    trouble::{Health, Trouble},
};
use crate::field_warnings;

/// Writes statuses of jobs and emits Events about them.
pub(crate) struct JobReporter {
    reporter: StatusReporter,
    /// The Events that were emitted.
    reported: EventDedup,
    /// All jobs, to find out which of the reported ones still exist.
    jobs: Cache<DaskJob>,
}

impl JobReporter {
    /// Returns a reporter that has reported nothing yet.
    pub(crate) fn new(reporter: StatusReporter, jobs: Cache<DaskJob>) -> Self {
        Self { reporter, reported: EventDedup::new(), jobs }
    }

    /// Writes `desired` if it differs from the recorded status, and emits an Event with the reason.
    pub(super) async fn write(
        &self,
        job: &DaskJob,
        desired: &DaskJobStatus,
        why: Option<&Rejection>,
    ) -> Result<(), k8s::Error> {
        let recorded = job.status.clone().unwrap_or_default();
        if recorded == *desired {
            return Ok(());
        }
        self.reporter.apply(k8s::FIELD_MANAGER, job, desired).await?;
        if recorded.job_status != desired.job_status {
            log(job, &recorded, desired);
        }
        if let Some(why) = why {
            self.publish(job, why.reason, &why.message).await;
        }
        Ok(())
    }

    /// Emits an Event about what blocks a job, unless it was emitted already.
    pub(super) async fn report_rejection(&self, job: &DaskJob, why: &Rejection) {
        self.report_about(job, About::Creation, &why.clone().into()).await;
    }

    /// Emits an Event about each problem of the job's cluster and runner, unless it was emitted already.
    pub(super) async fn report_problems(&self, job: &DaskJob, world: &ObservedChildren) {
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
                Health::Bad(trouble) => self.report_about(job, about, trouble).await,
                Health::Good => self.reported.forget(&uid, about),
                // It may be in the same trouble again.
                Health::Unknown => {}
            }
        }
    }

    async fn report_about(&self, job: &DaskJob, about: About, trouble: &Trouble) {
        let existing = || self.jobs.all().iter().filter_map(|job| job.uid()).collect::<HashSet<String>>();
        if self.reported.is_new(&job.uid().unwrap_or_default(), about, &trouble.reason, existing) {
            self.publish(job, &trouble.reason, &trouble.message).await;
        }
    }

    /// Emits an Event about what the API server warned about when the job's children were created. A DaskJob has no
    /// conditions.
    pub(super) async fn warn(&self, job: &DaskJob, warnings: &Warnings) {
        if !warnings.is_empty() {
            self.publish(job, field_warnings::reason(warnings), &field_warnings::message(warnings)).await;
        }
    }

    /// Forgets what blocked a job, so that the next block is reported again.
    pub(super) fn forget(&self, job: &DaskJob) {
        self.reported.forget(&job.uid().unwrap_or_default(), About::Creation);
    }

    /// Forgets all that was reported about a job that has ended.
    pub(super) fn forget_all(&self, job: &DaskJob) {
        self.reported.forget_all(&job.uid().unwrap_or_default());
    }

    async fn publish(&self, job: &DaskJob, reason: &str, message: &str) {
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(message.to_owned()),
            action: "Run".to_owned(),
            secondary: None,
        };
        self.reporter.publish(job, event).await;
    }
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
