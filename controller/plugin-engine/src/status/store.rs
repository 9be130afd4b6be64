//! What plugins did for Dask resources, as far as it is known: workers report here, the publisher tells the
//! resources, and the reconciler of clusters asks whether one is held.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use dask_operator_api::{DaskCluster, DaskOperatorPlugin, SubjectKind};
use futures::future::join_all;
use kube::ResourceExt as _;
use operator_runtime::watch::{Queue, SyncStatus};
use tokio::sync::Notify;

use super::{
    aggregate::{SubjectReport, SubjectReports},
    cluster_gate,
};
use crate::{
    config::Settings,
    index::plugins::{Plugins, WorkQueueReceiver},
    model::{key::PluginKey, subject::SubjectKey},
};

/// One owner's status is written at most so often.
const GATHERED: Duration = Duration::from_secs(1);
/// Owners that are told at a time; the rest is in later turns.
const AT_ONCE: usize = 64;
/// Warnings that wait for one owner to be told.
const MAX_WAITING: usize = 64;

/// Shared by all workers; cheap to read, never held across I/O.
pub struct StatusStore {
    /// The operator's namespace: its plugins serve all others.
    namespace: String,
    /// All plugin resources.
    pub(crate) plugins: Plugins,
    state: Mutex<State>,
    changed: Notify,
    clusters: OnceLock<Queue<DaskCluster>>,
    /// The watches of what is told.
    watches: OnceLock<Vec<SyncStatus>>,
}

#[derive(Default)]
struct State {
    /// Whether all plugin resources are known.
    loaded: bool,
    owners: HashMap<SubjectKey, SubjectReports>,
    /// Under which owner a plugin's account of a subject is.
    places: HashMap<String, HashMap<SubjectKey, SubjectKey>>,
    /// How many children stand, by plugin.
    children: HashMap<String, usize>,
    /// Plugins whose workers have looked at everything once.
    complete: BTreeSet<String>,
    /// Warnings that owners were not told yet, with their plugins.
    warnings: HashMap<SubjectKey, Vec<(String, String)>>,
    /// How many subjects of an owner a plugin warns of a sentence for, by owner, plugin and sentence.
    said: HashMap<SubjectKey, HashMap<String, HashMap<String, usize>>>,
    /// Owners to tell, and when.
    due: HashMap<SubjectKey, Instant>,
    told: HashMap<SubjectKey, Instant>,
    /// Clusters that are held.
    held: HashSet<(String, String)>,
    /// What of each plugin resource decides on what it holds.
    seen: HashMap<String, (Option<i64>, bool)>,
    /// Whether owners may show plugins that are gone.
    stale: bool,
}

/// What is known for one owner.
pub(crate) struct Known {
    pub(crate) accounts: SubjectReports,
    /// Plugins that exist and have not looked at everything yet.
    pub(crate) incomplete: BTreeSet<String>,
}

impl Known {
    /// Drops what is about namesakes of the owner with `uid`; whether there was any.
    pub(crate) fn keep_only(&mut self, uid: Option<&str>) -> bool {
        let count = |accounts: &SubjectReports| accounts.values().map(BTreeMap::len).sum::<usize>();
        let before = count(&self.accounts);
        for subjects in self.accounts.values_mut() {
            subjects.retain(|_, account| Some(account.owner.uid.as_str()) == uid);
        }
        count(&self.accounts) < before
    }
}

impl StatusStore {
    /// Nothing is known yet, and the requests to look at plugins.
    pub fn new(settings: &Settings) -> (Self, WorkQueueReceiver) {
        let (plugins, requests) = Plugins::new();
        let status_store = Self {
            namespace: settings.namespace.clone(),
            plugins,
            state: Mutex::default(),
            changed: Notify::new(),
            clusters: OnceLock::new(),
            watches: OnceLock::new(),
        };
        (status_store, requests)
    }

