//! The worker of one plugin. It has its own queue and runs at most eight calls at a time, one per subject. Namespaces
//! take turns.

mod breaker;
mod child_changes;
mod commands;
mod name_waiters;
mod schedule;

use std::{
    collections::{HashMap, HashSet},
    pin::{Pin, pin},
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
use kube::runtime::scheduler::{ScheduleRequest, Scheduler, scheduler};
use operator_runtime::releases::RECHECK;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::name_waiters::NameWaiters;
use super::{Pass, call, report, state::SubjectState, turns::Turns};
use crate::{
    children::context::SyncContext,
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
        name_waiters: NameWaiters::default(),
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
    name_waiters: NameWaiters,
}

/// A pass over a subject that has ended.
struct FinishedPass {
    subject: SubjectKey,
    pass: Pass,
}

type Running = FuturesUnordered<BoxFuture<'static, FinishedPass>>;
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
                // Another release serves the namespace: nothing is called, written or pruned there.
                if self.env.releases.is_served_alone(&key.namespace) {
                    self.initial_subjects.remove(&key);
                    self.schedule(key, Instant::now() + RECHECK);
                    continue;
                }
                running.push(self.start(key));
            }
            let (in_flight, orphans_due) = (&self.in_flight, self.orphans_due);
            tokio::select! {
                Some(command) = commands.recv() => match command {
                    Command::Finish => break,
                    command => self.handle(command).await,
                },
                Some(finished) = running.next() => self.finish(finished),
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

    /// Returns a pass over a subject.
    fn start(&mut self, subject: SubjectKey) -> BoxFuture<'static, FinishedPass> {
        let memory = self.states.get(&subject).cloned().unwrap_or_default();
        let reason = self.reasons.remove(&subject).unwrap_or_else(|| memory.reason_of_date());
        let (env, plugin) = (Arc::clone(&self.env), Arc::clone(&self.current.borrow()));
        self.in_flight.insert(subject.clone());
        async move {
            let before = memory.verdict.clone();
            let pass = Box::pin(sync::sync(&env, &plugin, &subject, memory, reason));
            let pass = call::traced(&plugin, &subject, pass).await;
            report::publish(&env, &plugin, &subject, before.as_ref(), pass.memory.as_ref()).await;
            FinishedPass { subject, pass }
        }
        .boxed()
    }

    /// Records the result of a pass and schedules the next one.
    fn finish(&mut self, FinishedPass { subject, pass }: FinishedPass) {
        self.in_flight.remove(&subject);
        self.initial_subjects.remove(&subject);
        match pass.reached {
            Some(true) => self.change_breaker(|breaker, _| breaker.answered()),
            Some(false) => self.change_breaker(Breaker::failed),
            None => {}
        }
        let old = self.states.remove(&subject);
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
                self.counter.update(&subject, old_verdict.as_ref(), &verdict, Timestamp::now());
                if memory.finalizing {
                    self.counter.finalizing(&subject);
                }
                self.subjects.insert(memory.subject_uid.clone(), subject.clone());
                self.states.insert(subject.clone(), memory);
            }
            None => {
                if let Some(old) = &old_verdict {
                    self.counter.forget(&subject, old);
                }
            }
        }
        if let Some(requeue_after) = pass.requeue_after {
            self.schedule(subject.clone(), Instant::now() + requeue_after);
        }
        for change in std::mem::take(&mut self.deferred) {
            self.child_changed(change);
        }
        let waits_for_name = self.waits_for_name(&subject);
        if self.name_waiters.ended(&subject, waits_for_name) {
            self.enqueue(subject, EventReason::ChildDrift);
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

/// Returns the next subject that is due and has no running pass.
async fn next<S>(queue: Pin<&mut Scheduler<SubjectKey, S>>, in_flight: &HashSet<SubjectKey>) -> Option<SubjectKey>
where
    S: futures::Stream<Item = ScheduleRequest<SubjectKey>>,
{
    let mut ready = pin!(queue.hold_unless(|key: &SubjectKey| !in_flight.contains(key)));
    ready.next().await
}

/// Waits until a point in time, or forever if there is none.
async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
