//! Stores the reports of all plugins about Dask resources. Workers report to it, the publisher writes its contents to
//! statuses, and the cluster reconciler queries whether a cluster is held.

mod held_clusters;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dask_operator_api::{DaskCluster, DaskOperatorPlugin};
use kube::ResourceExt as _;
use operator_runtime::watch::Queue;
#[cfg(any(test, feature = "testing"))]
use operator_runtime::watch::{Expectations, queue};
use tokio::sync::Notify;

use super::{
    aggregate::{SubjectReport, SubjectReports},
    reports::Reports,
    schedule::{DueOwners, Schedule},
    warnings::PluginWarning,
};
#[cfg(any(test, feature = "testing"))]
use crate::config::test_settings;
use crate::{
    config::Settings,
    index::plugins::Plugins,
    model::{key::PluginKey, subject::SubjectKey},
};

/// The reports of all plugins, shared by all workers. Reading is cheap, and the lock is never held across I/O.
pub struct StatusStore {
    /// The operator's namespace. Its plugins serve all namespaces.
    namespace: String,
    /// All plugin resources.
    pub(crate) plugins: Plugins,
    state: Mutex<State>,
    changed: Notify,
    /// The queue that released clusters are enqueued in.
    clusters: Queue<DaskCluster>,
}

#[derive(Default)]
struct State {
    /// Whether all plugin resources are known.
    loaded: bool,
    reports: Reports,
    /// Plugins whose workers have completed their first round.
    complete: BTreeSet<String>,
    schedule: Schedule,
    /// The clusters that are held.
    held: HashSet<SubjectKey>,
    /// The part of each plugin resource that decides whether it holds clusters.
    seen: HashMap<String, SeenResource>,
    /// Whether the status of owners may show plugins that are gone.
    stale: bool,
}

/// The part of a plugin resource that decides whether it holds clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SeenResource {
    generation: Option<i64>,
    is_refused: bool,
}

/// The owners whose statuses are published next.
pub(crate) struct Due {
    pub(crate) owners: Vec<SubjectKey>,
    /// Whether the statuses of other owners may show plugins that are gone.
    pub(crate) stale: bool,
}

/// The reports about one owner.
pub(crate) struct OwnerReports {
    pub(crate) reports: SubjectReports,
    /// Plugins that exist and have not completed their first round yet.
    pub(crate) incomplete: BTreeSet<String>,
}

impl OwnerReports {
    /// Removes reports about other owners of the same name, which do not have `uid`. Returns whether there were any.
    pub(crate) fn keep_only(&mut self, uid: Option<&str>) -> bool {
        let count = |reports: &SubjectReports| reports.values().map(BTreeMap::len).sum::<usize>();
        let before = count(&self.reports);
        for subjects in self.reports.values_mut() {
            subjects.retain(|_, report| Some(report.owner.uid.as_str()) == uid);
        }
        count(&self.reports) < before
    }
}

impl StatusStore {
    /// Returns an empty store. `plugins` is the work queue of plugin resources, and released clusters are enqueued in
    /// `clusters`.
    pub fn new(settings: &Settings, plugins: Queue<DaskOperatorPlugin>, clusters: Queue<DaskCluster>) -> Self {
        Self {
            namespace: settings.namespace.clone(),
            plugins: Plugins::new(settings, plugins),
            state: Mutex::default(),
            changed: Notify::new(),
            clusters,
        }
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
        report: Option<SubjectReport>,
    ) -> Option<SubjectReport> {
        let mut state = self.lock();
        let before = state.reports.take(plugin, subject);
        if before == report {
            if let Some(report) = report {
                state.reports.put(plugin, subject, report);
            }
            return before;
        }
        let owners: Vec<SubjectKey> = before.iter().chain(&report).map(|report| report.owner.key.clone()).collect();
        if let Some(report) = report {
            state.reports.warnings.queue_new(plugin, &report, before.as_ref());
            state.reports.put(plugin, subject, report);
        }
        let now = Instant::now();
        for owner in owners {
            self.release(&mut state, &owner);
            state.schedule.add(owner, now);
        }
        drop(state);
        self.changed.notify_one();
        before
    }

