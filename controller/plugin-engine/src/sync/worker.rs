//! The worker of one plugin. It has its own queue and runs at most eight calls at a time, one per subject. Namespaces
//! take turns.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{
    FutureExt as _, StreamExt as _,
    channel::mpsc::{UnboundedSender, unbounded},
    future::BoxFuture,
    stream::FuturesUnordered,
};
use jiff::Timestamp;
use kube::{
    ResourceExt as _,
    runtime::scheduler::{ScheduleRequest, scheduler},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::call;
use super::{Pass, removed_kinds, report, state::SubjectState, turns::Turns};
use crate::{
    children::{context::SyncContext, orphans},
    client::breaker::{Breaker, State},
    index::{
        registration::Registered,
        registry::{Command, WorkerHandle},
    },
    model::{
        child_kind::ChildKind,
        child_version::ChildChange,
        subject::SubjectKey,
        summary::{Summary, SyncCounter, SyncState},
    },
    sync,
};
use plugin_protocol::EventReason;

/// The number of concurrent calls to one plugin.
const PARALLEL: usize = 8;
/// Additional calls for namespaces without a running call. Without them, the calls of other namespaces could block a
/// namespace by hanging until they time out.
const SPARE: usize = 2;
/// How long to wait before orphaned children are searched for again after a failed deletion.
const ORPHANS_PAUSE: Duration = Duration::from_secs(10);

/// Starts a worker.
pub(crate) fn spawn(env: Arc<SyncContext>, registered: Arc<Registered>) -> WorkerHandle {
    let (commands, received) = mpsc::unbounded_channel();
    let (registered, current) = watch::channel(registered);
    let (publish, summary) = watch::channel(None);
    let (requests, requested) = unbounded();
    let cancel = CancellationToken::new();
    let worker = Worker {
        env,
        current,
        requests,
        publish,
        initial_subjects: HashSet::new(),
        orphans_due: None,
        breaker: Breaker::default(),
        states: HashMap::new(),
        subjects: HashMap::new(),
        reasons: HashMap::new(),
        deferred: Vec::new(),
        in_flight: HashSet::new(),
        waiting: Turns::default(),
        counter: SyncCounter::default(),
        kinds: Vec::new(),
    };
    let run = worker.run(received, requested);
    let stop = cancel.clone();
    tokio::spawn(async move {
        tokio::select! { () = run => {}, () = stop.cancelled() => {} }
    });
    WorkerHandle { registered, commands, summary, cancel }
}

struct Worker {
    env: Arc<SyncContext>,
    current: watch::Receiver<Arc<Registered>>,
    requests: UnboundedSender<ScheduleRequest<SubjectKey>>,
    publish: watch::Sender<Option<Summary>>,
    /// Subjects of the first round that have not had a pass yet.
    initial_subjects: HashSet<SubjectKey>,
    /// When to search for orphaned children again.
    orphans_due: Option<Instant>,
    breaker: Breaker,
    states: HashMap<SubjectKey, SubjectState>,
    /// Subjects by uid, to find them from the labels of their children.
    subjects: HashMap<String, SubjectKey>,
    /// The reason of the next pass over each subject.
    reasons: HashMap<SubjectKey, EventReason>,
    /// Changes of children whose subject has a running pass. They are handled after the pass, because only then it is
    /// known which of them are our own.
    deferred: Vec<ChildChange>,
    in_flight: HashSet<SubjectKey>,
    /// Subjects that are due.
    waiting: Turns,
    counter: SyncCounter,
    /// The kinds that may have children.
    kinds: Vec<ChildKind>,
}

type Running = FuturesUnordered<BoxFuture<'static, (SubjectKey, Pass)>>;
/// Discovery calls that decide about an open breaker, or deletions of orphans, with their results. At most one of each
/// runs at a time.
type Background = FuturesUnordered<BoxFuture<'static, bool>>;

impl Worker {
    async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        requested: futures::channel::mpsc::UnboundedReceiver<ScheduleRequest<SubjectKey>>,
    ) {
        let mut queue = pin!(scheduler(requested));
        let (mut running, mut discoveries, mut orphans) = (Running::new(), Background::new(), Background::new());
        self.initial_subjects = self.enqueue_all(EventReason::Created, None).await;
        let deletion = self.prune_orphans().await;
        orphans.push(deletion);
        self.publish();
        loop {
            let pause = self.breaker.open_until();
            self.env.metrics.breaker(&self.current.borrow().identity, self.breaker.state() != State::Closed);
            while let Some(key) = self.next_subject(running.len()) {
                running.push(self.start(key));
            }
            let (in_flight, orphans_due) = (&self.in_flight, self.orphans_due);
            tokio::select! {
                Some(command) = commands.recv() => match command {
                    Command::Finish => break,
                    command => self.handle(command).await,
                },
                Some((key, pass)) = running.next() => self.finish(key, pass),
                Some(key) = next(queue.as_mut(), in_flight) => self.waiting.push(key),
                Some(answered) = discoveries.next() => {
                    self.change_breaker(|breaker, now| breaker.discovered(answered, now));
                }
                () = sleep_until(pause) => {
                    self.change_breaker(|breaker, _| breaker.discovering());
                    discoveries.push(self.discover());
                }
                Some(all_gone) = orphans.next() => {
                    self.orphans_due = (!all_gone).then(|| Instant::now() + ORPHANS_PAUSE);
                }
                () = sleep_until(orphans_due) => {
                    self.orphans_due = None;
                    let deletion = self.prune_orphans().await;
                    orphans.push(deletion);
                }
            }
        }
        while running.next().await.is_some() {}
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Enqueue(key, reason) => self.enqueue(key, reason),
            Command::EnqueueAll(reason) => {
                // The plugin has just answered a discovery call.
                if reason == EventReason::PluginChanged {
                    self.change_breaker(|breaker, now| breaker.discovered(true, now));
                }
                drop(self.enqueue_all(reason, None).await);
            }
            Command::EnqueueNamespace(namespace) => {
                drop(self.enqueue_all(EventReason::Updated, Some(&namespace)).await);
            }
            Command::ChildChanged(change) => self.child_changed(change),
            // Ends the loop in `run`.
            Command::Finish => {}
            Command::Recovered => {
                self.change_breaker(|breaker, now| breaker.discovered(true, now));
                let failing: Vec<SubjectKey> = self.counter.failing().cloned().collect();
                for key in failing {
                    self.enqueue(key, EventReason::PluginChanged);
                }
            }
        }
    }

    fn enqueue(&mut self, key: SubjectKey, reason: EventReason) {
        self.enqueue_at(key, reason, Instant::now());
    }

    fn enqueue_at(&mut self, key: SubjectKey, reason: EventReason, when: Instant) {
        // `Updated` may turn out to change nothing, and only `PluginChanged` discards the last response.
        let rank = |reason: &EventReason| match reason {
            EventReason::Updated => 0,
            EventReason::PluginChanged => 2,
            _ => 1,
        };
        let strongest = self.reasons.get(&key).copied().into_iter().chain([reason]).max_by_key(rank).unwrap_or(reason);
        self.reasons.insert(key.clone(), strongest);
        self.schedule(key, when);
    }

    fn schedule(&self, message: SubjectKey, run_at: Instant) {
        // An error means that the worker is being stopped.
        let _ = self.requests.unbounded_send(ScheduleRequest { message, run_at: run_at.into() });
    }

    /// Enqueues all subjects of the plugin's kinds, and the subjects that have a state here. If `namespace` is given,
    /// enqueues only those in it. Returns the subjects.
    async fn enqueue_all(&mut self, reason: EventReason, namespace: Option<&str>) -> HashSet<SubjectKey> {
        let plugin = Arc::clone(&self.current.borrow_and_update());
        self.prune_former(&plugin);
        let mut keys: HashSet<SubjectKey> = self.states.keys().cloned().collect();
        for kind in plugin.spec.subjects.iter().map(|rule| rule.kind).collect::<HashSet<_>>() {
            let subjects = self.env.watches.subjects(kind).await;
            keys.extend(subjects.all().iter().map(|object| SubjectKey::of(kind, object.as_ref())));
        }
        keys.retain(|key| {
            plugin.serves(Some(&key.namespace)) && namespace.is_none_or(|namespace| key.namespace == namespace)
        });
        for key in &keys {
            self.enqueue(key.clone(), reason);
        }
        keys
    }

    /// Starts to delete children of kinds that the plugin no longer lists.
    fn prune_former(&mut self, plugin: &Registered) {
        let before = std::mem::replace(&mut self.kinds, plugin.kinds.clone());
        let former = removed_kinds::kinds(&before, &plugin.kinds);
        if !former.is_empty() {
            tokio::spawn(removed_kinds::prune(Arc::clone(&self.env), self.current.clone(), former));
        }
    }

    /// Returns the next subject to sync. Returns `None` if no further pass may start while `running` passes are
    /// running.
    fn next_subject(&mut self, running: usize) -> Option<SubjectKey> {
        match room(running, self.breaker.parallel(PARALLEL)) {
            Room::ForAny => self.waiting.pop(|_| true),
            Room::ForIdle => {
                let busy: HashSet<&str> = self.in_flight.iter().map(|key| key.namespace.as_str()).collect();
                self.waiting.pop(|namespace| !busy.contains(namespace))
            }
            Room::None => None,
        }
    }

    /// Finds children of subjects that were deleted while no worker was running, because nothing else would ever find
    /// them. Returns a future that deletes them.
    async fn prune_orphans(&mut self) -> BoxFuture<'static, bool> {
        let (env, plugin) = (Arc::clone(&self.env), Arc::clone(&self.current.borrow()));
        let existing = async || {
            let mut existing = HashSet::new();
            for kind in plugin.spec.subjects.iter().map(|rule| rule.kind) {
                existing.extend(env.watches.subjects(kind).await.all().iter().filter_map(|object| object.uid()));
            }
            existing
        };
        let orphans = orphans::orphans(&env, &plugin, existing).await;
        async move { orphans::prune_orphans(&env, &plugin, orphans).await }.boxed()
    }

    fn child_changed(&mut self, change: ChildChange) {
        let Some(key) = self.subjects.get(&change.subject_uid).cloned() else { return };
        if self.in_flight.contains(&key) {
            self.deferred.push(change);
            return;
        }
        let mut record = self.states.get_mut(&key).and_then(|memory| memory.written.get_mut(&change.child));
        let drifted = match (&mut record, &change.state) {
            (Some(record), Some(now)) => record.hears_of(now),
            (Some(_), None) => true,
            // Not part of the last response: either we pruned it, or it has to be pruned.
            (None, state) => state.is_some(),
        };
        let corrects = self.current.borrow().spec.drift == dask_operator_api::DriftPolicy::Correct;
        if drifted && corrects {
            let now = Instant::now();
            let wait = record.and_then(|record| record.conflict_tracker.wait(now)).unwrap_or_default();
            self.enqueue_at(key, EventReason::ChildDrift, now + wait);
        }
    }

    fn start(&mut self, key: SubjectKey) -> BoxFuture<'static, (SubjectKey, Pass)> {
        let memory = self.states.get(&key).cloned().unwrap_or_default();
        let reason = self.reasons.remove(&key).unwrap_or_else(|| memory.reason_of_date());
        let (env, plugin) = (Arc::clone(&self.env), Arc::clone(&self.current.borrow()));
        self.in_flight.insert(key.clone());
        async move {
            let before = memory.verdict.clone();
            let pass = Box::pin(sync::sync(&env, &plugin, &key, memory, reason));
            let pass = call::traced(&plugin, &key, pass).await;
            report::publish(&env, &plugin, &key, before.as_ref(), pass.memory.as_ref()).await;
            (key, pass)
        }
        .boxed()
    }

    fn discover(&self) -> BoxFuture<'static, bool> {
        let plugin = Arc::clone(&self.current.borrow());
        async move { plugin.caller.discover().await.is_ok() }.boxed()
    }

    /// Applies `event` to the breaker, and logs the new state if it changed.
    fn change_breaker(&mut self, event: impl FnOnce(&mut Breaker, Instant)) {
        let before = self.breaker.state();
        event(&mut self.breaker, Instant::now());
        let state = self.breaker.state();
        if state == before {
            return;
        }
        let plugin = &self.current.borrow().identity;
        match state {
            State::Open => tracing::warn!(plugin, "a plugin does not respond: calls are paused"),
            state => tracing::info!(plugin, breaker = state.as_str(), "the breaker of a plugin changed"),
        }
    }

    fn finish(&mut self, key: SubjectKey, pass: Pass) {
        self.in_flight.remove(&key);
        self.initial_subjects.remove(&key);
        match pass.reached {
            Some(true) => self.change_breaker(|breaker, _| breaker.answered()),
            Some(false) => self.change_breaker(Breaker::failed),
            None => {}
        }
        let old = self.states.remove(&key);
        if let Some(uid) = old.as_ref().map(|old| &old.subject_uid) {
            self.subjects.remove(uid);
        }
        let old_verdict = old.and_then(|old| old.verdict);
        match pass.memory {
            Some(memory) => {
                let verdict = memory.verdict.clone().unwrap_or(SyncState::Waiting);
                if matches!(verdict, SyncState::Failing { reason: "Forbidden", .. }) {
                    // An error means that the process is ending.
                    let _ = self.env.doubts.send(self.current.borrow().key.clone());
                }
                self.counter.update(&key, old_verdict.as_ref(), &verdict, Timestamp::now());
                if memory.finalizing {
                    self.counter.finalizing(&key);
                }
                self.subjects.insert(memory.subject_uid.clone(), key.clone());
                self.states.insert(key.clone(), memory);
            }
            None => {
                if let Some(old) = &old_verdict {
                    self.counter.forget(&key, old);
                }
            }
        }
        if let Some(requeue_after) = pass.requeue_after {
            self.schedule(key, Instant::now() + requeue_after);
        }
        for change in std::mem::take(&mut self.deferred) {
            self.child_changed(change);
        }
        self.publish();
    }

    /// Publishes the summary once the first round is complete. Earlier, the counts are still growing, and the status
    /// would flicker.
    fn publish(&self) {
        if !self.initial_subjects.is_empty() {
            return;
        }
        if self.publish.borrow().is_none() {
            self.env.status_store.completed(&self.current.borrow().identity, self.states.keys());
        }
        let summary = Some(self.counter.summary());
        self.publish.send_if_modified(|published| {
            let changed = *published != summary;
            *published = summary;
            changed
        });
    }
}

