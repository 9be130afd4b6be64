//! Tracks what this process creates: it limits concurrent creations, makes other requests wait for them, and remembers
//! objects that the watch has not reported yet.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::fair_share::{FairShare, Slot};

/// Other requests proceed when no creation is in progress and nothing has been created for this long.
const QUIET: Duration = Duration::from_millis(50);
/// The same while creations are in progress, because they may hang.
const STALLED: Duration = Duration::from_secs(1);
/// The upper bound of the polling interval while requests wait for creations.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a request waits for creations in the same namespace at most.
const MAX_WAIT: Duration = Duration::from_secs(15);
/// How long a request waits for creations in other namespaces at most. A moment is enough for a burst that many users
/// share. A user who keeps the controller creating objects must not delay all others.
const MAX_WAIT_FOR_OTHERS: Duration = Duration::from_millis(300);
/// How long an object that was created may be missing from the cache. After that it counts as deleted.
pub const EXPECTATION_TTL: Duration = Duration::from_secs(5);

/// The number of creations at the same time. Namespaces share these slots: a single namespace gets half of them. Each
/// creation needs a connection to the API server, and more than eight at a time are no faster.
const AT_ONCE: usize = 16;
/// The same for Services, which have slots of their own: the API server allocates their addresses one after the other.
const SERVICES_AT_ONCE: usize = 4;

/// The creations of this process. Clones share the content.
///
/// In a burst, the API server is the bottleneck. Status updates therefore yield to creations, so that pods start
/// sooner. An object that was just created is not created again while the watch has not reported it yet.
#[derive(Clone, Debug)]
pub struct Expectations {
    state: Arc<Mutex<State>>,
    services: FairShare,
    others: FairShare,
}

impl Default for Expectations {
    fn default() -> Self {
        let (services, others) = (FairShare::new(SERVICES_AT_ONCE), FairShare::new(AT_ONCE));
        Self { state: Arc::default(), services, others }
    }
}

/// The objects of one kind that one owner has.
#[derive(Clone, Copy, Debug)]
pub struct ChildrenOf<'a> {
    /// The kind of the objects.
    pub kind: &'a str,
    /// The uid of the owner.
    pub owner: &'a str,
}

/// [`ChildrenOf`] as a key.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ChildrenKey {
    kind: String,
    owner: String,
}

impl ChildrenOf<'_> {
    fn key(self) -> ChildrenKey {
        ChildrenKey { kind: self.kind.to_owned(), owner: self.owner.to_owned() }
    }
}

/// A creation in progress. It ends when this is dropped.
#[derive(Debug)]
pub struct Creating {
    under_way: CreationGuard,
    kind: String,
    _turn: Slot,
}

/// Counts a creation as in progress, beginning before it has a slot. The count ends when this is dropped, also if the
/// caller has stopped waiting for the slot.
#[derive(Debug)]
struct CreationGuard {
    expectations: Expectations,
    namespace: String,
}

impl Drop for CreationGuard {
    fn drop(&mut self) {
        self.expectations.state().under_way(&self.namespace, |count| count.saturating_sub(1));
    }
}

#[derive(Debug, Default)]
struct State {
    /// The creations in all namespaces together.
    all: Burst,
    /// The creations by namespace, for as long as something is created there.
    bursts: HashMap<String, Burst>,
    /// The names of created objects and the times of their creation, by kind and the owner's uid.
    made: HashMap<ChildrenKey, HashMap<String, Instant>>,
    forgotten: Option<Instant>,
}

/// A series of creations.
#[derive(Clone, Copy, Debug, Default)]
struct Burst {
    /// The number of creations that wait for a slot or for a response.
    under_way: usize,
    /// When something was last created.
    last: Option<Instant>,
}

impl Burst {
    fn is_quiet(&self, now: Instant) -> bool {
        let quiet = if self.under_way == 0 { QUIET } else { STALLED };
        self.last.is_none_or(|last| now.duration_since(last) >= quiet)
    }
}

impl Creating {
    /// Records that the object `name` was created for the owner with this uid.
    pub fn made(&self, owner: &str, name: &str) {
        let children = ChildrenOf { kind: &self.kind, owner };
        self.under_way.expectations.made(&self.under_way.namespace, children, name);
    }
}

impl Expectations {
    /// Waits for a slot for the creation of a `kind` in `namespace`. The creation is in progress until the result is
    /// dropped.
    pub async fn begin(&self, namespace: &str, kind: &str) -> Creating {
        self.state().under_way(namespace, |count| count + 1);
        let under_way = CreationGuard { expectations: self.clone(), namespace: namespace.to_owned() };
        let room = if kind == "Service" { &self.services } else { &self.others };
        Creating { under_way, kind: kind.to_owned(), _turn: room.acquire(namespace).await }
    }

