use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};

/// With no creation under way, and none for so long, the others get their turn.
const QUIET: Duration = Duration::from_millis(50);
/// The same, if some are under way: they may hang.
const STALLED: Duration = Duration::from_secs(1);
/// How rarely those who wait look whether that is so.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Nobody gives way for longer.
const PATIENCE: Duration = Duration::from_secs(15);
/// What was made and is not in a cache by then is gone again.
pub const UNSEEN: Duration = Duration::from_secs(5);

/// What is made at the same time. Each needs a connection to the API server, and more of them make it no faster.
const AT_ONCE: usize = 8;
/// The same for Services, apart from the others: the API server gives them addresses one after the other.
const SERVICES_AT_ONCE: usize = 2;

/// What this process makes. Cloning shares it.
///
/// In a burst the API server is what everybody waits for. So what only tells how things stand gives way to what makes
/// them, which lets pods start sooner; and what was made is not made again because its watch has not told of it yet.
#[derive(Clone, Debug, Default)]
pub struct Creations(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    services: Semaphore,
    others: Semaphore,
}

impl Default for Shared {
    fn default() -> Self {
        let (services, others) = (Semaphore::new(SERVICES_AT_ONCE), Semaphore::new(AT_ONCE));
        Self { state: Mutex::default(), services, others }
    }
}

/// A creation that is under way until it is dropped.
#[derive(Debug)]
pub struct Creating<'a> {
    _under_way: UnderWay<'a>,
    _turn: Option<SemaphorePermit<'a>>,
}

/// Counts from before its turn, also if nobody waits for it any more.
#[derive(Debug)]
struct UnderWay<'a>(&'a Creations);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
    }
}

#[derive(Debug, Default)]
struct State {
    /// Creations that wait for their turn or for an answer.
    under_way: usize,
    /// When something was last made.
    last: Option<Instant>,
    /// Names of what was made, by kind and the owner's uid.
    made: HashMap<(String, String), HashMap<String, Instant>>,
    forgotten: Option<Instant>,
}

