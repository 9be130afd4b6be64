use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::{
    Resource,
    runtime::{controller::ReconcileRequest, reflector::ObjectRef},
};

use super::Progress;

/// Changes of one object within this time are handled as one. It runs from the first of them: kube's own
/// debounce runs from the last, and an object that changes all the time would never be looked at.
const GATHERED: Duration = Duration::from_millis(100);

/// The sending end of a reconciler's queue. Sending never blocks; equal requests are merged, so its length is
/// bounded by the number of objects.
pub struct Queue<K: Resource> {
    sender: UnboundedSender<ReconcileRequest<K>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Objects that will be asked for in a moment.
    pending: Mutex<HashSet<(String, String)>>,
    /// What has to be known of an object's namespace before.
    watches: OnceLock<Vec<Progress>>,
}

impl<K: Resource> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), shared: Arc::clone(&self.shared) }
    }
}

/// A queue and its receiving end.
pub fn queue<K: Resource>() -> (Queue<K>, UnboundedReceiver<ReconcileRequest<K>>)
where
    K::DynamicType: Default,
{
    let (sender, receiver) = unbounded();
    (Queue { sender, shared: Arc::default() }, receiver)
}

impl<K: Resource<DynamicType = ()> + 'static> Queue<K> {
    /// Nobody looks at an object before `watches` know its namespace: a child that is not there must not be
    /// mistaken for one not yet seen, and a namespace may be refused for long while others are served.
    pub fn wait_for(&self, watches: &[Progress]) {
        // Set once, by the wiring.
        let _ = self.shared.watches.set(watches.to_vec());
    }

    /// Asks for another look at `name`, a moment later. Must be called within the runtime.
    pub fn push(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        if !self.pending().insert(key.clone()) {
            return;
        }
        let queue = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(GATHERED).await;
            for watch in queue.shared.watches.get().into_iter().flatten() {
                watch.known(&key.0).await;
            }
            queue.pending().remove(&key);
            let (namespace, name) = key;
            // An error means that the reconciler has ended, which ends the process too.
            let _ = queue.sender.unbounded_send(ObjectRef::<K>::new(&name).within(&namespace).into());
        });
    }

    fn pending(&self) -> MutexGuard<'_, HashSet<(String, String)>> {
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::crd::DaskCluster;

    #[tokio::test(start_paused = true)]
    async fn an_object_that_changes_all_the_time_is_looked_at_all_the_same() {
        let (queue, mut requests) = queue::<DaskCluster>();
        let pushing = async {
            for _ in 0..10 {
                queue.push("ns", "busy");
                tokio::time::sleep(GATHERED / 2).await;
            }
        };
        pushing.await;
        drop(queue);
        let mut looks = 0;
        while let Some(request) = requests.next().await {
            assert_eq!(request.obj_ref.name, "busy");
            looks += 1;
        }
        assert!((4..=6).contains(&looks), "{looks} looks at ten changes in half a second");
    }

    /// Children that were not seen yet would be made again.
    #[tokio::test(start_paused = true)]
    async fn an_object_waits_until_its_namespace_is_known_and_is_then_asked_for_once() {
        let (queue, mut requests) = queue::<DaskCluster>();
        let watch = Progress::listening("pods", &[Instant::now()]);
        queue.wait_for(&[watch.clone()]);
        for _ in 0..3 {
            queue.push("ns", "demo");
            tokio::time::sleep(GATHERED * 2).await;
        }
        assert!(requests.next().now_or_never().is_none());
        watch.deliver();
        assert_eq!(requests.next().await.unwrap().obj_ref.name, "demo");
        tokio::time::sleep(GATHERED * 2).await;
        assert!(requests.next().now_or_never().is_none());
    }
}
