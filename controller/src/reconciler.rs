//! Runs one reconciler over its queue.

use std::{convert::Infallible, fmt::Debug, hash::Hash, sync::Arc, time::Instant};

use futures::StreamExt as _;
use kube::{
    Resource, ResourceExt as _,
    runtime::{
        applier,
        controller::{Action, Config, Error as RunError},
        reflector::{ObjectRef, Store},
    },
};
use tokio_util::sync::CancellationToken;

use crate::{backoff::Backoff, leader::Leading, metrics::Metrics, vitals::Vitals, watch::Requests};

/// Objects of one kind that are reconciled at the same time.
const CONCURRENCY: u16 = 32;

/// One kind's reconciler.
pub struct Reconciler<K: Resource<DynamicType = ()> + 'static, Reconcile, Error> {
    /// The kind, for logs and metrics.
    pub name: &'static str,
    /// Where the objects are.
    pub store: Store<K>,
    /// The step.
    pub reconcile: Reconcile,
    /// A constant word for an error.
    pub category: fn(&Error) -> &'static str,
    /// Where passes are seen that do not end.
    pub vitals: Vitals,
    /// Where passes are counted.
    pub metrics: Arc<Metrics>,
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
        let Self { name, store, reconcile, category, vitals, metrics } = self;
        let passes = metrics.passes(name);
        let backoff = Arc::new(Backoff::<ObjectRef<K>>::default());
        let failures = Arc::clone(&backoff);
        let policy = move |object: Arc<K>, _: &Error, _: Arc<Context>| {
            Action::requeue(failures.failed(ObjectRef::from_obj(object.as_ref())))
        };
        queue.open(leading, &store);
        let asked = Arc::clone(&passes);
        let requests = queue
            .inspect(move |request| asked.requested(namespace_of(&request.obj_ref), &request.obj_ref.name))
            .map(Ok::<_, Infallible>)
            .take_until(shutdown.cancelled_owned());
        let config = Config::default().concurrency(CONCURRENCY);
        let begun = Arc::clone(&passes);
        let pass = move |object: Arc<K>, context| {
            let counted = begun.begin(object.meta().namespace.as_deref().unwrap_or_default(), &object.name_any());
            let (pass, under_way) = (reconcile(object, context), vitals.begin(name, Instant::now()));
            Box::pin(async move {
                let _under_way = under_way;
                let result = pass.await;
                counted.ended(result.as_ref().err().map(category));
                result
            })
        };
        applier(pass, policy, context, store, requests, config)
            .for_each(|result| {
                match result {
                    Ok((object, _)) => backoff.succeeded(&object),
                    Err(RunError::ReconcilerFailed(error, object)) => {
                        tracing::warn!(kind = name, %object, reason = category(&error), %error, "reconciliation failed");
                    }
                    // The object went away between the request and the pass.
                    Err(RunError::ObjectNotFound(object)) => {
                        let object = object.into_kind_unchecked(());
                        passes.dropped(namespace_of(&object), &object.name);
                        backoff.succeeded(&object);
                    }
                    Err(error) => tracing::error!(kind = name, %error, "reconciler failed"),
                }
                std::future::ready(())
            })
            .await;
    }
}

fn namespace_of<K: Resource>(object: &ObjectRef<K>) -> &str {
    object.namespace.as_deref().unwrap_or_default()
}