impl Creations {
    /// Waits for the turn of a creation of a `kind`, which then is under way.
    pub async fn begin(&self, kind: &str) -> Creating<'_> {
        self.state().under_way += 1;
        let under_way = UnderWay(self);
        let room = if kind == "Service" { &self.0.services } else { &self.0.others };
        // Nobody closes it.
        let turn = room.acquire().await.ok();
        Creating { _under_way: under_way, _turn: turn }
    }

    /// The `kind` `name` was made for the owner with this uid.
    pub fn made(&self, key: (&str, &str), name: &str) {
        self.state().last = Some(Instant::now());
        self.remember(key, name);
    }

    /// As [`Self::made`], for what nobody gives way to.
    pub fn remember(&self, (kind, owner): (&str, &str), name: &str) {
        let now = Instant::now();
        let mut state = self.state();
        state.forget(now);
        state.made.entry((kind.to_owned(), owner.to_owned())).or_default().insert(name.to_owned(), now);
    }

    /// What was made for the owner and is not among `seen` yet, for at most the time of [`UNSEEN`].
    pub fn unseen(&self, (kind, owner): (&str, &str), seen: impl Fn(&str) -> bool) -> BTreeSet<String> {
        let now = Instant::now();
        let mut state = self.state();
        let key = (kind.to_owned(), owner.to_owned());
        let Some(made) = state.made.get_mut(&key) else { return BTreeSet::new() };
        made.retain(|name, time| !seen(name) && now.duration_since(*time) < UNSEEN);
        let unseen = made.keys().cloned().collect();
        if made.is_empty() {
            state.made.remove(&key);
        }
        unseen
    }

    /// Waits until nothing has been made for a moment; not for long, however much is made.
    pub async fn give_way(&self) {
        let (end, mut pause) = (Instant::now() + PATIENCE, QUIET);
        while !self.is_quiet() && Instant::now() < end {
            sleep_until(end.min(Instant::now() + pause)).await;
            // Hundreds wait in a burst, and must not look all the time.
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    fn is_quiet(&self) -> bool {
        let state = self.state();
        let quiet = if state.under_way == 0 { QUIET } else { STALLED };
        state.last.is_none_or(|last| last.elapsed() >= quiet)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Nobody asks for what was made for an owner that is gone.
    fn forget(&mut self, now: Instant) {
        let due = self.forgotten.is_none_or(|last| now.duration_since(last) >= UNSEEN);
        if due {
            self.forgotten = Some(now);
            self.made.retain(|_, made| made.values().any(|time| now.duration_since(*time) < UNSEEN));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn way_given(creations: &Creations) -> Duration {
        let begin = Instant::now();
        creations.give_way().await;
        begin.elapsed()
    }

    const GROUP: (&str, &str) = ("Deployment", "uid");

    fn unseen(creations: &Creations, seen: &[&str]) -> Vec<String> {
        creations.unseen(GROUP, |name| seen.contains(&name)).into_iter().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_made_counts_until_it_is_seen() {
        let creations = Creations::default();
        creations.made(GROUP, "a");
        creations.made(GROUP, "b");
        creations.made(("Service", "uid"), "c");
        creations.made(("Deployment", "other"), "d");
        assert_eq!(unseen(&creations, &[]), ["a", "b"]);
        assert_eq!(unseen(&creations, &["a"]), ["b"]);
        assert_eq!(unseen(&creations, &[]), ["b"], "what was seen once may be gone when it is not seen again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_never_seen_is_gone_again_and_takes_no_room() {
        let creations = Creations::default();
        creations.made(GROUP, "a");
        tokio::time::sleep(UNSEEN).await;
        assert_eq!(unseen(&creations, &[]), Vec::<String>::new());
        for owner in 0..100 {
            creations.made(("Deployment", &owner.to_string()), "b");
        }
        tokio::time::sleep(UNSEEN).await;
        creations.made(GROUP, "a");
        assert_eq!(creations.state().made.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_while_nothing_is_made() {
        let creations = Creations::default();
        assert_eq!(way_given(&creations).await, Duration::ZERO);
        creations.made(GROUP, "a");
        tokio::time::sleep(QUIET).await;
        assert_eq!(way_given(&creations).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn others_wait_for_the_last_creation_of_a_burst() {
        let creations = Creations::default();
        creations.made(GROUP, "a");
        let more = async {
            tokio::time::sleep(QUIET / 2).await;
            creations.made(GROUP, "a");
        };
        let (given, ()) = tokio::join!(way_given(&creations), more);
        assert!(given >= QUIET * 3 / 2 && given <= QUIET * 3, "{given:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_creation_that_takes_long_is_waited_for_and_one_that_hangs_is_not() {
        let creations = Creations::default();
        creations.made(GROUP, "a");
        let slow = async {
            let _creating = creations.begin("Deployment").await;
            tokio::time::sleep(4 * QUIET).await;
        };
        let (given, ()) = tokio::join!(way_given(&creations), slow);
        assert!(given >= 4 * QUIET && given < STALLED, "{given:?}");

        creations.made(GROUP, "b");
        let _hangs = creations.begin("Deployment").await;
        let given = way_given(&creations).await;
        assert!(given >= STALLED && given < 3 * STALLED, "{given:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn services_wait_for_services_only() {
        let creations = Creations::default();
        let _services = futures::future::join_all((0..SERVICES_AT_ONCE).map(|_| creations.begin("Service"))).await;
        let one_more = creations.begin("Service");
        let wait = tokio::time::timeout(Duration::from_secs(1), one_more).await;
        assert!(wait.is_err());
        assert_eq!(creations.state().under_way, SERVICES_AT_ONCE, "one who gave up is not under way");
        let _others = futures::future::join_all((0..AT_ONCE).map(|_| creations.begin("Deployment"))).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_that_does_not_end_holds_nobody_up_for_long() {
        let creations = Creations::default();
        let burst = async {
            loop {
                creations.made(GROUP, "a");
                tokio::time::sleep(QUIET / 4).await;
            }
        };
        tokio::select! {
            biased; // It has begun before anybody gives way.
            () = burst => {}
            given = way_given(&creations) => assert!(given == PATIENCE, "{given:?}"),
        }
    }
}
