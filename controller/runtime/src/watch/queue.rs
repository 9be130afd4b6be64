//! The queue from watches to a reconciler. It merges the requests for an object, and delays those that have to wait for
//! creations.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    Stream, StreamExt as _,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
};
use kube::{
    Resource, ResourceExt as _,
    runtime::{
        controller::ReconcileRequest,
        reflector::{ObjectRef, Store},
    },
};

use super::{Expectations, SyncStatus};
use crate::{leader::Leading, object_key::ObjectKey};

/// Changes of one object within this time are handled as one. The time runs from the first of them. kube's own debounce
/// runs from the last, so that an object that changes all the time would never be reconciled.
const GATHERED: Duration = Duration::from_millis(100);
/// The same for requests that may have to create something, which a watch reports once.
const GATHERED_FIRST: Duration = Duration::from_millis(20);

/// The order of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Priority {
    /// A request that may have to create something, or one that has been sent already.
    First,
    /// A request that waits for creations.
    Later,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    expectations: Expectations,
    /// The watches that have to know an object's namespace before a request for the object is sent.
    watches: OnceLock<Vec<SyncStatus>>,
}

#[derive(Default)]
struct State {
    /// Whether the receiving end is open.
    is_open: bool,
    /// The requests that were not received yet.
    pending: HashMap<ObjectKey, Pending>,
    requests: u64,
}

/// The valid request for an object.
#[derive(Clone, Copy)]
struct Pending {
    number: u64,
    priority: Priority,
}

impl State {
    /// Returns the number of a new request. Returns `None` if the queue is not open, or if a pending request comes as
    /// soon.
    fn request(&mut self, key: ObjectKey, priority: Priority) -> Option<u64> {
        let known = self.pending.get(&key).map(|pending| pending.priority);
        if !self.is_open || known == Some(Priority::First) || known == Some(priority) {
            return None;
        }
        self.requests += 1;
        self.pending.insert(key, Pending { number: self.requests, priority });
        Some(self.requests)
    }

    /// Returns whether request `number` is still valid. If it is, no other request can overtake it from now on.
    fn send(&mut self, key: &ObjectKey, number: u64) -> bool {
        let Some(pending) = self.pending.get_mut(key).filter(|pending| pending.number == number) else { return false };
        pending.priority = Priority::First;
        true
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending end of a reconciler's queue. Sending never blocks. Equal requests are merged until they are received, so
/// that the length of the queue is bounded by the number of objects. Nothing is kept before the receiving end is open:
/// otherwise a standby would gather the names of all objects that ever existed.
pub struct Queue<K: Resource> {
    sender: UnboundedSender<ReconcileRequest<K>>,
    shared: Arc<Shared>,
}

/// The receiving end of a reconciler's queue.
pub struct WorkQueueReceiver<K: Resource> {
    receiver: UnboundedReceiver<ReconcileRequest<K>>,
    queue: Queue<K>,
}

impl<K: Resource> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), shared: Arc::clone(&self.shared) }
    }
}

/// Returns a queue whose [`Queue::push`] waits for the creations of `expectations`, and its receiving end.
pub fn queue<K: Resource>(expectations: &Expectations) -> (Queue<K>, WorkQueueReceiver<K>)
where
    K::DynamicType: Default,
{
    let (sender, receiver) = unbounded();
    let shared = Shared { expectations: expectations.clone(), ..Shared::default() };
    let queue = Queue { sender, shared: Arc::new(shared) };
    (queue.clone(), WorkQueueReceiver { receiver, queue })
}

