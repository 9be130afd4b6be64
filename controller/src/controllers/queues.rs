//! The work queues of the reconcilers.

use dask_operator_api::{DaskAutoscaler, DaskCluster, DaskJob, DaskWorkerGroup};
use operator_runtime::watch::{Expectations, Queue, SyncStatus, WorkQueueReceiver, queue};

/// The work queues of all reconcilers.
pub(crate) struct WorkQueues {
    pub(crate) senders: Senders,
    pub(super) receivers: Receivers,
}

/// The sending ends of the work queues.
#[derive(Clone)]
pub(crate) struct Senders {
    pub(crate) clusters: Queue<DaskCluster>,
    /// Clusters again, for the idle timeout. It talks to schedulers, and a scheduler that hangs must not delay the
    /// creation of clusters.
    pub(super) idle: Queue<DaskCluster>,
    pub(super) groups: Queue<DaskWorkerGroup>,
    pub(super) jobs: Queue<DaskJob>,
    pub(super) autoscalers: Queue<DaskAutoscaler>,
}

/// The receiving ends of the work queues.
pub(super) struct Receivers {
    pub(super) clusters: WorkQueueReceiver<DaskCluster>,
    pub(super) idle: WorkQueueReceiver<DaskCluster>,
    pub(super) groups: WorkQueueReceiver<DaskWorkerGroup>,
    pub(super) jobs: WorkQueueReceiver<DaskJob>,
    pub(super) autoscalers: WorkQueueReceiver<DaskAutoscaler>,
}

impl WorkQueues {
    /// Returns queues whose requests wait for the creations of `expectations`.
    pub(crate) fn new(expectations: &Expectations) -> Self {
        let (clusters, cluster_requests) = queue(expectations);
        let (idle, idle_requests) = queue(expectations);
        let (groups, group_requests) = queue(expectations);
        let (jobs, job_requests) = queue(expectations);
        let (autoscalers, autoscaler_requests) = queue(expectations);
        let senders = Senders { clusters, idle, groups, jobs, autoscalers };
        let receivers = Receivers {
            clusters: cluster_requests,
            idle: idle_requests,
            groups: group_requests,
            jobs: job_requests,
            autoscalers: autoscaler_requests,
        };
        Self { senders, receivers }
    }
}

impl Senders {
    /// Delays requests for an object until `watches` know its namespace.
    pub(super) fn wait_for(&self, watches: &[SyncStatus]) {
        self.clusters.wait_for(watches);
        self.idle.wait_for(watches);
        self.groups.wait_for(watches);
        self.jobs.wait_for(watches);
        self.autoscalers.wait_for(watches);
    }
}
