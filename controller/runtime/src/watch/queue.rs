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
use crate::leader::Leading;

/// Changes of one object within this time are handled as one. It runs from the first of them: kube's own
/// debounce runs from the last, and an object that changes all the time would never be looked at.
const GATHERED: Duration = Duration::from_millis(100);
/// The same for what is to be made, of which a watch tells once.
const GATHERED_FIRST: Duration = Duration::from_millis(20);

type Key = (String, String);

/// Who waits for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// What is to be made, or has been sent already.
    First,
    /// Gives way to that.
    Later,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    expectations: Expectations,
    /// What has to be known of an object's namespace before it is asked for.
    watches: OnceLock<Vec<SyncStatus>>,
}

#[derive(Default)]
struct State {
    /// Whether somebody takes.
    is_open: bool,
    /// What was asked for and not taken yet, by the number of the request that counts.
    pending: HashMap<Key, (u64, Turn)>,
    requests: u64,
}

impl State {
    /// The number of a new request, unless there is one already that comes as soon.
    fn ask(&mut self, key: Key, turn: Turn) -> Option<u64> {
        let known = self.pending.get(&key).map(|(_, turn)| *turn);
        if !self.is_open || known == Some(Turn::First) || known == Some(turn) {
            return None;
        }
        self.requests += 1;
        self.pending.insert(key, (self.requests, turn));
        Some(self.requests)
    }

    /// Whether request `number` still counts; from now on none can overtake it.
    fn send(&mut self, key: &Key, number: u64) -> bool {
        let Some((_, turn)) = self.pending.get_mut(key).filter(|(known, _)| *known == number) else { return false };
        *turn = Turn::First;
        true
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending end of a reconciler's queue. Sending never blocks; equal requests are merged until they are taken, so
/// its length is bounded by the number of objects. Until the receiving end is opened nothing is kept: a standby
/// would gather the names of all objects that ever were.
pub struct Queue<K: Resource> {
    sender: UnboundedSender<ReconcileRequest<K>>,
    shared: Arc<Shared>,
}

/// The receiving end.
pub struct WorkQueueReceiver<K: Resource> {
    receiver: UnboundedReceiver<ReconcileRequest<K>>,
    queue: Queue<K>,
}

impl<K: Resource> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), shared: Arc::clone(&self.shared) }
    }
}

/// A queue that gives way to `expectations`, and its receiving end.
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
    /// How many requests were not taken yet.
    pub fn depth(&self) -> usize {
        self.shared.state().pending.len()
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Queue<K> {
    /// Nobody looks at an object before `watches` know its namespace: a child that is not there must not be
    /// mistaken for one not yet seen, and a namespace may be refused for long while others are served.
    pub fn wait_for(&self, watches: &[SyncStatus]) {
        // Set once, by the wiring.
        let _ = self.shared.watches.set(watches.to_vec());
    }

    /// Asks for another look at `name`, a moment later, or when no creation is under way. Must be called within the
    /// runtime.
    pub fn push(&self, namespace: &str, name: &str) {
        self.ask(namespace, name, Turn::Later);
    }

    /// Asks for a look at `name`, for which something may have to be made. Must be called within the runtime.
    pub fn push_first(&self, namespace: &str, name: &str) {
        self.ask(namespace, name, Turn::First);
    }

    fn ask(&self, namespace: &str, name: &str, turn: Turn) {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(number) = self.shared.state().ask(key.clone(), turn) else { return };
        let (sender, shared) = (self.sender.clone(), Arc::clone(&self.shared));
        tokio::spawn(async move {
            match turn {
                Turn::First => tokio::time::sleep(GATHERED_FIRST).await,
                Turn::Later => {
                    tokio::time::sleep(GATHERED).await;
                    shared.expectations.give_way(&key.0).await;
                }
            }
            for watch in shared.watches.get().into_iter().flatten() {
                watch.known(&key.0).await;
            }
            if shared.state().send(&key, number) {
                // An error means that the reconciler has ended, which ends the process too.
                let _ = sender.unbounded_send(ObjectRef::<K>::new(&key.1).within(&key.0).into());
            }
        });
    }
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> WorkQueueReceiver<K> {
    /// From now on requests are kept; the first ones are for all that there is. Must be called within the runtime.
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
            let key = (object.namespace.clone().unwrap_or_default(), object.name.clone());
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

    use super::*;
    use crate::leader;
    use crate::testing::mk_config_map;

    /// The names that are asked for now.
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
        let mut looks = 0;
        let taking = async {
            while let Some(request) = requests.next().await {
                assert_eq!(request.obj_ref.name, "busy");
                looks += 1;
            }
        };
        tokio::select! { () = pushing => {}, () = taking => {} }
        assert!((3..=6).contains(&looks), "{looks} looks at ten changes in half a second");
    }

    /// Children that were not seen yet would be made again.
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
                expectations.made("ns", ("Deployment", "uid"), "worker");
                tokio::time::sleep(GATHERED_FIRST).await;
            }
        };
        burst.await;
        assert_eq!((taken(&mut requests), queue.depth()), (vec!["new".to_owned()], 1));
        tokio::time::sleep(GATHERED).await;
        assert_eq!((taken(&mut requests), queue.depth()), (vec!["old".to_owned()], 0));
    }

    /// A standby sees objects come and go for weeks.
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