    /// Records that the object `name`, one of `children`, was created in `namespace`.
    pub fn made(&self, namespace: &str, children: ChildrenOf<'_>, name: &str) {
        let now = Instant::now();
        {
            let mut state = self.state();
            state.all.last = Some(now);
            state.bursts.entry(namespace.to_owned()).or_default().last = Some(now);
        }
        self.remember(children, name);
    }

    /// Like [`Self::made`], for creations that no request waits for.
    pub fn remember(&self, children: ChildrenOf<'_>, name: &str) {
        let now = Instant::now();
        let mut state = self.state();
        state.forget(now);
        state.made.entry(children.key()).or_default().insert(name.to_owned(), now);
    }

    /// Returns the names of those of `children` that were created and are not in the cache according to `seen`. An
    /// object is returned for at most the time of [`EXPECTATION_TTL`].
    pub fn unseen(&self, children: ChildrenOf<'_>, seen: impl Fn(&str) -> bool) -> BTreeSet<String> {
        let now = Instant::now();
        let mut state = self.state();
        let key = children.key();
        let Some(made) = state.made.get_mut(&key) else { return BTreeSet::new() };
        made.retain(|name, time| !seen(name) && now.duration_since(*time) < EXPECTATION_TTL);
        let unseen = made.keys().cloned().collect();
        if made.is_empty() {
            state.made.remove(&key);
        }
        unseen
    }

