//! The liveness check of the controller, which `/livez` reports.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::MissedTickBehavior;

use crate::watch::{SyncStatus, UnreadableObject};

/// A reconcile pass that lasts longer than this will never end: everything that it awaits has a time limit of seconds.
const LONGEST_PASS: Duration = Duration::from_mins(10);
/// A leader whose tasks have not begun after this time waits for a watch that will never sync.
const MAX_START: Duration = Duration::from_mins(10);

/// The interval in which the runtime has to prove that it makes progress.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A runtime whose tasks have not run for this long is blocked: tasks consist of steps of milliseconds.
const LONGEST_BLOCK: Duration = Duration::from_secs(30);

/// All watches and all passes in progress. Clones share the content.
#[derive(Clone, Default)]
pub struct Liveness(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    watches: Vec<SyncStatus>,
    passes: HashMap<u64, (&'static str, Instant)>,
    /// The tasks that wait for leadership and their watches.
    waiting: HashMap<u64, &'static str>,
    /// When this process became the leader.
    leading: Option<Instant>,
    /// When the runtime last ran a task. `None` until the first heartbeat, before which none is required.
    heartbeat: Option<Instant>,
    last_number: u64,
}

/// A task that has not begun. Dropping this marks it as begun.
pub struct Waiting {
    liveness: Liveness,
    task: u64,
}

/// A pass in progress. Dropping this marks it as ended.
pub struct ReconcileGuard {
    liveness: Liveness,
    pass: u64,
}

impl Liveness {
    /// Adds `watch`, which from now on must receive responses from the API server.
    pub fn watch(&self, watch: SyncStatus) {
        self.content().watches.push(watch);
    }

    /// Removes `watch`, which was closed and need not receive responses any more.
    pub fn forget(&self, watch: &SyncStatus) {
        self.content().watches.retain(|other| !other.is_same(watch));
    }

    /// Returns all watches.
    pub fn watches(&self) -> Vec<SyncStatus> {
        self.content().watches.clone()
    }

    /// Registers the task `name`, which has to begin once this process leads.
    pub fn expect(&self, name: &'static str) -> Waiting {
        let mut content = self.content();
        let task = content.number();
        content.waiting.insert(task, name);
        Waiting { liveness: self.clone(), task }
    }

    /// Records that this process leads.
    pub fn leads(&self, now: Instant) {
        self.content().leading.get_or_insert(now);
    }

    /// Records that the runtime runs tasks at `now`. From then on it has to keep doing so.
    pub fn heartbeat(&self, now: Instant) {
        self.content().heartbeat = Some(now);
    }

    /// Calls [`Liveness::heartbeat`] repeatedly for as long as the process lives.
    pub async fn keep_heartbeat(self) {
        let mut ticks = tokio::time::interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.heartbeat(Instant::now());
            ticks.tick().await;
        }
    }

    /// Returns the objects that cannot be read, without duplicates.
    pub fn unreadable(&self) -> Vec<Arc<UnreadableObject>> {
        let mut all: Vec<_> = self.watches().iter().flat_map(SyncStatus::unreadable).collect();
        let key = |object: &Arc<UnreadableObject>| {
            let reference = &object.reference;
            (object.plural.clone(), reference.namespace.clone(), reference.name.clone())
        };
        // A record by the watch of the reconciler comes before those of copies.
        all.sort_by_cached_key(|object| (key(object), !object.is_reconciled));
        all.dedup_by_key(|object| key(object));
        all
    }

    /// Returns how many times the objects that cannot be read have changed.
    pub(crate) fn unreadable_changes(&self) -> u64 {
        self.watches().iter().map(SyncStatus::unreadable_changes).sum()
    }

    /// Registers a pass of the reconciler `name`, which begins now.
    pub fn begin(&self, name: &'static str, now: Instant) -> ReconcileGuard {
        let mut content = self.content();
        let pass = content.number();
        content.passes.insert(pass, (name, now));
        ReconcileGuard { liveness: self.clone(), pass }
    }

    /// Returns what is wrong at `now`. `silence` is how long a watch may be without a response, or without a readable
    /// one.
    pub fn ailing(&self, now: Instant, silence: Duration) -> LivenessFailure {
        let content = self.content();
        let silent = content.watches.iter().filter(|watch| watch.silent_for(now) > silence);
        let stalled = content.watches.iter().filter(|watch| watch.stalled_for(now) > silence);
        let idle = content.leading.filter(|since| now.saturating_duration_since(*since) > MAX_START);
        let waiting = idle.map(|_| content.waiting.values().map(|name| (*name).to_owned())).into_iter().flatten();
        let is_blocked = |beat| now.saturating_duration_since(beat) > LONGEST_BLOCK;
        let is_stuck = |since: &Instant| now.saturating_duration_since(*since) > LONGEST_PASS;
        let stuck = content.passes.values().filter(|(_, since)| is_stuck(since));
        LivenessFailure {
            silent: sorted(silent.map(|watch| watch.kind.clone())),
            stalled: sorted(stalled.map(|watch| watch.kind.clone())),
            waiting: sorted(waiting),
            stuck: sorted(stuck.map(|(name, _)| (*name).to_owned())),
            blocked: content.heartbeat.is_some_and(is_blocked),
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.liveness.content().waiting.remove(&self.task);
    }
}

impl Drop for ReconcileGuard {
    fn drop(&mut self) {
        self.liveness.content().passes.remove(&self.pass);
    }
}

/// The reasons why the controller makes no progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LivenessFailure {
    /// The kinds whose watch has received no response for too long, by plural.
    pub silent: Vec<String>,
    /// The kinds whose watch delivers nothing although the API server answers, by plural.
    pub stalled: Vec<String>,
    /// The tasks that have not begun although this process leads.
    pub waiting: Vec<String>,
    /// The reconcilers with a pass that does not end.
    pub stuck: Vec<String>,
    /// Whether the runtime has stopped running tasks.
    pub blocked: bool,
}

