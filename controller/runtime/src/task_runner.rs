//! Runs the tasks of the controller, and ends them in order.

use std::time::Duration;

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::task_set::Task;

/// How long work in progress may take after SIGTERM. Kubernetes gives a pod 30 seconds, in which the Lease has to be
/// released, too.
const GRACE: Duration = Duration::from_secs(20);

/// The name of a task that ended although it must run for ever.
#[derive(Debug)]
pub struct Ended(pub &'static str);

/// Runs `tasks`. None of them may end before `shutdown`: if one does, the others are aborted. After `shutdown` they
/// finish their work in progress, and are aborted after [`GRACE`]. No task runs any more when this function returns.
pub async fn drive(tasks: Vec<Task>, shutdown: CancellationToken) -> Result<(), Ended> {
    let mut aborts = Aborts(Vec::new());
    let mut running = FuturesUnordered::new();
    for Task { name, run } in tasks {
        // Each future is a Tokio task of its own, so that a busy one does not delay the others.
        let spawned = tokio::spawn(run);
        aborts.0.push(spawned.abort_handle());
        running.push(async move {
            match spawned.await {
                Err(error) if !error.is_cancelled() => tracing::error!(task = name, %error, "task failed"),
                _ => {}
            }
            name
        });
    }
    let mut failed = None;
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        ended = running.next() => failed = ended.map(Ended),
    }
    let end = if failed.is_some() { Instant::now() } else { Instant::now() + GRACE };
    let cut = async {
        sleep_until(end).await;
        aborts.abort();
        std::future::pending::<()>().await;
    };
    let rest = async { while running.next().await.is_some() {} };
    tokio::select! { () = rest => {}, () = cut => {} }
    failed.map_or(Ok(()), Err)
}

/// Handles of tasks, which are aborted when this is dropped.
struct Aborts(Vec<AbortHandle>);

impl Aborts {
    fn abort(&self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Drop for Aborts {
    fn drop(&mut self) {
        self.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    fn until(shutdown: &CancellationToken, more: Duration) -> (Task, Arc<AtomicBool>) {
        let (shutdown, done) = (shutdown.clone(), Arc::new(AtomicBool::new(false)));
        let mark = Arc::clone(&done);
        let run = async move {
            shutdown.cancelled().await;
            tokio::time::sleep(more).await;
            mark.store(true, Ordering::SeqCst);
        };
        (Task { name: "a task", run: Box::pin(run) }, done)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_at_shutdown_is_finished_unless_it_takes_too_long() {
        let shutdown = CancellationToken::new();
        let (short, short_done) = until(&shutdown, GRACE / 2);
        let (long, long_done) = until(&shutdown, GRACE * 2);
        let begin = Instant::now();
        shutdown.cancel();
        drive(vec![short, long], shutdown).await.unwrap();
        assert!(begin.elapsed() >= GRACE && begin.elapsed() < GRACE * 3 / 2, "{:?}", begin.elapsed());
        tokio::time::sleep(GRACE * 3).await;
        assert!(short_done.load(Ordering::SeqCst), "it was in time");
        assert!(!long_done.load(Ordering::SeqCst), "it was cut short, and does not go on unseen");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_before_shutdown_ends_all() {
        let shutdown = CancellationToken::new();
        let (other, other_done) = until(&shutdown, Duration::ZERO);
        let ended = drive(vec![Task { name: "a watch", run: Box::pin(async {}) }, other], shutdown.clone()).await;
        assert_eq!(ended.unwrap_err().0, "a watch");
        shutdown.cancel();
        tokio::time::sleep(GRACE).await;
        assert!(!other_done.load(Ordering::SeqCst));
    }
}