    /// Clusters that are held no longer are looked at again by this queue. Nobody is told of plugins before
    /// `watches` have delivered.
    pub fn wake_by(&self, clusters: Queue<DaskCluster>, watches: Vec<SyncStatus>) {
        // Set once, by the wiring.
        let _ = (self.clusters.set(clusters), self.watches.set(watches));
    }

    /// Waits until all Dask resources are known.
    pub(crate) async fn dask_resources(&self) {
        join_all(self.watches.get().into_iter().flatten().map(SyncStatus::synced)).await;
    }

    /// Whether a plugin keeps `cluster` from being `Running`. If so, it is looked at again when that changes.
    pub fn holds(&self, cluster: &DaskCluster) -> bool {
        let key = cluster_key(cluster);
        let mut state = self.lock();
        let holders = self.holders_in(&state, cluster);
        if state.loaded && holders.is_empty() {
            return false;
        }
        state.held.insert((key.namespace.clone(), key.name.clone()));
        // Most are not held for long, and need not be told.
        state.mark(key, Instant::now() + GATHERED);
        drop(state);
        self.changed.notify_one();
        true
    }

    /// The plugins that keep `cluster` from being `Running`.
    pub(crate) fn holders(&self, cluster: &DaskCluster) -> Vec<String> {
        self.holders_in(&self.lock(), cluster)
    }

    fn holders_in(&self, state: &State, cluster: &DaskCluster) -> Vec<String> {
        let key = cluster_key(cluster);
        let plugins: Vec<_> = self.plugins.all();
        let plugins = plugins.iter().map(|plugin| {
            let is_shared = plugin.namespace().as_deref() == Some(self.namespace.as_str());
            (self.identity(plugin), is_shared, plugin.as_ref())
        });
        let uid = cluster.uid().unwrap_or_default();
        cluster_gate::holders(plugins, (&key.namespace, &uid), state.owners.get(&key))
    }

    fn identity(&self, plugin: &DaskOperatorPlugin) -> String {
        let key = PluginKey { namespace: plugin.namespace().unwrap_or_default(), name: plugin.name_any() };
        key.identity(&self.namespace)
    }

    /// Takes in how `plugin` fares with `subject`, `None` if there is no such subject; what was known before.
    pub(crate) fn report(
        &self,
        plugin: &str,
        subject: &SubjectKey,
        account: Option<SubjectReport>,
    ) -> Option<SubjectReport> {
        let mut state = self.lock();
        let (owner, before) = state.take(plugin, subject).unzip();
        if before == account {
            if let Some(account) = account {
                state.put(plugin, subject, account);
            }
            return before;
        }
        let owners: Vec<SubjectKey> =
            owner.into_iter().chain(account.as_ref().map(|account| account.owner.key.clone())).collect();
        if let Some(account) = account {
            state.note_warnings(plugin, &account, before.as_ref());
            state.put(plugin, subject, account);
        }
        let now = Instant::now();
        for owner in owners {
            self.wake(&mut state, &owner);
            state.mark(owner, now);
        }
        drop(state);
        self.changed.notify_one();
        before
    }

