//! Other releases of this operator on the same cluster.
//!
//! The leader of each release writes into its Lease which namespaces it watches. A release that watches all namespaces,
//! or all but some, finds the others there. Releases that name their namespaces find each other by Leases in these
//! ([`claim`]). A release reports where it overlaps with another one. It leaves a namespace alone in which a release runs
//! that names this namespace, until that release is gone ([`decide`]). Without rights on these Leases, or without leader
//! election, nothing is noticed.
//!
//! Everything is derived from the watched Leases and from the monotonic clock of this machine, so that it survives
//! restarts, and a release that dies is replaced when its Lease expires.

mod claim;
mod decide;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
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
    leader::{LABEL, Leading, WATCHES},
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
    own: Release,
    recorder: Option<Recorder>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What each Lease says, by its namespace and name.
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
        f.debug_struct("Releases").field("own", &self.0.own.id).finish_non_exhaustive()
    }
}

impl Releases {
    /// Returns the state before any other release than `own` is known.
    pub fn new(own: Id, scope: Scope, recorder: Option<Recorder>) -> Self {
        Self(Arc::new(Shared { own: Release { id: own, scope }, recorder, state: Mutex::default() }))
    }

    /// Returns the state of a process that does not look for other releases.
    pub fn unknown() -> Self {
        Self::new(Id::default(), Scope::all(), None)
    }

    /// Returns the watch of all Leases of this operator or, if the namespaces are named, of the claims to these.
    pub fn watch(&self, client: &Client, timing: WatchTiming) -> KindWatcher<Lease> {
        let myself = self.clone();
        let scope = &self.0.own.scope;
        let (scope, label) = if scope.is_limited() { (scope.clone(), claim::LABEL) } else { (Scope::all(), LABEL) };
        KindWatcher::new(client, &scope, (), timing.config(Some(label)), Cache::new(|_| None))
            .listen(move |change| myself.on_change(change, Instant::now()))
    }

    /// Claims the namespaces of this release for as long as it leads, if it names them.
    pub async fn claim(self, client: Client, _: Leading) {
        let Release { id, scope } = self.0.own.clone();
        if scope.is_limited() {
            claim::keep(client, id, scope).await;
        }
        std::future::pending::<()>().await;
    }

    fn on_change(&self, change: &Change<Lease>, now: Instant) {
        let lease = change.object();
        let key = Id { namespace: lease.namespace().unwrap_or_default(), name: lease.name_any() };
        let release = self.read(&key, lease);
        let mut state = self.lock();
        if release.as_ref().is_none_or(|release| release.id != self.0.own.id) {
            record(&mut state, key, Said { change, release }, now);
        }
        // The own Lease changes every few seconds, so that the end of others is noticed.
        self.log(&mut state, now);
    }

    /// Returns what a Lease says about the release that wrote it.
    fn read(&self, key: &Id, lease: &Lease) -> Option<Release> {
        if self.0.own.scope.is_limited() {
            return claim::read(lease);
        }
        let watches = lease.annotations().get(WATCHES)?;
        Some(Release { id: key.clone(), scope: Scope::from_text(watches) })
    }

    /// Logs once for each other release that both watch the same namespaces.
    fn log(&self, state: &mut State, now: Instant) {
        let own = &self.0.own.id;
        let found = self.overlapping_in(state, now);
        for (id, scope) in found.iter().filter(|(id, _)| !state.logged.contains(id)) {
            tracing::warn!(release = %own, other = %id, watches = %scope, "two releases watch the same namespaces");
        }
        for id in state.logged.iter().filter(|id| !found.contains_key(id)) {
            tracing::info!(release = %own, other = %id, "the other release that watches the same namespaces is gone");
        }
        state.logged = found.into_keys().collect();
    }

    /// Returns the other releases that watch namespaces of this one, and what they watch.
    fn overlapping_in(&self, state: &State, now: Instant) -> BTreeMap<Id, Scope> {
        decide::overlapping(&self.0.own, live(state, now))
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
        decide::overlap_at(&self.0.own, live(&self.lock(), now), namespace)
    }

    /// Returns whether `namespace` is that of another release, where its plugins are.
    pub fn is_home(&self, namespace: &str) -> bool {
        let (state, now) = (self.lock(), Instant::now());
        // A claim says nothing about the namespace in which its release runs, unless it is there.
        let is_there = |(key, other): (&Id, &Other)| {
            key.namespace == namespace && other.release.id.namespace == namespace && other.is_live(now)
        };
        state.others.iter().any(is_there)
    }

    /// Returns whether other releases are looked for.
    pub fn is_on(&self) -> bool {
        !self.0.own.id.name.is_empty()
    }

    /// Returns the number of other releases that watch namespaces of this one.
    pub fn overlapping(&self) -> usize {
        self.overlapping_in(&self.lock(), Instant::now()).len()
    }

    /// Publishes an Event about `object`, if it is the first one of its kind in the namespace.
    pub fn report(&self, overlap: &Overlap, object: ObjectReference) {
        let namespace = object.namespace.clone().unwrap_or_default();
        let key = (namespace, object.kind.clone().unwrap_or_default());
        let Some(recorder) = self.0.recorder.clone() else { return };
        if !self.lock().reported.insert(key) {
            return;
        }
        let (own, other) = (&self.0.own.id, &overlap.other);
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

/// Returns the name of the claims of a release, whose leader's Lease is `lease` in `namespace`.
pub fn claim_name(namespace: &str, lease: &str) -> String {
    claim::name(&Id { namespace: namespace.to_owned(), name: lease.to_owned() })
}

/// A change of a Lease, and what the Lease says about its release.
struct Said<'a> {
    change: &'a Change<Lease>,
    release: Option<Release>,
}

/// Records what the Lease `key` says now.
fn record(state: &mut State, key: Id, said: Said<'_>, now: Instant) {
    let has_room = state.others.len() < MAX_OTHERS || state.others.contains_key(&key);
    match (said.change, said.release) {
        (Change::Applied(lease), Some(release)) if has_room => {
            // A list repeats Leases that have not changed, and their time goes on.
            let before = state.others.get(&key).filter(|other| other.lease.spec == lease.spec);
            let since = before.map_or(now, |other| other.since);
            state.others.insert(key, Other { release, lease: Lease::clone(lease), since });
        }
        _ => drop(state.others.remove(&key)),
    }
}

fn live(state: &State, now: Instant) -> impl Iterator<Item = &Release> {
    state.others.values().filter(move |other| other.is_live(now)).map(|other| &other.release)
}

#[cfg(test)]
mod tests;
