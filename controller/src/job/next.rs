//! The result of a decision about a job: its status, and what is to be created and deleted.

use dask_operator_api::DaskJobStatus;
use jiff::Timestamp;
use operator_runtime::rejection::Rejection;

use super::{children::Scaled, extras::Extra};

/// What to do next: first the status, then the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Next {
    pub(super) status: DaskJobStatus,
    /// The reason for the change of the status, if users should be informed.
    pub(super) reported: Option<Rejection>,
    /// What blocks the job.
    pub(super) blocked: Option<Rejection>,
    /// Whether to create the missing ones of cluster and runner.
    pub(super) make: bool,
    /// The missing objects that the job's spec adds to its cluster.
    pub(super) make_extras: Vec<Extra>,
    /// The uid of the cluster to delete.
    pub(super) delete_cluster: Option<String>,
    /// The uid of the runner to delete.
    pub(super) delete_runner: Option<String>,
    pub(super) delete_job: bool,
    /// What makes the kept cluster of a finished job have workers, to be deleted or scaled to 0.
    pub(super) remove_workers: Vec<Scaled>,
    /// When the next pass is due if nothing changes before.
    pub(super) wake: Option<Timestamp>,
}

impl Next {
    /// Returns whether anything would be written.
    pub(super) fn changes(&self, recorded: &DaskJobStatus) -> bool {
        self.status != *recorded
            || self.make
            || !self.make_extras.is_empty()
            || !self.remove_workers.is_empty()
            || self.delete_job
            || self.delete_cluster.is_some()
            || self.delete_runner.is_some()
    }

    pub(super) fn wait(status: DaskJobStatus) -> Self {
        Self { status, ..Self::default() }
    }
}
