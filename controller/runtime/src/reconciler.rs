//! Runs the passes of one reconciler over its work queue.

mod work_queue;

use std::{
    fmt::Debug,
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, StreamExt as _};
use kube::{
    Resource,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::{
    task::JoinSet,
    time::{Instant as TokioInstant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    backoff::Backoff,
    leader::Leading,
    liveness::Liveness,
    metrics::Passes,
    object_key::ObjectKey,
    releases::{RECHECK, Releases},
    watch::WorkQueueReceiver,
};
use work_queue::WorkQueue;

/// The number of objects of one kind that are reconciled at the same time. Namespaces share these slots: a single
/// namespace gets half of them.
const SLOTS: usize = 64;
/// The reason that is reported for a pass that panicked.
const PANIC: &str = "Panic";

/// The requeue decision of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    requeue_after: Option<Duration>,
}

impl Action {
    /// Requests another pass after `delay`, or earlier if something changes.
    pub fn requeue(delay: Duration) -> Self {
        Self { requeue_after: Some(delay) }
    }

    /// Requests another pass when something changes.
    pub fn await_change() -> Self {
        Self { requeue_after: None }
    }
}

/// The reconciler of one kind.
pub struct Reconciler<K: Resource<DynamicType = ()> + 'static, Reconcile, Error> {
    /// The kind, for logs and metrics.
    pub name: &'static str,
    /// The store of the objects.
    pub store: Store<K>,
    /// The function that reconciles one object.
    pub reconcile: Reconcile,
    /// Returns a constant word that classifies an error.
    pub category: fn(&Error) -> &'static str,
    /// The liveness check, which detects passes that do not end.
    pub liveness: Liveness,
    /// The metrics of the passes.
    pub passes: Arc<Passes>,
    /// The other releases. Objects in a namespace that one of them serves alone are skipped.
    pub releases: Releases,
}

impl<K, Reconcile, Error> Reconciler<K, Reconcile, Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    Error: std::error::Error + Send + 'static,
    ObjectRef<K>: Hash + Eq,
{
    /// Opens `queue` and processes its requests until `shutdown`. Passes in progress are finished before this returns.
    pub async fn run<Context, Pass>(
        self,
        mut queue: WorkQueueReceiver<K>,
        context: Arc<Context>,
        leading: Leading,
        shutdown: CancellationToken,
    ) where
        Reconcile: Fn(Arc<K>, Arc<Context>) -> Pass,
        Pass: Future<Output = Result<Action, Error>> + Send + 'static,
    {
        queue.open(leading, &self.store);
        let passes = Arc::clone(&self.passes);
        let mut work = Work {
            reconciler: self,
            context,
            passes,
            backoff: Backoff::default(),
            queue: WorkQueue::new(SLOTS),
            running: JoinSet::new(),
        };
        loop {
            work.begin_passes();
            let due = work.queue.next_due();
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(request) = queue.next() => work.request(&request.obj_ref),
                Some(ended) = work.running.join_next() => work.ended(ended.ok()),
                () = sleep_until(due.unwrap_or_else(TokioInstant::now)), if due.is_some() => {
                    work.queue.expire(TokioInstant::now());
                }
            }
        }
        while let Some(ended) = work.running.join_next().await {
            work.ended(ended.ok());
        }
    }
}

/// The result of a pass that has ended.
struct Ended<Error> {
    key: ObjectKey,
    outcome: Outcome<Error>,
}

enum Outcome<Error> {
    Done(Action),
    Failed(Error),
    /// The pass hit a bug in this program. This must not end the process: the object that triggers the bug would end it
    /// again and again.
    Panicked,
}

/// The state of a running reconciler.
struct Work<K: Resource<DynamicType = ()> + 'static, Reconcile, Error, Context> {
    reconciler: Reconciler<K, Reconcile, Error>,
    context: Arc<Context>,
    passes: Arc<Passes>,
    backoff: Backoff<ObjectKey>,
    queue: WorkQueue,
    running: JoinSet<Ended<Error>>,
}

impl<K, Reconcile, Error, Context, Pass> Work<K, Reconcile, Error, Context>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    Reconcile: Fn(Arc<K>, Arc<Context>) -> Pass,
    Error: std::error::Error + Send + 'static,
    Pass: Future<Output = Result<Action, Error>> + Send + 'static,
    ObjectRef<K>: Hash + Eq,
{
    fn request(&mut self, object: &ObjectRef<K>) {
        let key = ObjectKey { namespace: object.namespace.clone().unwrap_or_default(), name: object.name.clone() };
        self.passes.requested(&key.namespace, &key.name);
        self.queue.request(key);
    }

    fn begin_passes(&mut self) {
        while let Some(key) = self.queue.begin() {
            self.begin(key);
        }
    }

    /// Begins a pass over the current object, which may be newer than when the pass was requested.
    fn begin(&mut self, key: ObjectKey) {
        let reference = ObjectRef::<K>::new(&key.name).within(&key.namespace);
        let Some(object) = self.reconciler.store.get(&reference) else {
            // The object was deleted after the pass was requested.
            self.passes.dropped(&key.namespace, &key.name);
            self.backoff.succeeded(&key);
            self.queue.end(key, None, TokioInstant::now());
            return;
        };
        let overlap = self.reconciler.releases.overlap_at(&key.namespace);
        if let Some(overlap) = &overlap {
            self.reconciler.releases.report(overlap, object.object_ref(&()));
        }
        if overlap.is_some_and(|overlap| overlap.serves_alone) {
            self.passes.dropped(&key.namespace, &key.name);
            self.queue.end(key, Some(RECHECK), TokioInstant::now());
            return;
        }
        let counted = self.passes.begin(&key.namespace, &key.name);
        let under_way = self.reconciler.liveness.begin(self.reconciler.name, Instant::now());
        let category = self.reconciler.category;
        let span = tracing::info_span!("reconciling object", "object.ref" = %reference);
        let pass = span.in_scope(|| (self.reconciler.reconcile)(object, Arc::clone(&self.context)));
        let run = async move {
            let outcome = match AssertUnwindSafe(pass).catch_unwind().await {
                Ok(Ok(action)) => Outcome::Done(action),
                Ok(Err(error)) => Outcome::Failed(error),
                Err(_) => Outcome::Panicked,
            };
            drop(under_way);
            counted.ended(match &outcome {
                Outcome::Done(_) => None,
                Outcome::Failed(error) => Some(category(error)),
                Outcome::Panicked => Some(PANIC),
            });
            Ended { key, outcome }
        };
        self.running.spawn(run.instrument(span));
    }

    /// Handles the result of a pass. There is none if the runtime ends.
    fn ended(&mut self, ended: Option<Ended<Error>>) {
        let Some(Ended { key, outcome }) = ended else { return };
        let (kind, category) = (self.reconciler.name, self.reconciler.category);
        let delay = match outcome {
            Outcome::Done(action) => {
                self.backoff.succeeded(&key);
                action.requeue_after
            }
            Outcome::Failed(error) => {
                tracing::warn!(kind, object = %key, reason = category(&error), %error, "reconciliation failed");
                Some(self.backoff.failed(key.clone()))
            }
            Outcome::Panicked => {
                tracing::error!(kind, object = %key, reason = PANIC, "reconciliation failed");
                Some(self.backoff.failed(key.clone()))
            }
        };
        self.queue.end(key, delay, TokioInstant::now());
    }
}

#[cfg(test)]
mod tests;
