//! Waiting for conditions. Tests use these functions instead of loops of their own.

use std::time::{Duration, Instant};

/// The time limit of most conditions. It is long because machines differ.
pub(crate) const DEADLINE: Duration = Duration::from_mins(3);
const POLL: Duration = Duration::from_millis(50);

/// Polls `check` until it returns `Ok`. Panics with its last error after [`DEADLINE`].
pub(crate) async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(DEADLINE, what, check).await
}

/// Polls `check` until it returns `Ok`. Panics with its last error after `limit`.
pub(crate) async fn within<T>(limit: Duration, what: &str, check: impl AsyncFnMut() -> Result<T, String>) -> T {
    match poll(limit, POLL, check).await {
        Ok(result) => result,
        Err(why) => panic!("waited {limit:?} for {what}, but {why}"),
    }
}

/// Polls `check` until it returns `Ok`, with this pause between calls. Returns its last error after `limit`.
pub(crate) async fn poll<T>(
    limit: Duration,
    pause: Duration,
    mut check: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, String> {
    let begin = Instant::now();
    loop {
        match check().await {
            Err(_) if begin.elapsed() <= limit => tokio::time::sleep(pause).await,
            result => return result,
        }
    }
}

/// Checks again and again for `time`. Panics when `check` returns an error.
pub(crate) async fn stays(time: Duration, check: impl AsyncFn() -> Result<(), String>) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        let result = check().await;
        assert!(result.is_ok(), "after {:?}: {result:?}", begin.elapsed());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
