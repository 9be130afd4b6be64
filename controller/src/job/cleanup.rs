//! Decides what is left to do for a job that has ended. Pure.

use dask_operator_api::DaskJobStatus;
use jiff::{SignedDuration, Timestamp};

use super::{
    children::{Lookup, ObservedChildren},
    phase::{
        Next,
        job_status::{FAILED, SUCCESSFUL},
    },
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
    let expiry = terms.ttl.and_then(since_end);
    let (delete_runner, linger) = match &world.runner {
        Lookup::Ours(runner) if runner.gone_by.is_none() && !runner.ended => {
            // A runner that would continue or restart is deleted at once: it has no cluster to work with.
            let until = since_end(SIDECARS_LINGER).filter(|until| runner.over && *until > now);
            (until.is_none().then(|| runner.uid.clone()), until)
        }
        _ => (None, None),
    };
    Next {
        delete_cluster: world.standing_cluster(),
        delete_runner,
        delete_job: expiry.is_some_and(|expiry| expiry <= now),
        wake: earliest(expiry, linger),
        ..Next::wait(status)
    }
}

/// Returns the earlier of two optional times.
pub(super) fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}
