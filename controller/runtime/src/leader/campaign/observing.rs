//! What a process learns of the Lease: from the watch, and from the API server.

use std::time::Instant;

use k8s_openapi::api::coordination::v1::Lease;

use super::{Candidate, LeaseEvent, Tried};
use crate::received::{Received, Unreadable};

impl Candidate {
    /// Handles an event of the watch.
    pub(super) async fn on_event(&mut self, event: LeaseEvent) -> Tried {
        let lease = match event {
            Ok(lease) => lease,
            Err(error) => {
                if !self.watch_failed {
                    tracing::warn!(lease = %self.lease, %error, "watching the Lease failed; retrying");
                }
                self.watch_failed = true;
                return Ok(());
            }
        };
        self.watch_failed = false;
        if self.observed.renewed.is_none() {
            self.record(lease);
            return Ok(());
        }
        if let Some(Received::Readable { object: lease, .. }) = &lease
            && lease.spec.as_ref().and_then(|record| record.holder_identity.as_ref()) == Some(&self.identity)
        {
            if self.observed.confirm(lease) {
                self.observed.object = Some(lease.clone());
            }
            return Ok(());
        }
        // The event may be older than the last renewal, because watches report changes late.
        self.read().await
    }

    /// Reads the Lease from the API server.
    pub(super) async fn read(&mut self) -> Tried {
        let found = self.lease.get().await?;
        self.is_allowed = true;
        if let Some(Received::Readable { object, .. }) = &found {
            self.observed.confirm(object);
        }
        self.record(found);
        Ok(())
    }

    fn record(&mut self, lease: Option<Received<Lease>>) {
        let lease = match lease {
            Some(Received::Unreadable(unreadable)) => return self.record_unreadable(*unreadable),
            Some(Received::Readable { object, .. }) => Some(object),
            None => None,
        };
        let before = self.observed.holder().to_owned();
        self.observed.record_object(lease, Instant::now());
        let holder = self.observed.holder();
        if holder == before || holder == self.identity {
            return;
        }
        if holder.is_empty() {
            tracing::info!(lease = %self.lease, "the Lease was released");
        } else {
            tracing::info!(lease = %self.lease, holder, "another process leads");
        }
    }

    /// Handles a Lease that cannot be read. A leader replaces its own Lease at once. A standby replaces that of another
    /// process when it has expired.
    fn record_unreadable(&mut self, Unreadable { metadata, reason, message, .. }: Unreadable) {
        if self.observed.unreadable != Some(reason) {
            tracing::warn!(lease = %self.lease, reason, "the Lease cannot be read and will be replaced");
            tracing::debug!(lease = %self.lease, message, "the Lease cannot be read");
        }
        self.observed.record_unreadable(metadata, reason, Instant::now());
    }
}
