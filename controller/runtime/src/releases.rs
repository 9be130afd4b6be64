//! Other releases of this operator on the same cluster.
//!
//! The leader of each release writes into its Lease which namespaces it watches. A release that watches all namespaces
//! finds the others there and reports where they overlap. It leaves a namespace alone in which a release runs that names
//! this namespace, until that release is gone ([`decide`]). Without the right to list Leases, or without leader
//! election, nothing is noticed.
//!
//! Everything is derived from the watched Leases and from the monotonic clock of this machine, so that it survives
//! restarts, and a release that dies is replaced when its Lease expires.

mod decide;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::ObjectReference};
use kube::{
    Client, ResourceExt as _,
    runtime::events::{Event, EventType},
};

use self::decide::Release;
pub use self::decide::{Id, Overlap};
use crate::{
    conditions,
    events::Recorder,
    k8s,
    leader::{LABEL, WATCHES},
    scope::Scope,
    watch::{Cache, Change, KindWatcher, WatchTiming},
};

/// How long an object of a namespace that another release serves waits until it is looked at again.
pub const RECHECK: Duration = Duration::from_secs(15);
/// How many other releases are remembered. Anybody may create Leases that look like theirs.
const MAX_OTHERS: usize = 1000;
/// The longest Lease of another release that is respected, in seconds: that of the flag.
const LONGEST: i32 = 3600;

/// The other releases. Clones share the state.
#[derive(Clone)]
pub struct Releases(Arc<Shared>);

struct Shared {
    own: Id,
    scope: Scope,
    recorder: Option<Recorder>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    others: HashMap<Id, Other>,
    /// The releases that the log has reported as overlapping with this one.
    logged: HashSet<Id>,
    /// The namespaces and kinds in which an Event has named another release.
    reported: HashSet<(String, String)>,
}

/// Another release, as its Lease describes it.
struct Other {
    release: Release,
    lease: Lease,
    /// When the Lease was last seen to change.
    since: Instant,
}

impl Other {
    /// Returns whether somebody holds the Lease and renews it.
    fn is_live(&self, now: Instant) -> bool {
        let spec = self.lease.spec.as_ref();
        let is_held = spec.and_then(|spec| spec.holder_identity.as_ref()).is_some_and(|holder| !holder.is_empty());
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0).clamp(1, LONGEST);
        is_held && now.saturating_duration_since(self.since) < Duration::from_secs(u64::from(seconds.unsigned_abs()))
    }
}

impl fmt::Debug for Releases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Releases").field("own", &self.0.own).finish_non_exhaustive()
    }
}

impl Releases {
    /// Returns the state before any other release than `own` is known.
    pub fn new(own: Id, scope: Scope, recorder: Option<Recorder>) -> Self {
        Self(Arc::new(Shared { own, scope, recorder, state: Mutex::default() }))
    }

    /// Returns the state of a process that does not look for other releases.
    pub fn unknown() -> Self {
        Self::new(Id::default(), Scope::all(), None)
    }

    /// Returns the watch of all Leases of this operator.
    pub fn watch(&self, client: &Client, timing: WatchTiming) -> KindWatcher<Lease> {
        let myself = self.clone();
        KindWatcher::new(client, &Scope::all(), (), timing.config(Some(LABEL)), Cache::new(|_| None))
            .listen(move |change| myself.on_change(change, Instant::now()))
    }

    fn on_change(&self, change: &Change<Lease>, now: Instant) {
        let lease = change.object();
        let id = Id { namespace: lease.namespace().unwrap_or_default(), name: lease.name_any() };
        let mut state = self.lock();
        if id != self.0.own {
            record(&mut state, id, change, now);
        }
        // The own Lease changes every few seconds, so that the end of others is noticed.
        self.log(&mut state, now);
    }

