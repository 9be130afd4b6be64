//! Fuzzing entry point: the decision about the idle time-out of a cluster with arbitrary content.

use dask_operator_api::DaskCluster;
use dask_scheduler_client::Idleness;

use super::{
    decide::{IdlePeriod, Probe},
    validate,
};
use crate::fuzzing_fixtures::{moment, now};

/// Runs the decision about `cluster`, whose scheduler has been idle since `since`.
pub(crate) fn decide(cluster: &DaskCluster, since: Option<f64>) {
    let Some(valid) = validate::validate(cluster) else { return };
    let probe = Probe::Answered(since.map_or(Idleness::Counted, Idleness::Since));
    let mut watched = IdlePeriod::default();
    for _ in 0..3 {
        let _verdict = watched.take_in(&probe, now(), &valid.rules, moment());
    }
}
