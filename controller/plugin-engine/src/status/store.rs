//! Stores the reports of all plugins about Dask resources. Workers report to it, the publisher writes its contents to
//! statuses, and the cluster reconciler queries whether a cluster is held.

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

/// The minimum interval between two writes of one owner's status.
const GATHERED: Duration = Duration::from_secs(1);
/// The maximum number of owners that are published at a time. The others follow in later turns.
const AT_ONCE: usize = 64;
/// The maximum number of unpublished warnings of one owner.
const MAX_WAITING: usize = 64;

/// The reports of all plugins, shared by all workers. Reading is cheap, and the lock is never held across I/O.
pub struct StatusStore {
    /// The operator's namespace. Its plugins serve all namespaces.
    namespace: String,
    /// All plugin resources.
    pub(crate) plugins: Plugins,
    state: Mutex<State>,
    changed: Notify,
    clusters: OnceLock<Queue<DaskCluster>>,
    /// The watches of the kinds whose statuses are published.
    watches: OnceLock<Vec<SyncStatus>>,
}

#[derive(Default)]
struct State {
    /// Whether all plugin resources are known.
    loaded: bool,
    owners: HashMap<SubjectKey, SubjectReports>,
    /// The owner that the report of each plugin and subject is stored under.
    places: HashMap<String, HashMap<SubjectKey, SubjectKey>>,
    /// The number of existing children by plugin.
    children: HashMap<String, usize>,
    /// Plugins whose workers have completed their first round.
    complete: BTreeSet<String>,
    /// Unpublished warnings by owner, each with its plugin.
    warnings: HashMap<SubjectKey, Vec<(String, String)>>,
    /// The number of subjects that a warning was returned for, by owner, plugin and text of the warning.
    said: HashMap<SubjectKey, HashMap<String, HashMap<String, usize>>>,
    /// The owners to publish, and when.
    due: HashMap<SubjectKey, Instant>,
    published: HashMap<SubjectKey, Instant>,
    /// The clusters that are held.
    held: HashSet<(String, String)>,
    /// The part of each plugin resource that decides whether it holds clusters.
    seen: HashMap<String, (Option<i64>, bool)>,
    /// Whether the status of owners may show plugins that are gone.
    stale: bool,
}

/// The reports about one owner.
pub(crate) struct Known {
    pub(crate) accounts: SubjectReports,
    /// Plugins that exist and have not completed their first round yet.
    pub(crate) incomplete: BTreeSet<String>,
}

impl Known {
    /// Removes reports about other owners of the same name, which do not have `uid`. Returns whether there were any.
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
    /// Returns an empty store, and the work queue of plugin resources.
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

    /// Sets the queue that released clusters are enqueued in, and the watches of Dask resources. Statuses are published
    /// only after `watches` have synced.
    pub fn wake_by(&self, clusters: Queue<DaskCluster>, watches: Vec<SyncStatus>) {
        // Called only once, when the controllers are set up.
        let _ = (self.clusters.set(clusters), self.watches.set(watches));
    }

    /// Waits until the watches of Dask resources have synced.
    pub(crate) async fn dask_resources(&self) {
        join_all(self.watches.get().into_iter().flatten().map(SyncStatus::synced)).await;
    }