    /// The worker of `plugin` has looked once at everything there was; these are its subjects.
    pub(crate) fn completed<'a>(&self, plugin: &str, subjects: impl Iterator<Item = &'a SubjectKey>) {
        let subjects: HashSet<&SubjectKey> = subjects.collect();
        let mut state = self.lock();
        let known: Vec<SubjectKey> = state.places.get(plugin).into_iter().flat_map(HashMap::keys).cloned().collect();
        for subject in known.iter().filter(|subject| !subjects.contains(subject)) {
            state.take(plugin, subject);
        }
        let owners: Vec<SubjectKey> = state.places.get(plugin).into_iter().flat_map(HashMap::values).cloned().collect();
        for owner in owners {
            state.mark(owner, Instant::now());
        }
        state.complete.insert(plugin.to_owned());
        state.stale = true;
        drop(state);
        self.changed.notify_one();
    }

    /// All plugin resources are known now.
    pub(crate) fn loaded(&self) {
        let mut state = self.lock();
        state.loaded = true;
        self.look_again(state);
    }

    /// `plugin` is new or different.
    pub(crate) fn plugin_changed(&self, plugin: &DaskOperatorPlugin) {
        let seen = (plugin.metadata.generation, cluster_gate::is_refused(plugin));
        let mut state = self.lock();
        // Most changes are of counts in the status.
        if state.seen.insert(self.identity(plugin), seen) != Some(seen) {
            self.look_again(state);
        }
    }

    /// Whether the resource with `uid` is still there.
    pub(crate) fn exists(&self, plugin: &PluginKey, uid: &str) -> bool {
        self.plugins.get(plugin).is_some_and(|found| found.uid().as_deref() == Some(uid))
    }

    fn look_again(&self, mut state: MutexGuard<'_, State>) {
        for (namespace, name) in std::mem::take(&mut state.held) {
            self.push(&namespace, &name);
            let key = SubjectKey { kind: SubjectKind::DaskCluster, namespace, name };
            state.mark(key, Instant::now());
        }
        state.stale = true;
        drop(state);
        self.changed.notify_one();
    }

    /// The plugin is gone.
    pub(crate) fn forget(&self, plugin: &str) {
        let mut state = self.lock();
        let subjects: Vec<SubjectKey> = state.places.get(plugin).into_iter().flat_map(HashMap::keys).cloned().collect();
        for subject in &subjects {
            state.take(plugin, subject);
        }
        state.places.remove(plugin);
        state.children.remove(plugin);
        state.complete.remove(plugin);
        state.seen.remove(plugin);
        self.look_again(state);
    }

    /// How many children stand for `plugin`.
    pub(crate) fn children(&self, plugin: &str) -> i64 {
        let children = self.lock().children.get(plugin).copied().unwrap_or_default();
        i64::try_from(children).unwrap_or(i64::MAX)
    }

    /// What is known for `owner`.
    pub(crate) fn known(&self, owner: &SubjectKey) -> Known {
        let identities = self.plugins.all().iter().map(|plugin| self.identity(plugin)).collect::<BTreeSet<_>>();
        let state = self.lock();
        Known {
            accounts: state.owners.get(owner).cloned().unwrap_or_default(),
            incomplete: identities.into_iter().filter(|plugin| !state.complete.contains(plugin)).collect(),
        }
    }

    /// Warnings for `owner` that it has not been told, with their plugins.
    pub(crate) fn take_warnings(&self, owner: &SubjectKey) -> Vec<(String, String)> {
        self.lock().warnings.remove(owner).unwrap_or_default()
    }

    /// Has `owner` told again after `delay`.
    pub(crate) fn retry(&self, owner: &SubjectKey, delay: Duration) {
        self.lock().mark(owner.clone(), Instant::now() + delay);
        self.changed.notify_one();
    }

    /// Waits until owners are to be told; whether others may show plugins that are gone.
    pub(crate) async fn next(&self) -> (Vec<SubjectKey>, bool) {
        loop {
            let (due, next, stale) = self.lock().take_due(Instant::now());
            if stale || !due.is_empty() {
                return (due, stale);
            }
            let sleep = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { () = sleep => {}, () = self.changed.notified() => {} }
        }
    }

    fn wake(&self, state: &mut State, owner: &SubjectKey) {
        if owner.kind == SubjectKind::DaskCluster && state.held.remove(&(owner.namespace.clone(), owner.name.clone())) {
            self.push(&owner.namespace, &owner.name);
        }
    }

    fn push(&self, namespace: &str, name: &str) {
        if let Some(clusters) = self.clusters.get() {
            clusters.push(namespace, name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cluster_key(cluster: &DaskCluster) -> SubjectKey {
    let namespace = cluster.namespace().unwrap_or_default();
    SubjectKey { kind: SubjectKind::DaskCluster, namespace, name: cluster.name_any() }
}

impl State {
    fn take(&mut self, plugin: &str, subject: &SubjectKey) -> Option<(SubjectKey, SubjectReport)> {
        let owner = self.places.get_mut(plugin)?.remove(subject)?;
        let plugins = self.owners.get_mut(&owner)?;
        let subjects = plugins.get_mut(plugin)?;
        let account = subjects.remove(subject)?;
        if let Some(children) = self.children.get_mut(plugin) {
            *children = children.saturating_sub(account.children);
        }
        if subjects.is_empty() {
            plugins.remove(plugin);
        }
        if plugins.is_empty() {
            self.owners.remove(&owner);
        }
        self.unsay(plugin, &owner, &account.warnings);
        Some((owner, account))
    }

    fn put(&mut self, plugin: &str, subject: &SubjectKey, account: SubjectReport) {
        let owner = account.owner.key.clone();
        *self.children.entry(plugin.to_owned()).or_default() += account.children;
        self.places.entry(plugin.to_owned()).or_default().insert(subject.clone(), owner.clone());
        if !account.warnings.is_empty() {
            let said = self.said.entry(owner.clone()).or_default().entry(plugin.to_owned()).or_default();
            account.warnings.iter().for_each(|warning| *said.entry(warning.clone()).or_default() += 1);
        }
        let plugins = self.owners.entry(owner).or_default();
        plugins.entry(plugin.to_owned()).or_default().insert(subject.clone(), account);
    }

    /// A subject warns of these no more.
    fn unsay(&mut self, plugin: &str, owner: &SubjectKey, warnings: &BTreeSet<String>) {
        let Some(plugins) = self.said.get_mut(owner).filter(|_| !warnings.is_empty()) else { return };
        if let Some(said) = plugins.get_mut(plugin) {
            for warning in warnings {
                if let Some(count) = said.get_mut(warning) {
                    *count -= 1;
                }
            }
            said.retain(|_, count| *count > 0);
            if said.is_empty() {
                plugins.remove(plugin);
            }
        }
        if plugins.is_empty() {
            self.said.remove(owner);
        }
    }

    /// Each sentence is news once, whichever subject it is about.
    fn note_warnings(&mut self, plugin: &str, account: &SubjectReport, before: Option<&SubjectReport>) {
        let owner = &account.owner.key;
        let others = self.said.get(owner).and_then(|plugins| plugins.get(plugin));
        let is_known = |warning: &String| {
            others.is_some_and(|said| said.contains_key(warning))
                || before.is_some_and(|before| before.warnings.contains(warning))
        };
        let news: Vec<&String> = account.warnings.iter().filter(|warning| !is_known(warning)).collect();
        if !news.is_empty() {
            let waiting = self.warnings.entry(owner.clone()).or_default();
            waiting.extend(news.into_iter().map(|warning| (plugin.to_owned(), warning.clone())));
            waiting.truncate(MAX_WAITING);
        }
    }

    fn mark(&mut self, owner: SubjectKey, at: Instant) {
        let at = self.told.get(&owner).map_or(at, |told| at.max(*told + GATHERED));
        let due = self.due.entry(owner).or_insert(at);
        *due = at.min(*due);
    }

    fn take_due(&mut self, now: Instant) -> (Vec<SubjectKey>, Option<Instant>, bool) {
        self.told.retain(|_, told| *told + GATHERED > now);
        let due = self.due.iter().filter(|(_, at)| **at <= now).map(|(owner, at)| (*at, owner.clone()));
        let due = first_of_each(due.collect());
        for owner in &due {
            self.due.remove(owner);
            self.told.insert(owner.clone(), now);
        }
        (due, self.due.values().min().copied(), std::mem::take(&mut self.stale))
    }
}

/// Some of `due`, in turns by namespace and the oldest first, so that none waits for all those of another one.
fn first_of_each(mut due: Vec<(Instant, SubjectKey)>) -> Vec<SubjectKey> {
    due.sort();
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut numbered: Vec<(usize, SubjectKey)> = Vec::with_capacity(due.len());
    for (_, owner) in due {
        let count = counts.entry(owner.namespace.clone()).or_default();
        numbered.push((*count, owner));
        *count += 1;
    }
    // The order within a turn stays.
    numbered.sort_by_key(|(count, _)| *count);
    numbered.into_iter().take(AT_ONCE).map(|(_, owner)| owner).collect()
}

#[cfg(test)]
mod tests {
    use dask_operator_api::testing::mk_cluster;
    use serde_json::json;

    use super::*;
    use crate::{config::test_settings, model::summary::SyncState, status::aggregate::Owner};

    fn key(kind: SubjectKind, name: &str) -> SubjectKey {
        SubjectKey { kind, namespace: "ns".to_owned(), name: name.to_owned() }
    }

    fn owner() -> SubjectKey {
        key(SubjectKind::DaskCluster, "demo")
    }

    fn account(children: usize, warnings: &[&str]) -> SubjectReport {
        SubjectReport {
            owner: Owner { key: owner(), uid: "cluster-uid".to_owned() },
            fares: SyncState::Synced,
            children,
            conditions: Vec::new(),
            unfit: 0,
            warnings: warnings.iter().map(|warning| (*warning).to_owned()).collect(),
        }
    }

    async fn due(status_store: &StatusStore) -> Vec<SubjectKey> {
        let next = tokio::time::timeout(Duration::from_millis(1), status_store.next()).await;
        next.map(|(due, _)| due).unwrap_or_default()
    }

    #[tokio::test]
    async fn an_owner_is_told_at_once_of_news_and_not_of_what_it_was_told() {
        let (status_store, _) = StatusStore::new(&test_settings());
        status_store.report("echo", &key(SubjectKind::Service, "a"), Some(account(1, &[])));
        assert_eq!(due(&status_store).await, [owner()]);
        status_store.report("echo", &key(SubjectKind::Service, "a"), Some(account(1, &[])));
        assert_eq!(due(&status_store).await, []);
        assert_eq!(status_store.children("echo"), 1);
    }

    /// Until then nothing was written, so that a restart does not make what is shown flicker.
    #[tokio::test]
    async fn owners_are_told_when_the_first_round_of_a_plugin_is_over() {
        let (status_store, _) = StatusStore::new(&test_settings());
        let subject = key(SubjectKind::Service, "a");
        status_store.report("echo", &subject, Some(account(1, &[])));
        assert_eq!(due(&status_store).await, [owner()]);
        status_store.lock().told.clear();
        status_store.completed("echo", std::iter::once(&subject));
        assert_eq!(due(&status_store).await, [owner()]);
    }

    /// A plugin that changes its mind all the time must not write to the API server each time.
    #[test]
    fn news_of_one_second_are_told_together() {
        let (mut state, now) = (State::default(), Instant::now());
        state.mark(owner(), now);
        assert_eq!(state.take_due(now).0, [owner()]);
        for delay in [100, 500] {
            let later = now + Duration::from_millis(delay);
            state.mark(owner(), later);
            assert_eq!(state.take_due(later).0, []);
        }
        assert_eq!(state.take_due(now + GATHERED).0, [owner()]);
        assert_eq!(state.take_due(now + 3 * GATHERED).0, []);
    }

    #[test]
    fn owners_of_a_namespace_that_changes_all_the_time_keep_no_other_one_waiting() {
        let (mut state, now) = (State::default(), Instant::now());
        let in_namespace = |namespace: &str, name: usize| SubjectKey {
            kind: SubjectKind::DaskCluster,
            namespace: namespace.to_owned(),
            name: name.to_string(),
        };
        (0..1000).for_each(|name| state.mark(in_namespace("flood", name), now));
        let later = now + Duration::from_millis(1);
        state.mark(in_namespace("other", 0), later);
        let (due, next, _) = state.take_due(later);
        assert_eq!(due.len(), AT_ONCE);
        assert_eq!(due[1], in_namespace("other", 0));
        assert_eq!(next, Some(now), "the rest comes at once");
    }

    #[test]
    fn warnings_that_nobody_has_been_told_do_not_pile_up() {
        let (status_store, _) = StatusStore::new(&test_settings());
        for number in 0..1000 {
            let warning = number.to_string();
            status_store.report("echo", &key(SubjectKind::Pod, "a"), Some(account(0, &[&warning])));
        }
        assert_eq!(status_store.take_warnings(&owner()).len(), MAX_WAITING);
    }

    #[test]
    fn a_sentence_is_news_once_whichever_subject_it_is_about() {
        let (status_store, _) = StatusStore::new(&test_settings());
        let said = |text: &str| ("echo".to_owned(), text.to_owned());
        status_store.report("echo", &key(SubjectKind::Pod, "a"), Some(account(0, &["x"])));
        status_store.report("echo", &key(SubjectKind::Pod, "b"), Some(account(0, &["x", "y"])));
        assert_eq!(status_store.take_warnings(&owner()), [said("x"), said("y")]);
        status_store.report("echo", &key(SubjectKind::Pod, "b"), Some(account(1, &["y"])));
        assert_eq!(status_store.take_warnings(&owner()), []);
        status_store.report("echo", &key(SubjectKind::Pod, "b"), Some(account(1, &[])));
        status_store.report("echo", &key(SubjectKind::Pod, "b"), Some(account(1, &["y"])));
        assert_eq!(status_store.take_warnings(&owner()), [said("y")], "it was taken back, and is said again");
    }

    #[test]
    fn nothing_is_left_of_a_plugin_that_is_gone_or_of_subjects_that_went_unseen() {
        let (status_store, _) = StatusStore::new(&test_settings());
        let (seen, unseen) = (key(SubjectKind::Pod, "a"), key(SubjectKind::Pod, "b"));
        status_store.report("echo", &seen, Some(account(2, &[])));
        status_store.report("echo", &unseen, Some(account(3, &[])));
        status_store.completed("echo", std::iter::once(&seen));
        assert_eq!(status_store.children("echo"), 2);
        status_store.report("echo", &seen, Some(account(2, &["x"])));
        status_store.forget("echo");
        assert!(status_store.lock().said.is_empty());
        assert!(status_store.known(&owner()).accounts.is_empty());
        assert_eq!(status_store.children("echo"), 0);
    }

    fn strict() -> DaskOperatorPlugin {
        serde_json::from_value(json!({
            "metadata": {"name": "strict", "namespace": "dask-operator", "uid": "u", "generation": 1},
            "spec": {
                "endpoint": {"service": {"name": "strict"}},
                "subjects": [{"kind": "Service"}],
                "children": [{"apiVersion": "v1", "kind": "ConfigMap"}],
                "failurePolicy": "Fail",
            },
        }))
        .unwrap()
    }

    /// One that was made while no controller ran would be `Running` before any plugin is known.
    #[tokio::test]
    async fn a_cluster_is_held_until_plugins_are_known_and_those_that_fail_have_answered() {
        let ((status_store, _requests), (queue, mut requests)) = (
            StatusStore::new(&test_settings()),
            operator_runtime::watch::queue::<DaskCluster>(&operator_runtime::watch::Expectations::default()),
        );
        status_store.wake_by(queue, Vec::new());
        requests.open(operator_runtime::leader::leading(), &kube::runtime::reflector::store().0);
        let cluster = mk_cluster("demo");
        let mut woken = async || {
            use futures::StreamExt as _;
            tokio::time::timeout(Duration::from_secs(2), requests.next()).await.is_ok()
        };
        assert!(status_store.holds(&cluster));
        status_store.plugins.cache.apply(
            None,
            kube::runtime::watcher::Event::Apply(strict()),
            &mut std::sync::Arc::new,
        );
        status_store.loaded();
        assert!(woken().await);
        assert!(status_store.holds(&cluster));
        assert_eq!(status_store.holders(&cluster), ["strict"]);
        status_store.report("strict", &key(SubjectKind::Service, "demo-scheduler"), Some(account(1, &[])));
        assert!(woken().await);
        assert!(!status_store.holds(&cluster));
    }
}
