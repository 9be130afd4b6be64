//! Types of conditions of Dask resources, and what the reasons of such conditions mean to their readers.

/// The condition of a DaskCluster that scheduler Deployment, Service and default group exist.
pub const COMPONENTS_CREATED: &str = "ComponentsCreated";
/// The condition of a DaskCluster that clients can connect to its scheduler.
pub const SCHEDULER_READY: &str = "SchedulerReady";
/// The condition of a DaskCluster that the running scheduler matches the spec.
pub const SCHEDULER_UP_TO_DATE: &str = "SchedulerUpToDate";
/// The condition of a DaskCluster that the workers of its default group run and are registered with the scheduler.
pub const WORKERS_AVAILABLE: &str = "WorkersAvailable";
/// The condition of a DaskWorkerGroup that the wanted number of workers exists, all of the current template.
pub const SCALED: &str = "Scaled";
/// The condition of a DaskWorkerGroup that all workers run and are registered with the scheduler.
pub const AVAILABLE: &str = "Available";
/// The condition of a Dask resource that everything that plugins requested for it has been applied.
pub const PLUGINS_SYNCED: &str = "PluginsSynced";

/// Reasons of conditions that are false only until an operation in progress is done.
pub const PROGRESS: &[&str] = &[
    "Creating",
    "Scaling",
    "Pending",
    "Starting",
    "RollingUpdate",
    "Connecting",
    "Recreating",
    "Updating",
    "SchedulingGated",
];
/// The reason of [`PLUGINS_SYNCED`] while no plugin has failed.
pub const PLUGINS_WAITING: &str = "Waiting";

/// Returns whether a condition with this reason is false only until an operation in progress is done.
pub fn is_progress(reason: &str) -> bool {
    PROGRESS.contains(&reason)
}

/// Returns whether a condition that is false for this reason may become true just by waiting.
pub fn may_pass(reason: &str) -> bool {
    is_progress(reason) || reason == PLUGINS_WAITING
}
