use std::future::pending;

use tokio::sync::watch;

/// Whether this process leads. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<bool>);

/// Proof that this process leads. Whatever writes, or talks to plugins or schedulers, asks for one. There is no way
/// back: a process that leads no longer ends.
#[derive(Clone, Copy, Debug)]
pub struct Leading(());

impl Leadership {
    /// Nobody leads yet; the sending end says when this process does.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Whether this process leads now.
    pub fn is_leading(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until this process leads.
    pub async fn begun(&self) -> Leading {
        if self.0.clone().wait_for(|leading| *leading).await.is_err() {
            // The election is over, and with it the process.
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
