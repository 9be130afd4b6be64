//! Carries out the commands that a worker receives.

use plugin_protocol::EventReason;

use super::Worker;
use crate::{index::registry::Command, model::subject::SubjectKey};

impl Worker {
    /// Carries out a command.
    pub(super) async fn handle(&mut self, command: Command) {
        match command {
            Command::Enqueue(key, reason) => self.enqueue(key, reason),
            Command::EnqueueAll(reason) => {
                // The plugin has just answered a discovery call.
                if reason == EventReason::PluginChanged {
                    self.change_breaker(|breaker, now| breaker.discovered(true, now));
                }
                drop(self.enqueue_all(reason, None).await);
            }
            Command::EnqueueNamespace(namespace) => {
                drop(self.enqueue_all(EventReason::Updated, Some(&namespace)).await);
            }
            Command::ChildChanged(change) => {
                if change.state.is_none() {
                    self.name_freed(&change.namespace);
                }
                self.child_changed(change);
            }
            // Ends the loop in `run`.
            Command::Finish => {}
            Command::Recovered => {
                self.change_breaker(|breaker, now| breaker.discovered(true, now));
                let failing: Vec<SubjectKey> = self.counter.failing().cloned().collect();
                for key in failing {
                    self.enqueue(key, EventReason::PluginChanged);
                }
            }
        }
    }
}
