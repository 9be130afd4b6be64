//! The deadline of a call, for plugins that call other services.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::error::Elapsed;

tokio::task_local! {
    static DEADLINE: Instant;
}

/// Returns the time until the call that is being served is dropped. Returns `None` outside of a call, and in tasks that
/// the plugin spawned.
///
/// A plugin that calls another service should wait a little less for it, so that it can report which service was slow.
///
/// ```
/// use std::time::Duration;
///
/// use dask_plugin_server::time_left;
///
/// let timeout = time_left().map_or(Duration::from_secs(10), |left| left.saturating_sub(Duration::from_millis(100)));
/// ```
pub fn time_left() -> Option<Duration> {
    DEADLINE.try_with(|deadline| deadline.saturating_duration_since(Instant::now())).ok()
}

/// Runs `call` for at most `timeout`. Within it, [`time_left`] returns the rest.
pub(crate) async fn with_time_limit<F: Future>(timeout: Duration, call: F) -> Result<F::Output, Elapsed> {
    let deadline = Instant::now() + timeout;
    tokio::time::timeout_at(deadline, DEADLINE.scope(deadline, call)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_that_is_left_becomes_shorter_during_the_call() {
        let call = async {
            let before = time_left();
            tokio::time::advance(Duration::from_secs(4)).await;
            (before, time_left())
        };
        let (before, after) = with_time_limit(Duration::from_secs(10), call).await.unwrap();
        assert_eq!(before, Some(Duration::from_secs(10)));
        assert_eq!(after, Some(Duration::from_secs(6)));
        assert_eq!(time_left(), None);
    }
}
