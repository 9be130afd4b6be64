//! Values of `jobStatus`, which clients of dask-kubernetes compare.

/// The job was accepted.
pub const CREATED: &str = "JobCreated";
/// The cluster and the runner are created.
pub const CLUSTER_CREATED: &str = "ClusterCreated";
/// The runner runs.
pub const RUNNING: &str = "Running";
/// The runner has succeeded.
pub const SUCCESSFUL: &str = "Successful";
/// The job has failed.
pub const FAILED: &str = "Failed";
/// The job is suspended.
pub const SUSPENDED: &str = "Suspended";
/// All values.
pub const ALL: [&str; 6] = [CREATED, CLUSTER_CREATED, RUNNING, SUCCESSFUL, FAILED, SUSPENDED];
