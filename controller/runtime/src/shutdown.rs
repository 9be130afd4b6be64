//! Handles the signals that end the process.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The tokens that SIGTERM and SIGINT cancel.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// The token that the first signal cancels: work in progress is finished.
    pub first: CancellationToken,
    /// The token that the second signal cancels: nothing is waited for any more.
    pub second: CancellationToken,
}

/// Returns tokens that SIGTERM and SIGINT cancel.
///
/// # Errors
/// Fails if the process may not install signal handlers.
pub fn on_signal() -> std::io::Result<Signals> {
    let signals = Signals::default();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let cancel = signals.clone();
    tokio::spawn(async move {
        for (token, what) in [(cancel.first, "shutting down"), (cancel.second, "shutting down at once")] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("{what}");
            token.cancel();
        }
    });
    Ok(signals)
}
