//! Waits for a state by polling.

use std::time::Duration;

use crate::Error;

/// How long to wait for anything before the measurement fails.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(10);
const POLL: Duration = Duration::from_millis(100);

/// Polls `check` until it holds, for conditions whose duration is not measured.
pub(crate) async fn wait_until(what: &str, check: impl AsyncFnMut() -> Result<bool, Error>) -> Result<(), Error> {
    wait_until_every(POLL, what, check).await
}

/// Like [`wait_until`], with a polling interval that suits a measured duration.
pub(crate) async fn wait_until_every(
    pause: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> Result<bool, Error>,
) -> Result<(), Error> {
    let wait = async {
        while !check().await? {
            tokio::time::sleep(pause).await;
        }
        Ok(())
    };
    tokio::time::timeout(TIMEOUT, wait).await.map_err(|_| Error::Timeout(what.to_owned()))?
}