    /// Returns whether a plugin keeps `cluster` from becoming `Running`. If so, the cluster is enqueued again when that
    /// changes.
    pub fn holds(&self, cluster: &DaskCluster) -> bool {
        let key = cluster_key(cluster);
        let mut state = self.lock();
        let holders = self.holders_in(&state, cluster);
        if state.loaded && holders.is_empty() {
            return false;
        }
        state.held.insert((key.namespace.clone(), key.name.clone()));
        // Most clusters are not held for long, so their status need not mention it.
        state.mark(key, Instant::now() + GATHERED);
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Returns the plugins that keep `cluster` from becoming `Running`.
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

    /// Replaces the report of `plugin` about `subject`. `None` means that the subject does not exist. Returns the
    /// previous report.
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

    /// Records that the worker of `plugin` has completed its first round. `subjects` are all subjects that it knows.
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

    /// Records that all plugin resources are known.
    pub(crate) fn loaded(&self) {
        let mut state = self.lock();
        state.loaded = true;
        self.look_again(state);
    }

    /// Records that `plugin` is new or has changed.
    pub(crate) fn plugin_changed(&self, plugin: &DaskOperatorPlugin) {
        let seen = (plugin.metadata.generation, cluster_gate::is_refused(plugin));
        let mut state = self.lock();
        // Most changes only affect counts in the status.
        if state.seen.insert(self.identity(plugin), seen) != Some(seen) {
            self.look_again(state);
        }
    }

    /// Returns whether the plugin resource with `uid` still exists.
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

    /// Removes everything about a plugin that is gone.
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

    /// Returns the number of existing children of `plugin`.
    pub(crate) fn children(&self, plugin: &str) -> i64 {
        let children = self.lock().children.get(plugin).copied().unwrap_or_default();
        i64::try_from(children).unwrap_or(i64::MAX)
    }

    /// Returns the reports about `owner`.
    pub(crate) fn known(&self, owner: &SubjectKey) -> Known {
        let identities = self.plugins.all().iter().map(|plugin| self.identity(plugin)).collect::<BTreeSet<_>>();
        let state = self.lock();
        Known {
            accounts: state.owners.get(owner).cloned().unwrap_or_default(),
            incomplete: identities.into_iter().filter(|plugin| !state.complete.contains(plugin)).collect(),
        }
    }

    /// Removes and returns the unpublished warnings of `owner`, each with its plugin.
    pub(crate) fn take_warnings(&self, owner: &SubjectKey) -> Vec<(String, String)> {
        self.lock().warnings.remove(owner).unwrap_or_default()
    }

    /// Schedules `owner` to be published after `delay`.
    pub(crate) fn retry(&self, owner: &SubjectKey, delay: Duration) {
        self.lock().mark(owner.clone(), Instant::now() + delay);
        self.changed.notify_one();
    }

    /// Waits until owners are due to be published. Returns them, and whether other owners may show plugins that are
    /// gone.
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

    /// Removes the warnings of one subject from the counts.
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

    /// Queues the new warnings of a report. Each text is published once, no matter how many subjects it is about.
    fn note_warnings(&mut self, plugin: &str, account: &SubjectReport, before: Option<&SubjectReport>) {
        let owner = &account.owner.key;
        let others = self.said.get(owner).and_then(|plugins| plugins.get(plugin));
        let is_known = |warning: &String| {
            others.is_some_and(|said| said.contains_key(warning))
                || before.is_some_and(|before| before.warnings.contains(warning))
        };
        let new_warnings: Vec<&String> = account.warnings.iter().filter(|warning| !is_known(warning)).collect();
        if !new_warnings.is_empty() {
            let waiting = self.warnings.entry(owner.clone()).or_default();
            waiting.extend(new_warnings.into_iter().map(|warning| (plugin.to_owned(), warning.clone())));
            waiting.truncate(MAX_WAITING);
        }
    }

    fn mark(&mut self, owner: SubjectKey, at: Instant) {
        let at = self.published.get(&owner).map_or(at, |published| at.max(*published + GATHERED));
        let due = self.due.entry(owner).or_insert(at);
        *due = at.min(*due);
    }

    fn take_due(&mut self, now: Instant) -> (Vec<SubjectKey>, Option<Instant>, bool) {
        self.published.retain(|_, published| *published + GATHERED > now);
        let due = self.due.iter().filter(|(_, at)| **at <= now).map(|(owner, at)| (*at, owner.clone()));
        let due = first_of_each(due.collect());
        for owner in &due {
            self.due.remove(owner);
            self.published.insert(owner.clone(), now);
        }
        (due, self.due.values().min().copied(), std::mem::take(&mut self.stale))
    }
}

/// Returns the first part of `due`. Namespaces take turns, oldest first, so that no namespace waits for all owners of
/// another one.
fn first_of_each(mut due: Vec<(Instant, SubjectKey)>) -> Vec<SubjectKey> {
    due.sort();
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut numbered: Vec<(usize, SubjectKey)> = Vec::with_capacity(due.len());
    for (_, owner) in due {
        let count = counts.entry(owner.namespace.clone()).or_default();
        numbered.push((*count, owner));
        *count += 1;
    }
    // The sort is stable: the order within a turn stays.
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
            state: SyncState::Synced,
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

    /// Nothing was written until then, so that a restart does not make the status flicker.
    #[tokio::test]
    async fn owners_are_told_when_the_first_round_of_a_plugin_is_over() {
        let (status_store, _) = StatusStore::new(&test_settings());
        let subject = key(SubjectKind::Service, "a");
        status_store.report("echo", &subject, Some(account(1, &[])));
        assert_eq!(due(&status_store).await, [owner()]);
        status_store.lock().published.clear();
        status_store.completed("echo", std::iter::once(&subject));
        assert_eq!(due(&status_store).await, [owner()]);
    }

    /// A plugin whose responses change all the time must not cause a write to the API server each time.
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

    /// Otherwise a cluster that was created while no controller was running would become `Running` before any plugin is
    /// known.
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
