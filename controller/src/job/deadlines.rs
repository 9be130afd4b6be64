//! The deadlines of a job. Pure.
//!
//! `activeDeadlineSeconds` counts from the start of the first runner. `startDeadlineSeconds` is the time until that start.
//! It counts from the creation of the DaskJob, or from when the job was last resumed.

use jiff::Timestamp;
use operator_runtime::rejection::Rejection;

use super::{
    children::{Cluster, Lookup},
    cleanup::earliest,
    phase::Pass,
    trouble::{Health, Trouble},
};

impl Pass<'_> {
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let start = self.start_time().map(|time| time.0).or_else(|| self.runner()?.created)?;
        start.checked_add(self.terms.deadline?).ok()
    }

    /// Returns until when the runner has to start, unless it has started before.
    pub(super) fn start_deadline(&self) -> Option<Timestamp> {
        if self.start_time().is_some() {
            return None;
        }
        let since = self.recorded.resume_time.as_ref().map(|time| time.0).or(self.terms.created)?;
        since.checked_add(self.terms.start_deadline?).ok()
    }

    pub(super) fn start_deadline_exceeded(&self) -> Rejection {
        let trouble = self.cluster_trouble().or_else(|| self.runner()?.health.trouble());
        let why = trouble.map(|trouble| format!(": {}: {}", trouble.reason, trouble.message)).unwrap_or_default();
        Rejection::new("StartDeadlineExceeded", format!("the runner did not start within startDeadlineSeconds{why}"))
    }

    fn cluster_trouble(&self) -> Option<&Trouble> {
        match &self.world.cluster {
            Lookup::Ours(Cluster { health: Health::Bad(trouble), .. }) => Some(trouble),
            _ => None,
        }
    }

    /// Returns the earlier of the two deadlines.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        earliest(self.deadline(), self.start_deadline())
    }
}
