use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::{
    Resource,
    runtime::{controller::ReconcileRequest, reflector::ObjectRef},
};

/// Changes of one object within this time are handled as one. It runs from the first of them: kube's own
/// debounce runs from the last, and an object that changes all the time would never be looked at.
const GATHERED: Duration = Duration::from_millis(100);

type Pending = Arc<Mutex<HashSet<(String, String)>>>;

/// The sending end of a reconciler's queue. Sending never blocks; equal requests are merged, so its length is
/// bounded by the number of objects.
pub struct Queue<K: Resource> {
    sender: UnboundedSender<ReconcileRequest<K>>,
    pending: Pending,
}

impl<K: Resource> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), pending: Arc::clone(&self.pending) }
    }
}

/// A queue and its receiving end.
pub fn queue<K: Resource>() -> (Queue<K>, UnboundedReceiver<ReconcileRequest<K>>)
where
    K::DynamicType: Default,
{
    let (sender, receiver) = unbounded();
    (Queue { sender, pending: Pending::default() }, receiver)
}

impl<K: Resource<DynamicType = ()> + 'static> Queue<K> {
    /// Asks for another look at `name`, a moment later. Must be called within the runtime.
    pub fn push(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        if !self.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            return;
        }
        let queue = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(GATHERED).await;
            queue.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            let (namespace, name) = key;
            // An error means that the reconciler has ended, which ends the process too.
            let _ = queue.sender.unbounded_send(ObjectRef::<K>::new(&name).within(&namespace).into());
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

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
}
