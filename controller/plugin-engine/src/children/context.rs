//! What the workers of all plugins share.

use std::sync::Arc;

use kube::Client;
use tokio::sync::mpsc;

use super::{name_locks::Claims, prune_guard::Brakes};
use crate::{
    client::memory_shares::Shares, finalize::progress::Ledger, index::watches::Watches, metrics::PluginMetrics,
    model::key::PluginKey, selector::evaluation_turns::EvaluationTurns, status::store::Board,
};

/// Memory for the passes that are under way: requests, answers and their children as trees.
const WORK_BYTES: usize = 256 * 1024 * 1024;

/// What passes about one namespace may always use. Most take less than 1 MiB.
const WORK_OF_NAMESPACE: usize = 4 * 1024 * 1024;

/// Memory for the answers that are kept between passes.
const KEPT_BYTES: usize = 64 * 1024 * 1024;

/// What answers about one namespace may always use.
const KEPT_OF_NAMESPACE: usize = 256 * 1024;

/// What workers of all plugins share.
pub(crate) struct Env {
    pub(crate) client: Client,
    pub(crate) watches: Arc<Watches>,
    pub(crate) claims: Claims,
    pub(crate) brakes: Brakes,
    /// How far the finalization of subjects got.
    pub(crate) ledger: Ledger,
    /// Turns of those that evaluate conditions.
    pub(crate) turns: EvaluationTurns,
    /// Plugins whose rights seem not to suffice any more.
    pub(crate) doubts: mpsc::UnboundedSender<PluginKey>,
    pub(crate) board: Arc<Board>,
    pub(crate) metrics: PluginMetrics,
    pub(crate) work: Shares,
    pub(crate) kept: Shares,
}

impl Env {
    pub(crate) fn new(
        client: Client,
        watches: Arc<Watches>,
        doubts: mpsc::UnboundedSender<PluginKey>,
        (board, metrics): (Arc<Board>, PluginMetrics),
    ) -> Self {
        let (claims, brakes, ledger) = (Claims::default(), Brakes::default(), Ledger::default());
        let work = Shares::new(WORK_BYTES, WORK_OF_NAMESPACE);
        let kept = Shares::new(KEPT_BYTES, KEPT_OF_NAMESPACE);
        Self {
            client,
            watches,
            claims,
            brakes,
            ledger,
            turns: EvaluationTurns::default(),
            doubts,
            board,
            metrics,
            work,
            kept,
        }
    }
}
