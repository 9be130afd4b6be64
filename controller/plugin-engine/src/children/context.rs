//! The state that the workers of all plugins share.

use std::sync::Arc;

use kube::Client;
use operator_runtime::releases::Releases;
use tokio::sync::mpsc;

use super::{name_locks::NameLocks, prune_guard::PruneGuards};
use crate::{
    client::memory_shares::Shares, finalize::progress::FinalizeProgress, index::watches::WatchManager,
    metrics::PluginMetrics, model::key::PluginKey, selector::evaluation_turns::EvaluationTurns,
    status::store::StatusStore,
};

/// The memory for running passes: requests, responses, and their children as trees.
const WORK_BYTES: usize = 256 * 1024 * 1024;

/// The memory that the passes of one namespace may always use. Most passes take less than 1 MiB.
const WORK_OF_NAMESPACE: usize = 4 * 1024 * 1024;

/// The memory for responses that are kept between passes.
const KEPT_BYTES: usize = 64 * 1024 * 1024;

/// The memory that the responses about one namespace may always use.
const KEPT_OF_NAMESPACE: usize = 256 * 1024;

/// The state that the workers of all plugins share.
pub(crate) struct SyncContext {
    pub(crate) client: Client,
    pub(crate) watches: Arc<WatchManager>,
    pub(crate) name_locks: NameLocks,
    pub(crate) prune_guards: PruneGuards,
    /// How far the finalization of subjects got.
    pub(crate) finalize_progress: FinalizeProgress,
    /// Limits the evaluation of match conditions: one at a time, with namespaces taking turns.
    pub(crate) turns: EvaluationTurns,
    /// Receives plugins whose RBAC may be insufficient, because the API server rejected a request.
    pub(crate) doubts: mpsc::UnboundedSender<PluginKey>,
    /// The other releases on the cluster.
    pub(crate) releases: Releases,
    pub(crate) status_store: Arc<StatusStore>,
    pub(crate) metrics: PluginMetrics,
    pub(crate) work: Shares,
    pub(crate) kept: Shares,
}

impl SyncContext {
    /// Returns a context without state of subjects, and without other releases.
    pub(crate) fn new(
        client: Client,
        watches: Arc<WatchManager>,
        doubts: mpsc::UnboundedSender<PluginKey>,
        status_store: Arc<StatusStore>,
        metrics: PluginMetrics,
    ) -> Self {
        Self {
            client,
            watches,
            name_locks: NameLocks::default(),
            prune_guards: PruneGuards::default(),
            finalize_progress: FinalizeProgress::default(),
            turns: EvaluationTurns::default(),
            doubts,
            releases: Releases::unknown(),
            status_store,
            metrics,
            work: Shares::new(WORK_BYTES, WORK_OF_NAMESPACE),
            kept: Shares::new(KEPT_BYTES, KEPT_OF_NAMESPACE),
        }
    }
}
