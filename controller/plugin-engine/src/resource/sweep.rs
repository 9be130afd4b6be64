//! Closes watches and clients, and drops state, that no plugin needs any more.
//!
//! The set of needed resources is derived from the registry each time. So nothing stays open because a task did not
//! close it, or opened it again during a shutdown.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use super::context::PluginContext;
use crate::model::{
    key::{PluginKey, key_of},
    writer::{Account, WatchKey},
};

/// How often the sweep runs.
const PERIOD: Duration = Duration::from_secs(10);

/// Sweeps periodically, forever.
pub(crate) async fn sweep(context: Arc<PluginContext>) {
    let (mut ticks, mut known) = (tokio::time::interval(PERIOD), HashSet::new());
    loop {
        ticks.tick().await;
        known = sweep_once(&context, &known, Instant::now());
    }
}

/// Closes everything that no plugin needs, and drops the state of the plugins in `known` that are gone. Returns the
/// plugins that exist.
pub(crate) fn sweep_once(context: &PluginContext, known: &HashSet<PluginKey>, now: Instant) -> HashSet<PluginKey> {
    let living: HashSet<PluginKey> = context.plugins.all().iter().map(|plugin| key_of(plugin)).collect();
    // A task that was still running for a deleted plugin may have recorded state after it was dropped.
    for gone in known.difference(&living) {
        let identity = gone.identity(&context.settings.namespace);
        context.registry.remove(gone);
        context.inquiries.forget(gone);
        context.probes.forget(gone);
        context.env.finalize_progress.forget_plugin(&identity);
        context.env.status_store.forget(&identity);
        context.env.metrics.forget(&identity);
    }
    let registered = context.registry.all();
    let watches: HashSet<WatchKey> = registered.iter().flat_map(|plugin| plugin.watches()).collect();
    let accounts: HashSet<Account> = registered.iter().filter_map(|plugin| plugin.writer.account.clone()).collect();
    context.env.watches.close(&watches, now);
    context.writers.close(&accounts, now);
    living
}

#[cfg(test)]
mod tests {
    use operator_runtime::testing::made;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::testing::mk_dependencies;
    use crate::{config::test_settings, engine::test_engine, finalize::FinalizeState};

    #[tokio::test]
    async fn the_state_of_a_plugin_that_is_gone_is_forgotten() {
        let (context, _) = mk_dependencies(made).await;
        let engine = test_engine(&context, test_settings(), &CancellationToken::new());
        let gone = PluginKey { namespace: "team-a".to_owned(), name: "echo".to_owned() };
        engine.env.finalize_progress.set("echo.team-a", "subject", FinalizeState::Engaged);
        engine.env.finalize_progress.set("other", "subject", FinalizeState::Engaged);
        let living = sweep_once(&engine, &HashSet::from([gone]), Instant::now());
        assert!(living.is_empty());
        let marks = ["echo.team-a", "other"].map(|identity| engine.env.finalize_progress.get(identity, "subject"));
        assert_eq!(marks, [None, Some(FinalizeState::Engaged)]);
    }
}
