//! Types of conditions that the controller writes and that other parts than their writer read, too.

/// The condition of a DaskCluster that clients can connect to its scheduler.
pub const SCHEDULER_READY: &str = "SchedulerReady";
/// The condition of a DaskCluster that the running scheduler matches the spec.
pub const SCHEDULER_UP_TO_DATE: &str = "SchedulerUpToDate";
/// The condition of a Dask resource that everything that plugins requested for it has been applied.
pub const PLUGINS_SYNCED: &str = "PluginsSynced";
/// The condition of a DaskWorkerGroup that all workers run and are registered with the scheduler.
pub const WORKERS_AVAILABLE: &str = "Available";
