//! The leadership of this process, and the proof of it.

use std::future::pending;

use tokio::sync::watch;

/// The state of this process's leadership. Clones share it.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<bool>);

/// Proof that this process leads. All code that writes, or that calls plugins or schedulers, requires one. A proof is
/// never revoked, because a process that loses the leadership ends.
#[derive(Clone, Copy, Debug)]
pub struct Leading(());

impl Leadership {
    /// Returns the state that `sender` sets.
    pub(super) fn of(sender: &watch::Sender<bool>) -> Self {
        Self(sender.subscribe())
    }

    /// Returns whether this process leads now.
    pub fn is_leading(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until this process leads.
    pub async fn begun(&self) -> Leading {
        if self.0.clone().wait_for(|leading| *leading).await.is_err() {
            // The election has ended, and the process ends with it.
            pending::<()>().await;
        }
        Leading(())
    }
}

/// Returns a proof for tests.
#[cfg(any(test, feature = "testing"))]
pub fn leading() -> Leading {
    Leading(())
}