/// The subjects that another call may start for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    ForAny,
    /// Only subjects in namespaces without a running call.
    ForIdle,
    None,
}

/// Returns the subjects that another call may start for while `running` of `most` calls are running. A plugin that may
/// be down gets no additional calls.
fn room(running: usize, most: usize) -> Room {
    match running {
        _ if running < most => Room::ForAny,
        _ if most == PARALLEL && running < most + SPARE => Room::ForIdle,
        _ => Room::None,
    }
}

async fn next<S>(
    queue: std::pin::Pin<&mut kube::runtime::scheduler::Scheduler<SubjectKey, S>>,
    in_flight: &HashSet<SubjectKey>,
) -> Option<SubjectKey>
where
    S: futures::Stream<Item = ScheduleRequest<SubjectKey>>,
{
    let mut ready = pin!(queue.hold_unless(|key: &SubjectKey| !in_flight.contains(key)));
    ready.next().await
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_calls_are_for_idle_namespaces_and_never_for_a_plugin_that_may_be_down() {
        let table = [
            (0, PARALLEL, Room::ForAny),
            (PARALLEL - 1, PARALLEL, Room::ForAny),
            (PARALLEL, PARALLEL, Room::ForIdle),
            (PARALLEL + SPARE - 1, PARALLEL, Room::ForIdle),
            (PARALLEL + SPARE, PARALLEL, Room::None),
            (0, 0, Room::None),
            (0, 1, Room::ForAny),
            (1, 1, Room::None),
        ];
        for (running, most, expected) in table {
            assert_eq!(room(running, most), expected, "{running} of {most}");
        }
    }
}
