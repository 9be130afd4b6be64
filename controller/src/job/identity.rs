//! The labels and annotations by which a job's children are known. Pure.

use dask_operator_api::meta::{self, Map, component, map_of};

/// Annotation with the number of failed runners that a runner replaces. It distinguishes a runner whose failure was
/// counted from its replacement, which has the same name.
pub(super) const PREDECESSORS: &str = "dask.org/failed-runners";

/// Returns the labels that identify a job's cluster.
pub(super) fn of_cluster(job: &str) -> Map {
    map_of([(meta::CLUSTER_NAME, job)])
}

/// Returns the labels that identify a job's runner.
pub(super) fn of_runner(job: &str) -> Map {
    map_of([(meta::CLUSTER_NAME, job), (meta::COMPONENT, component::JOB_RUNNER)])
}
