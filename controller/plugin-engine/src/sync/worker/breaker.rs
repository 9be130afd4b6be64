//! Feeds the breaker of a worker with the results of calls.

use std::{sync::Arc, time::Instant};

use futures::{FutureExt as _, future::BoxFuture};

use super::Worker;
use crate::client::breaker::{Breaker, State};

impl Worker {
    /// Returns a discovery call, whose result decides about an open breaker.
    pub(super) fn discover(&self) -> BoxFuture<'static, bool> {
        let plugin = Arc::clone(&self.current.borrow());
        async move { plugin.caller.discover().await.is_ok() }.boxed()
    }

    /// Applies `event` to the breaker, and logs the new state if it changed.
    pub(super) fn change_breaker(&mut self, event: impl FnOnce(&mut Breaker, Instant)) {
        let before = self.breaker.state();
        event(&mut self.breaker, Instant::now());
        let state = self.breaker.state();
        if state == before {
            return;
        }
        let plugin = &self.current.borrow().identity;
        match state {
            State::Open => tracing::warn!(plugin, "a plugin does not respond: calls are paused"),
            state => tracing::info!(plugin, breaker = state.as_str(), "the breaker of a plugin changed"),
        }
    }
}
