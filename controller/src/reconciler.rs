//! Runs one reconciler over its queue.

use std::{convert::Infallible, fmt::Debug, hash::Hash, sync::Arc};

use futures::StreamExt as _;
use kube::{
    Resource,
    runtime::{
        applier,
        controller::{Action, Config, Error as RunError},
        reflector::{ObjectRef, Store},
    },
};
use tokio_util::sync::CancellationToken;

use crate::{backoff::Backoff, leader::Leading, watch::Requests};

/// Objects of one kind that are reconciled at the same time.
const CONCURRENCY: u16 = 32;

/// One kind's reconciler.
pub struct Reconciler<K: Resource<DynamicType = ()> + 'static, Reconcile, Error> {
    /// The kind, for logs.
    pub name: &'static str,
    /// Where the objects are.
    pub store: Store<K>,
    /// The step.
    pub reconcile: Reconcile,
    /// A constant word for an error.
    pub category: fn(&Error) -> &'static str,
}

impl<K, Reconcile, Error> Reconciler<K, Reconcile, Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    Error: std::error::Error + Send + 'static,
    ObjectRef<K>: Hash + Eq,
{
    /// Opens `queue` and works it off until `shutdown`, finishing what is under way.
    pub async fn run<Context, Pass>(
        self,
        queue: Requests<K>,
        context: Arc<Context>,
        (leading, shutdown): (Leading, CancellationToken),
    ) where
        Reconcile: Fn(Arc<K>, Arc<Context>) -> Pass,
        Pass: Future<Output = Result<Action, Error>> + Send + 'static,
    {
        let Self { name, store, reconcile, category } = self;
        let backoff = Arc::new(Backoff::<ObjectRef<K>>::default());
        let failures = Arc::clone(&backoff);
        let policy = move |object: Arc<K>, _: &Error, _: Arc<Context>| {
            Action::requeue(failures.failed(ObjectRef::from_obj(object.as_ref())))
        };
        queue.open(leading, &store);
        let requests = queue.map(Ok::<_, Infallible>).take_until(shutdown.cancelled_owned());
        let config = Config::default().concurrency(CONCURRENCY);
        let pass = move |object, context| Box::pin(reconcile(object, context));
        applier(pass, policy, context, store, requests, config)
            .for_each(|result| {
                match result {
                    Ok((object, _)) => backoff.succeeded(&object),
                    Err(RunError::ReconcilerFailed(error, object)) => {
                        tracing::warn!(kind = name, %object, reason = category(&error), %error, "reconciliation failed");
                    }
                    // The object went away between the request and the pass.
                    Err(RunError::ObjectNotFound(object)) => backoff.succeeded(&object.into_kind_unchecked(())),
                    Err(error) => tracing::error!(kind = name, %error, "reconciler failed"),
                }
                std::future::ready(())
            })
            .await;
    }
}
