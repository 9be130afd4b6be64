//! Decides what is left to do for a job that has ended. Pure.

use dask_operator_api::{
    DaskJobStatus,
    job_status::{FAILED, SUCCESSFUL},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    children::{Lookup, ObservedChildren},
    next::Next,
    validate::Terms,
};

/// How long the sidecars of a runner that has ended may continue, so that logs are shipped and read.
const SIDECARS_LINGER: SignedDuration = SignedDuration::from_mins(5);

pub(super) fn is_finished(status: &DaskJobStatus) -> bool {
    [Some(SUCCESSFUL), Some(FAILED)].contains(&status.job_status.as_deref())
}

/// Returns what is left to do for a finished job. Nothing is ever created for it again.
pub(super) fn clean_up(status: DaskJobStatus, terms: &Terms, world: &ObservedChildren, now: Timestamp) -> Next {
    let end = status.end_time.as_ref().map(|time| time.0);
    let since_end = |span: SignedDuration| end.and_then(|end| end.checked_add(span).ok());
    let retention = terms.retention.after(&status);
    let expiry = retention.job.and_then(since_end);
    let cluster = Deletion::of(retention.cluster, &since_end, now);
    let workers = Deletion::of(retention.workers, &since_end, now);
    let (delete_runner, linger) = match &world.runner {
        Lookup::Ours(runner) if runner.gone_by.is_none() && !runner.ended => {
            // A runner that would continue or restart is deleted at once: the job has ended.
            let until = since_end(SIDECARS_LINGER).filter(|until| runner.over && *until > now);
            (until.is_none().then(|| runner.uid.clone()), until)
        }
        _ => (None, None),
    };
    let is_standing = world.standing_cluster().is_some();
    Next {
        delete_cluster: world.standing_cluster().filter(|_| cluster.is_due),
        delete_runner,
        delete_job: expiry.is_some_and(|expiry| expiry <= now),
        // They go with the cluster.
        remove_workers: if workers.is_due && !cluster.is_due && is_standing {
            world.scaled.clone()
        } else {
            Vec::new()
        },
        wake: [expiry, linger, cluster.later, workers.later].into_iter().flatten().min(),
        ..Next::wait(status)
    }
}

/// The time of a deletion.
struct Deletion {
    is_due: bool,
    later: Option<Timestamp>,
}

impl Deletion {
    fn of(
        span: Option<SignedDuration>,
        since_end: &impl Fn(SignedDuration) -> Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let at = span.and_then(since_end);
        // The clock of a node may be ahead.
        let is_due = span == Some(SignedDuration::ZERO) || at.is_some_and(|at| at <= now);
        Self { is_due, later: at.filter(|_| !is_due) }
    }
}

/// Returns the earlier of two optional times.
pub(super) fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}
