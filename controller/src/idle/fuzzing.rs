//! The decision about the idle time-out of a cluster that somebody wrote, for fuzzing.

use dask_operator_api::DaskCluster;
use dask_scheduler_client::Idleness;

use super::{
    decide::{IdlePeriod, Probe},
    validate,
};
use crate::fuzzing::{moment, now};

/// Decides about `cluster`, whose scheduler says since when it is idle.
pub(crate) fn decide(cluster: &DaskCluster, since: Option<f64>) {
    let Some(valid) = validate::validate(cluster) else { return };
    let probe = Probe::Answered(since.map_or(Idleness::Counted, Idleness::Since));
    let mut watched = IdlePeriod::default();
    for _ in 0..3 {
        let _verdict = watched.take_in(&probe, now(), &valid.rules, moment());
    }
}