    /// Records that the worker of `plugin` has completed its first round. `subjects` are all subjects that it knows.
    pub(crate) fn completed<'a>(&self, plugin: &str, subjects: impl Iterator<Item = &'a SubjectKey>) {
        let subjects: HashSet<&SubjectKey> = subjects.collect();
        let mut state = self.lock();
        for subject in state.reports.subjects(plugin).iter().filter(|subject| !subjects.contains(subject)) {
            state.reports.take(plugin, subject);
        }
        for owner in state.reports.owners(plugin) {
            state.schedule.add(owner, Instant::now());
        }
        state.complete.insert(plugin.to_owned());
        state.stale = true;
        drop(state);
        self.changed.notify_one();
    }

    /// Returns whether the plugin resource with `uid` still exists.
    pub(crate) fn exists(&self, plugin: &PluginKey, uid: &str) -> bool {
        self.plugins.get(plugin).is_some_and(|found| found.uid().as_deref() == Some(uid))
    }

    /// Removes everything about a plugin that is gone.
    pub(crate) fn forget(&self, plugin: &str) {
        let mut state = self.lock();
        state.reports.forget(plugin);
        state.complete.remove(plugin);
        state.seen.remove(plugin);
        self.release_all(state);
    }

    /// Returns the number of existing children of `plugin`.
    pub(crate) fn children(&self, plugin: &str) -> i64 {
        i64::try_from(self.lock().reports.children(plugin)).unwrap_or(i64::MAX)
    }

    /// Returns the reports about `owner`.
    pub(crate) fn reports(&self, owner: &SubjectKey) -> OwnerReports {
        let plugins = self.plugins.concerning(&owner.namespace, &self.namespace);
        let identities = plugins.iter().map(|plugin| self.identity(plugin)).collect::<BTreeSet<_>>();
        let state = self.lock();
        OwnerReports {
            reports: state.reports.about(owner).cloned().unwrap_or_default(),
            incomplete: identities.into_iter().filter(|plugin| !state.complete.contains(plugin)).collect(),
        }
    }

    /// Removes and returns the unpublished warnings of `owner`.
    pub(crate) fn take_warnings(&self, owner: &SubjectKey) -> Vec<PluginWarning> {
        self.lock().reports.warnings.take(owner)
    }

    /// Schedules `owner` to be published after `delay`.
    pub(crate) fn retry(&self, owner: &SubjectKey, delay: Duration) {
        self.lock().schedule.add(owner.clone(), Instant::now() + delay);
        self.changed.notify_one();
    }

    /// Waits until owners are due to be published, or until other owners may show plugins that are gone.
    pub(crate) async fn next(&self) -> Due {
        loop {
            let (DueOwners { owners, next }, stale) = {
                let mut state = self.lock();
                (state.schedule.take_due(Instant::now()), std::mem::take(&mut state.stale))
            };
            if stale || !owners.is_empty() {
                return Due { owners, stale };
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns an empty store whose queues nobody reads.
#[cfg(any(test, feature = "testing"))]
pub fn test_status_store() -> StatusStore {
    let (plugins, clusters) = (queue(&Expectations::default()).0, queue(&Expectations::default()).0);
    StatusStore::new(&test_settings(), plugins, clusters)
}

#[cfg(test)]
mod tests {
    use dask_operator_api::{SubjectKind, testing::mk_cluster};
    use serde_json::json;

    use super::*;
    use crate::{
        model::summary::SyncState,
        status::{aggregate::Owner, warnings::MAX_WAITING},
    };

    fn key(kind: SubjectKind, name: &str) -> SubjectKey {
        SubjectKey { kind, namespace: "ns".to_owned(), name: name.to_owned() }
    }

    fn owner() -> SubjectKey {
        key(SubjectKind::DaskCluster, "demo")
    }

    fn report(children: usize, warnings: &[&str]) -> SubjectReport {
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
        next.map(|due| due.owners).unwrap_or_default()
    }

    #[tokio::test]
    async fn only_a_report_that_changed_is_published() {
        let status_store = test_status_store();
        status_store.report("echo", &key(SubjectKind::Service, "a"), Some(report(1, &[])));
        assert_eq!(due(&status_store).await, [owner()]);
        status_store.report("echo", &key(SubjectKind::Service, "a"), Some(report(1, &[])));
        assert_eq!(due(&status_store).await, []);
        assert_eq!(status_store.children("echo"), 1);
    }

    /// Nothing was written until then, so that a restart does not make the status flicker.
    #[tokio::test]
    async fn owners_are_published_when_the_first_round_of_a_plugin_is_complete() {
        let status_store = test_status_store();
        let subject = key(SubjectKind::Service, "a");
        status_store.report("echo", &subject, Some(report(1, &[])));
        assert_eq!(due(&status_store).await, [owner()]);
        status_store.lock().schedule.published.clear();
        status_store.completed("echo", std::iter::once(&subject));
        assert_eq!(due(&status_store).await, [owner()]);
    }

    #[test]
    fn the_number_of_unpublished_warnings_is_bounded() {
        let status_store = test_status_store();
        for number in 0..1000 {
            let warning = number.to_string();
            status_store.report("echo", &key(SubjectKind::Pod, "a"), Some(report(0, &[&warning])));
        }
        assert_eq!(status_store.take_warnings(&owner()).len(), MAX_WAITING);
    }

    #[test]
    fn a_warning_is_published_once_for_all_subjects() {
        let status_store = test_status_store();
        let said = |text: &str| PluginWarning { plugin: "echo".to_owned(), text: text.to_owned() };
        status_store.report("echo", &key(SubjectKind::Pod, "a"), Some(report(0, &["x"])));
        status_store.report("echo", &key(SubjectKind::Pod, "b"), Some(report(0, &["x", "y"])));
        assert_eq!(status_store.take_warnings(&owner()), [said("x"), said("y")]);
        status_store.report("echo", &key(SubjectKind::Pod, "b"), Some(report(1, &["y"])));
        assert_eq!(status_store.take_warnings(&owner()), []);
        status_store.report("echo", &key(SubjectKind::Pod, "b"), Some(report(1, &[])));
        status_store.report("echo", &key(SubjectKind::Pod, "b"), Some(report(1, &["y"])));
        assert_eq!(status_store.take_warnings(&owner()), [said("y")], "it was taken back, and is said again");
    }

    #[test]
    fn reports_of_deleted_plugins_and_subjects_are_forgotten() {
        let status_store = test_status_store();
        let (seen, unseen) = (key(SubjectKind::Pod, "a"), key(SubjectKind::Pod, "b"));
        status_store.report("echo", &seen, Some(report(2, &[])));
        status_store.report("echo", &unseen, Some(report(3, &[])));
        status_store.completed("echo", std::iter::once(&seen));
        assert_eq!(status_store.children("echo"), 2);
        status_store.report("echo", &seen, Some(report(2, &["x"])));
        status_store.forget("echo");
        assert!(status_store.lock().reports.warnings.has_no_counts());
        assert!(status_store.reports(&owner()).reports.is_empty());
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
    async fn a_cluster_is_held_until_each_known_plugin_with_policy_fail_has_reported() {
        let (plugins, _) = queue(&Expectations::default());
        let (clusters, mut requests) = queue::<DaskCluster>(&Expectations::default());
        let status_store = StatusStore::new(&test_settings(), plugins, clusters);
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
        status_store.report("strict", &key(SubjectKind::Service, "demo-scheduler"), Some(report(1, &[])));
        assert!(woken().await);
        assert!(!status_store.holds(&cluster));
    }
}
