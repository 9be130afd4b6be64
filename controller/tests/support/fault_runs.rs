//! Runs of one scenario, each with another call to the API server that fails.

use futures::{StreamExt as _, stream};
use tokio::sync::Semaphore;

use super::proxy::{Fault, Target};

/// How many runs of all tests there are at the same time: they mostly wait. With many more, the API server takes longer to
/// allocate the addresses of Services than controllers wait for a response.
const PARALLEL: usize = 16;

/// The flags of a controller in these runs. By default, a connection may be silent for 40 seconds, so that a run whose list
/// hangs would take nearly as long as it may, and fail on a busy machine.
pub(crate) const QUICK_TO_GIVE_UP: [&str; 4] = ["--watch-seconds", "8", "--silence-seconds", "12"];

/// Shared by all tests of this process, so that the load does not grow with the number of tests that run.
static RUNS: Semaphore = Semaphore::const_new(PARALLEL);

/// Calls `run` for each target, those that take long first. `run` returns what is wrong with the final state. Panics if
/// anything is.
pub(crate) async fn assert_each_survives(mut targets: Vec<Target>, run: impl AsyncFn(Target) -> Option<String>) {
    targets.sort_by_key(|target| target.fault != Fault::Hang);
    let count = targets.len();
    let runs = targets.into_iter().map(async |target| {
        let _permit = RUNS.acquire().await.unwrap();
        run(target).await
    });
    let wrong: Vec<String> =
        stream::iter(runs).buffer_unordered(PARALLEL).filter_map(async |wrong| wrong).collect().await;
    assert!(wrong.is_empty(), "{} of {count} runs went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Returns the message of a panic.
pub(crate) fn message_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}