impl<K: Resource> Queue<K> {
    /// Returns the number of requests that have not been received yet.
    pub fn depth(&self) -> usize {
        self.shared.state().pending.len()
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Queue<K> {
    /// Delays requests for an object until `watches` know its namespace. Otherwise a child that the watch has not
    /// reported yet would be taken for a missing one. Each namespace is waited for on its own, because one may be
    /// forbidden for a long time while the others are served.
    pub fn wait_for(&self, watches: &[SyncStatus]) {
        // Set only once, when the controller starts.
        let _ = self.shared.watches.set(watches.to_vec());
    }

    /// Requests another pass over `name`. The request is sent after a short delay and when no creation is in progress.
    /// Must be called within the runtime.
    pub fn push(&self, namespace: &str, name: &str) {
        self.request(namespace, name, Priority::Later);
    }

    /// Requests a pass over `name` that may have to create something. Must be called within the runtime.
    pub fn push_first(&self, namespace: &str, name: &str) {
        self.request(namespace, name, Priority::First);
    }

    fn request(&self, namespace: &str, name: &str, priority: Priority) {
        let key = ObjectKey::new(namespace, name);
        let Some(number) = self.shared.state().request(key.clone(), priority) else { return };
        let (sender, shared) = (self.sender.clone(), Arc::clone(&self.shared));
        tokio::spawn(async move {
            match priority {
                Priority::First => tokio::time::sleep(GATHERED_FIRST).await,
                Priority::Later => {
                    tokio::time::sleep(GATHERED).await;
                    shared.expectations.wait_until_quiet(&key.namespace).await;
                }
            }
            for watch in shared.watches.get().into_iter().flatten() {
                watch.known(&key.namespace).await;
            }
            if shared.state().send(&key, number) {
                // An error means that the reconciler has ended, which ends the process too.
                let _ = sender.unbounded_send(ObjectRef::<K>::new(&key.name).within(&key.namespace).into());
            }
        });
    }
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> WorkQueueReceiver<K> {
    /// Keeps requests from now on, and requests a pass over each object in `store`. Must be called within the runtime.
    pub fn open(&self, _: Leading, store: &Store<K>) {
        self.queue.shared.state().is_open = true;
        for object in store.state() {
            self.queue.push(&object.namespace().unwrap_or_default(), &object.name_any());
        }
    }
}

impl<K: Resource<DynamicType = ()>> Stream for WorkQueueReceiver<K> {
    type Item = ReconcileRequest<K>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.receiver.poll_next_unpin(context);
        if let Poll::Ready(Some(request)) = &polled {
            let object = &request.obj_ref;
            let key = ObjectKey::new(object.namespace.as_deref().unwrap_or_default(), &object.name);
            self.queue.shared.state().pending.remove(&key);
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures::FutureExt as _;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::{reflector, watcher::Event};

    use super::{super::ChildrenOf, *};
    use crate::leader;
    use crate::testing::mk_config_map;

    /// Returns the names that can be received now.
    fn taken(requests: &mut WorkQueueReceiver<ConfigMap>) -> Vec<String> {
        std::iter::from_fn(|| requests.next().now_or_never().flatten()).map(|request| request.obj_ref.name).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_changes_all_the_time_is_looked_at_all_the_same() {
        let (queue, mut requests) = queue::<ConfigMap>(&Expectations::default());
        requests.open(leader::leading(), &reflector::store().0);
        let pushing = async {
            for _ in 0..10 {
                queue.push("ns", "busy");
                tokio::time::sleep(GATHERED / 2).await;
            }
        };
        let mut passes = 0;
        let taking = async {
            while let Some(request) = requests.next().await {
                assert_eq!(request.obj_ref.name, "busy");
                passes += 1;
            }
        };
        tokio::select! { () = pushing => {}, () = taking => {} }
        assert!((3..=6).contains(&passes), "{passes} looks at ten changes in half a second");
    }

    /// Otherwise children that the watch has not reported yet would be created again.
    #[tokio::test(start_paused = true)]
    async fn an_object_waits_until_its_namespace_is_known_and_is_then_asked_for_once() {
        let (queue, mut requests) = queue::<ConfigMap>(&Expectations::default());
        requests.open(leader::leading(), &reflector::store().0);
        let watch = SyncStatus::listening("pods", &[Instant::now()]);
        queue.wait_for(std::slice::from_ref(&watch));
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

    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_does_not_grow_with_the_number_of_changes() {
        let (queue, mut requests) = queue::<ConfigMap>(&Expectations::default());
        requests.open(leader::leading(), &reflector::store().0);
        for _ in 0..10 {
            queue.push("ns", "a");
            queue.push("ns", "b");
            tokio::time::sleep(2 * GATHERED).await;
        }
        assert_eq!(queue.depth(), 2);
        let mut names = taken(&mut requests);
        names.sort();
        assert_eq!((names, queue.depth()), (vec!["a".to_owned(), "b".to_owned()], 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_to_be_made_comes_before_what_was_asked_for_earlier() {
        let expectations = Expectations::default();
        let (queue, mut requests) = queue::<ConfigMap>(&expectations);
        requests.open(leader::leading(), &reflector::store().0);
        queue.push("ns", "old");
        queue.push("ns", "new");
        queue.push_first("ns", "new");
        queue.push_first("ns", "new");
        queue.push("ns", "new");
        let burst = async {
            for _ in 0..20 {
                expectations.made("ns", ChildrenOf { kind: "Deployment", owner: "uid" }, "worker");
                tokio::time::sleep(GATHERED_FIRST).await;
            }
        };
        burst.await;
        assert_eq!((taken(&mut requests), queue.depth()), (vec!["new".to_owned()], 1));
        tokio::time::sleep(GATHERED).await;
        assert_eq!((taken(&mut requests), queue.depth()), (vec!["old".to_owned()], 0));
    }

    /// A standby may run for weeks while objects come and go.
    #[tokio::test(start_paused = true)]
    async fn a_standby_keeps_nothing_and_looks_at_all_that_there_is_when_it_leads() {
        let (queue, mut requests) = queue::<ConfigMap>(&Expectations::default());
        let (store, mut writer) = reflector::store();
        for number in 0..100 {
            queue.push("ns", &format!("gone-{number}"));
            tokio::time::sleep(2 * GATHERED).await;
        }
        assert_eq!((queue.depth(), taken(&mut requests)), (0, Vec::new()));

        let object = mk_config_map("ns", "demo");
        writer.apply_watcher_event(&Event::Apply(object.clone()));
        requests.open(leader::leading(), &store);
        tokio::time::sleep(2 * GATHERED).await;
        assert_eq!(taken(&mut requests), [object.name_any()]);
    }
}
