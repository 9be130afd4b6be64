//! The context that the reconciler of plugin resources shares with the tasks that act on them.

use std::sync::Arc;

use kube::Client;
use operator_runtime::{
    fair_share::FairShare, leader::Leadership, liveness::Liveness, report::StatusReporter, watch::WatchTiming,
};

use super::{
    deleted_plugins::DeletedPlugins, inquiries::Inquiries, inquiry_result::InquiryResult, probes::Probes,
    sockets::Sockets,
};
use crate::{
    children::context::SyncContext,
    config::Settings,
    index::{plugins::Plugins, registry::Registry},
    model::writer::Writers,
    pki::authority::Authority,
};

/// The context of the reconciler.
pub(crate) struct PluginContext {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) watch_timing: WatchTiming,
    pub(crate) authority: Authority,
    pub(crate) reporter: StatusReporter,
    /// All plugin resources.
    pub(crate) plugins: Plugins,
    pub(crate) writers: Writers,
    pub(crate) registry: Arc<Registry>,
    pub(crate) env: Arc<SyncContext>,
    pub(crate) probes: Probes,
    /// The running inquiries and their results.
    pub(crate) inquiries: Inquiries<InquiryResult>,
    /// Limits how many deleted plugins have their children deleted at the same time.
    pub(crate) retirements: FairShare,
    pub(crate) sockets: Sockets,
    pub(crate) leadership: Leadership,
    pub(crate) deleted_plugins: DeletedPlugins,
    pub(crate) liveness: Liveness,
}