    /// Waits until nothing has been created in `namespace` for a moment. The wait is bounded, however many objects are
    /// created. The bound is much shorter if all creations are in other namespaces.
    pub(crate) async fn wait_until_quiet(&self, namespace: &str) {
        let (begin, mut pause) = (Instant::now(), QUIET);
        while let Some(end) = self.busy_until(namespace, begin).filter(|end| Instant::now() < *end) {
            sleep_until(end.min(Instant::now() + pause)).await;
            // Hundreds of requests wait in a burst. They must not poll all the time.
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Returns when a request of `namespace` that has waited since `begin` proceeds at the latest, or `None` if nothing
    /// is being created.
    fn busy_until(&self, namespace: &str, begin: Instant) -> Option<Instant> {
        let (state, now) = (self.state(), Instant::now());
        let own = state.bursts.get(namespace).is_some_and(|burst| !burst.is_quiet(now));
        let max_wait = if own { MAX_WAIT } else { MAX_WAIT_FOR_OTHERS };
        (!state.all.is_quiet(now)).then(|| begin + max_wait)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn under_way(&mut self, namespace: &str, change: impl Fn(usize) -> usize) {
        self.all.under_way = change(self.all.under_way);
        let burst = self.bursts.entry(namespace.to_owned()).or_default();
        burst.under_way = change(burst.under_way);
        if burst.under_way == 0 && burst.last.is_none() {
            self.bursts.remove(namespace);
        }
    }

    /// Removes expired entries, at most once within [`EXPECTATION_TTL`]. The entries of an owner that is gone are never
    /// queried again.
    fn forget(&mut self, now: Instant) {
        let due = self.forgotten.is_none_or(|last| now.duration_since(last) >= EXPECTATION_TTL);
        if due {
            self.forgotten = Some(now);
            self.made.retain(|_, made| made.values().any(|time| now.duration_since(*time) < EXPECTATION_TTL));
            self.bursts.retain(|_, burst| burst.under_way > 0 || !burst.is_quiet(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn way_given(expectations: &Expectations) -> Duration {
        let begin = Instant::now();
        expectations.wait_until_quiet("ns").await;
        begin.elapsed()
    }

    const GROUP: ChildrenOf<'_> = ChildrenOf { kind: "Deployment", owner: "uid" };

    fn unseen(expectations: &Expectations, seen: &[&str]) -> Vec<String> {
        expectations.unseen(GROUP, |name| seen.contains(&name)).into_iter().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_made_counts_until_it_is_seen() {
        let expectations = Expectations::default();
        expectations.made("ns", GROUP, "a");
        expectations.made("ns", GROUP, "b");
        expectations.made("ns", ChildrenOf { kind: "Service", owner: "uid" }, "c");
        expectations.made("ns", ChildrenOf { kind: "Deployment", owner: "other" }, "d");
        assert_eq!(unseen(&expectations, &[]), ["a", "b"]);
        assert_eq!(unseen(&expectations, &["a"]), ["b"]);
        assert_eq!(unseen(&expectations, &[]), ["b"], "what was seen once may be gone when it is not seen again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_never_seen_is_gone_again_and_takes_no_room() {
        let expectations = Expectations::default();
        expectations.made("ns", GROUP, "a");
        tokio::time::sleep(EXPECTATION_TTL).await;
        assert_eq!(unseen(&expectations, &[]), Vec::<String>::new());
        for owner in 0..100 {
            expectations.made(
                &format!("ns-{owner}"),
                ChildrenOf { kind: "Deployment", owner: &owner.to_string() },
                "b",
            );
        }
        tokio::time::sleep(EXPECTATION_TTL).await;
        expectations.made("ns", GROUP, "a");
        let state = expectations.state();
        assert_eq!((state.made.len(), state.bursts.len()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_while_nothing_is_made() {
        let expectations = Expectations::default();
        assert_eq!(way_given(&expectations).await, Duration::ZERO);
        expectations.made("ns", GROUP, "a");
        tokio::time::sleep(QUIET).await;
        assert_eq!(way_given(&expectations).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn others_wait_for_the_last_creation_of_a_burst() {
        let expectations = Expectations::default();
        expectations.made("ns", GROUP, "a");
        let more = async {
            tokio::time::sleep(QUIET / 2).await;
            expectations.made("ns", GROUP, "a");
        };
        let (given, ()) = tokio::join!(way_given(&expectations), more);
        assert!(given >= QUIET * 3 / 2 && given <= QUIET * 3, "{given:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_creation_that_takes_long_is_waited_for() {
        let expectations = Expectations::default();
        expectations.made("ns", GROUP, "a");
        let slow = async {
            let _creating = expectations.begin("ns", "Deployment").await;
            tokio::time::sleep(4 * QUIET).await;
        };
        let (given, ()) = tokio::join!(way_given(&expectations), slow);
        assert!(given >= 4 * QUIET && given < STALLED, "{given:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_creation_that_hangs_is_not_waited_for() {
        let expectations = Expectations::default();
        expectations.made("ns", GROUP, "b");
        let _hangs = expectations.begin("ns", "Deployment").await;
        let given = way_given(&expectations).await;
        assert!(given >= STALLED && given < 3 * STALLED, "{given:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn services_wait_for_services_only() {
        let expectations = Expectations::default();
        let _services =
            futures::future::join_all((0..SERVICES_AT_ONCE / 2).map(|_| expectations.begin("ns", "Service"))).await;
        let one_more = expectations.begin("ns", "Service");
        let wait = tokio::time::timeout(Duration::from_secs(1), one_more).await;
        assert!(wait.is_err());
        assert_eq!(expectations.state().all.under_way, SERVICES_AT_ONCE / 2, "one who gave up is not under way");
        let _others = futures::future::join_all((0..AT_ONCE / 2).map(|_| expectations.begin("ns", "Deployment"))).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_that_does_not_end_holds_nobody_up_for_long() {
        let expectations = Expectations::default();
        let burst = async {
            loop {
                expectations.made("ns", GROUP, "a");
                tokio::time::sleep(QUIET / 4).await;
            }
        };
        tokio::select! {
            biased; // The burst begins before the request waits.
            () = burst => {}
            given = way_given(&expectations) => assert!(given == MAX_WAIT, "{given:?}"),
        }
    }

    /// Otherwise the statuses, scale-downs and finished jobs of all other namespaces would be delayed for the whole
    /// burst.
    #[tokio::test(start_paused = true)]
    async fn whoever_keeps_the_controller_creating_something_holds_up_only_the_own_namespace() {
        let expectations = Expectations::default();
        let burst = async {
            loop {
                expectations.made("hog", GROUP, "a");
                tokio::time::sleep(QUIET / 4).await;
            }
        };
        let others = async {
            expectations.made("ns", GROUP, "one");
            tokio::time::sleep(QUIET).await;
            way_given(&expectations).await
        };
        tokio::select! {
            biased;
            () = burst => {}
            given = others => assert!(given <= MAX_WAIT_FOR_OTHERS, "{given:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_in_which_much_is_made_leaves_room_to_others() {
        let expectations = Expectations::default();
        let mut thousands: Vec<_> = (0..1000).map(|_| Box::pin(expectations.begin("hog", "Deployment"))).collect();
        let under_way = thousands.iter_mut().filter_map(|turn| futures::FutureExt::now_or_never(turn.as_mut()));
        let under_way: Vec<_> = under_way.collect();
        assert_eq!(under_way.len(), AT_ONCE / 2);
        assert!(futures::FutureExt::now_or_never(expectations.begin("ns", "Deployment")).is_some());
        drop((under_way, thousands));
        assert_eq!(expectations.state().all.under_way, 0);
    }
}