impl LivenessFailure {
    /// Returns whether nothing is wrong.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

fn sorted(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut words: Vec<String> = words.collect();
    words.sort();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(190);

    fn ailing(silent: &[&str], stuck: &[&str]) -> LivenessFailure {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        LivenessFailure { silent: owned(silent), stuck: owned(stuck), ..LivenessFailure::default() }
    }

    #[test]
    fn a_watch_that_hears_nothing_for_too_long_is_named() {
        let start = Instant::now();
        let liveness = Liveness::default();
        // The first watch of `pods` began earlier than the second one.
        liveness.watch(SyncStatus::listening("pods", &[start, start + Duration::from_secs(100)]));
        liveness.watch(SyncStatus::listening("services", &[start + Duration::from_mins(1)]));
        let table: [(u64, &[&str]); 5] =
            [(0, &[]), (190, &[]), (191, &["pods"]), (250, &["pods"]), (251, &["pods", "services"])];
        for (seconds, expected) in table {
            let found = liveness.ailing(start + Duration::from_secs(seconds), LIMIT);
            assert_eq!(found, ailing(expected, &[]), "{seconds}");
            assert_eq!(found.is_nothing(), expected.is_empty(), "{seconds}");
        }
    }

    #[test]
    fn a_watch_that_delivers_nothing_although_it_is_answered_is_named() {
        let start = Instant::now();
        let liveness = Liveness::default();
        let watch = SyncStatus::listening("pods", &[start]);
        liveness.watch(watch.clone());
        watch.stall(start);
        let at = |seconds| liveness.ailing(start + Duration::from_secs(seconds), LIMIT).stalled;
        assert_eq!(at(190), [""; 0]);
        assert_eq!(at(191), ["pods"]);
    }

    #[test]
    fn a_leader_whose_tasks_do_not_begin_is_named() {
        let start = Instant::now();
        let liveness = Liveness::default();
        let at = |seconds| liveness.ailing(start + Duration::from_secs(seconds), LIMIT).waiting;
        let (first, second) = (liveness.expect("the DaskJob reconciler"), liveness.expect("the idle time-out"));
        assert_eq!(at(10_000), [""; 0], "a standby waits for as long as another leads");
        liveness.leads(start);
        drop(first);
        assert_eq!(at(600), [""; 0]);
        assert_eq!(at(601), ["the idle time-out"]);
        drop(second);
        assert_eq!(at(601), [""; 0]);
    }

    #[test]
    fn a_runtime_that_runs_no_tasks_is_reported_until_it_does() {
        let start = Instant::now();
        let liveness = Liveness::default();
        let at = |seconds| liveness.ailing(start + Duration::from_secs(seconds), LIMIT).blocked;
        assert!(!at(10_000), "nothing has begun");
        liveness.heartbeat(start);
        assert!(!at(30));
        assert!(at(31));
        liveness.heartbeat(start + Duration::from_secs(31));
        assert!(!at(31));
    }

    #[test]
    fn a_pass_that_does_not_end_is_named_until_it_does() {
        let start = Instant::now();
        let liveness = Liveness::default();
        let at = |seconds| liveness.ailing(start + Duration::from_secs(seconds), LIMIT);
        let first = liveness.begin("DaskJob", start);
        let second = liveness.begin("DaskJob", start);
        let later = liveness.begin("DaskCluster", start + Duration::from_mins(1));
        for (seconds, expected) in [(600, vec![]), (601, vec!["DaskJob"]), (661, vec!["DaskCluster", "DaskJob"])] {
            assert_eq!(at(seconds), ailing(&[], &expected), "{seconds}");
        }
        drop(first);
        assert_eq!(at(601), ailing(&[], &["DaskJob"]), "there is another");
        drop((second, later));
        assert_eq!(at(10_000), LivenessFailure::default());
    }
}