    /// Logs once for each other release that both watch the same namespaces.
    fn log(&self, state: &mut State, now: Instant) {
        let own = &self.0.own;
        let live: Vec<Release> =
            live(state, now).filter(|other| decide::overlap(&self.0.scope, &other.scope)).cloned().collect();
        let gone: Vec<Id> =
            state.logged.iter().filter(|id| live.iter().all(|other| other.id != **id)).cloned().collect();
        let new: Vec<Id> = live.iter().map(|other| other.id.clone()).filter(|id| !state.logged.contains(id)).collect();
        for other in live.iter().filter(|other| new.contains(&other.id)) {
            let (id, scope) = (&other.id, &other.scope);
            tracing::warn!(release = %own, other = %id, watches = %scope, "two releases watch the same namespaces");
        }
        for id in gone {
            tracing::info!(release = %own, other = %id, "the other release that watches the same namespaces is gone");
            state.logged.remove(&id);
        }
        state.logged.extend(new);
    }

    /// Returns whether another release serves `namespace` alone, so that this one must not act there.
    pub fn is_served_alone(&self, namespace: &str) -> bool {
        self.overlap_at(namespace).is_some_and(|overlap| overlap.serves_alone)
    }

    /// Returns another release that watches `namespace` too.
    pub fn overlap_at(&self, namespace: &str) -> Option<Overlap> {
        self.overlap_when(namespace, Instant::now())
    }

    fn overlap_when(&self, namespace: &str, now: Instant) -> Option<Overlap> {
        decide::overlap_at(live(&self.lock(), now), namespace)
    }

    /// Returns whether `namespace` is that of another release, where its plugins are.
    pub fn is_home(&self, namespace: &str) -> bool {
        live(&self.lock(), Instant::now()).any(|other| other.id.namespace == namespace)
    }

    /// Returns whether other releases are looked for.
    pub fn is_on(&self) -> bool {
        !self.0.own.name.is_empty()
    }

    /// Returns the number of other releases that watch namespaces of this one.
    pub fn overlapping(&self) -> usize {
        let state = self.lock();
        live(&state, Instant::now()).filter(|other| decide::overlap(&self.0.scope, &other.scope)).count()
    }

    /// Publishes an Event about `object`, if it is the first one of its kind in the namespace.
    pub fn report(&self, overlap: &Overlap, object: ObjectReference) {
        let namespace = object.namespace.clone().unwrap_or_default();
        let key = (namespace, object.kind.clone().unwrap_or_default());
        let Some(recorder) = self.0.recorder.clone() else { return };
        if !self.lock().reported.insert(key) {
            return;
        }
        let (own, other) = (&self.0.own, &overlap.other);
        let which = if overlap.serves_alone { "only the former acts" } else { "both act" };
        let note = format!(
            "the releases {other} and {own} of the operator watch this namespace, and {which}; exclude the namespace from \
             one of them"
        );
        let event = Event {
            type_: EventType::Warning,
            reason: "OtherRelease".to_owned(),
            note: Some(conditions::cut(note)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        tokio::spawn(async move {
            if let Err(error) = k8s::timed("create", "an Event", recorder.publish(&event, &object)).await {
                tracing::warn!(%error, "failed to publish an Event");
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records what `change` says about the release `id`.
fn record(state: &mut State, id: Id, change: &Change<Lease>, now: Instant) {
    let has_room = state.others.len() < MAX_OTHERS || state.others.contains_key(&id);
    match (change, change.object().annotations().get(WATCHES)) {
        (Change::Applied(lease), Some(watches)) if has_room => {
            let release = Release { id: id.clone(), scope: Scope::from_text(watches) };
            // A list repeats Leases that have not changed, and their time goes on.
            let before = state.others.get(&id).filter(|other| other.lease.spec == lease.spec);
            let since = before.map_or(now, |other| other.since);
            state.others.insert(id, Other { release, lease: Lease::clone(lease), since });
        }
        _ => drop(state.others.remove(&id)),
    }
}

fn live(state: &State, now: Instant) -> impl Iterator<Item = &Release> {
    state.others.values().filter(move |other| other.is_live(now)).map(|other| &other.release)
}

#[cfg(test)]
mod tests;
