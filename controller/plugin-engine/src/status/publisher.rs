//! Publishes the state of plugins in Dask resources: `status.plugins`, conditions and Events.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use dask_operator_api::{
    ClusterPhase, DaskAutoscaler, DaskCluster, DaskWorkerGroup, PluginState, SubjectKind,
    conditions::{PLUGINS_SYNCED, PLUGINS_WAITING},
};
use futures::{StreamExt as _, future::join_all, stream};
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Resource, ResourceExt as _,
    core::NamespaceResourceScope,
    runtime::events::{Event, EventType},
};
use operator_runtime::{
    conditions, k8s,
    leader::Leading,
    releases::{RECHECK, Releases},
    report::StatusReporter,
    watch::{Cache, SyncStatus},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    aggregate::{self, CurrentStatus},
    event_budget::{EventBudget, Room},
    store::{Due, OwnerReports, StatusStore},
    warnings::PluginWarning,
};
use crate::model::owner_caches::OwnerCaches;
use crate::model::subject::{self, SubjectKey};

/// The field manager of the plugins' part of the status. The rest belongs to the reconcilers.
const MANAGER: &str = "dask-operator/plugins";
/// The number of concurrent status writes.
const PARALLEL: usize = 8;
/// How long to wait before an owner is retried that is not in the cache yet or could not be written.
const RETRY: Duration = Duration::from_secs(2);

/// Writes the contents of the status store to the statuses of owners.
pub(crate) struct StatusWriter {
    pub(crate) caches: OwnerCaches,
    /// The watches that fill these caches.
    pub(crate) watches: Vec<SyncStatus>,
    pub(crate) reporter: StatusReporter,
    pub(crate) status_store: Arc<StatusStore>,
    pub(crate) budget: EventBudget,
    /// The other releases on the cluster.
    pub(crate) releases: Releases,
}

/// A kind whose status shows plugins.
trait Shows: Resource<DynamicType = (), Scope = NamespaceResourceScope> {
    fn shown(&self) -> (&[Condition], &[PluginState]);
}

macro_rules! shows {
    ($($kind:ty),*) => {$(
        impl Shows for $kind {
            fn shown(&self) -> (&[Condition], &[PluginState]) {
                self.status.as_ref().map(|status| (&status.conditions[..], &status.plugins[..])).unwrap_or_default()
            }
        }
    )*};
}
shows!(DaskAutoscaler, DaskCluster, DaskWorkerGroup);

impl StatusWriter {
    /// Publishes statuses until it is dropped, as soon as the watches of Dask resources have synced.
    pub(crate) async fn run(self, _: Leading) {
        join_all(self.watches.iter().map(SyncStatus::synced)).await;
        loop {
            let Due { owners, stale } = self.status_store.next().await;
            if stale {
                self.owners_that_show_something()
                    .iter()
                    .for_each(|owner| self.status_store.retry(owner, Duration::ZERO));
            }
            stream::iter(owners).for_each_concurrent(PARALLEL, |owner| self.publish(owner)).await;
        }
    }

    /// Returns the owners whose status mentions plugins. They may mention plugins that were deleted while no controller
    /// was running.
    fn owners_that_show_something(&self) -> Vec<SubjectKey> {
        let mut owners = showing(SubjectKind::DaskCluster, &self.caches.clusters);
        owners.extend(showing(SubjectKind::DaskWorkerGroup, &self.caches.groups));
        owners.extend(showing(SubjectKind::DaskAutoscaler, &self.caches.autoscalers));
        owners
    }

    async fn publish(&self, owner: SubjectKey) {
        // The entries in the status are those of the plugins of the release that serves the namespace.
        if self.releases.is_served_alone(&owner.namespace) {
            self.status_store.retry(&owner, RECHECK);
            return;
        }
        let known = self.status_store.reports(&owner);
        let (namespace, name) = (&owner.namespace, &owner.name);
        let result = match owner.kind {
            SubjectKind::DaskCluster => {
                let cluster = self.caches.clusters.get(namespace, name);
                let is_held = |cluster: &Arc<DaskCluster>| {
                    cluster.status.as_ref().is_none_or(|status| status.phase != Some(ClusterPhase::Running))
                };
                let holders = cluster.as_ref().filter(|cluster| is_held(cluster));
                let holders = holders.map(|cluster| self.status_store.holders(cluster)).unwrap_or_default();
                self.write_status(&owner, cluster, known, &holders).await
            }
            SubjectKind::DaskWorkerGroup => {
                self.write_status(&owner, self.caches.groups.get(namespace, name), known, &[]).await
            }
            SubjectKind::DaskAutoscaler => {
                self.write_status(&owner, self.caches.autoscalers.get(namespace, name), known, &[]).await
            }
            // The fields of a job's status are defined by dask-kubernetes, so plugins are not shown there.
            _ => {
                let mut reports = known.reports.values().flat_map(BTreeMap::values);
                if let Some(report) = reports.next() {
                    self.warn(&owner, &report.owner.uid, |_| false).await;
                }
                Ok(())
            }
        };
        if let Err(error) = result {
            tracing::warn!(%owner, %error, "failed to write the state of plugins to a Dask resource");
            self.status_store.retry(&owner, RETRY);
        }
    }

    async fn write_status<K>(
        &self,
        key: &SubjectKey,
        owner: Option<Arc<K>>,
        mut known: OwnerReports,
        holders: &[String],
    ) -> Result<(), k8s::Error>
    where
        K: Shows + Clone + Serialize + DeserializeOwned + Debug,
    {
        let uid = owner.as_ref().and_then(|owner| owner.uid());
        // Either the cache lags behind the workers, or the workers lag behind the cache.
        if known.keep_only(uid.as_deref()) {
            self.status_store.retry(key, RETRY);
        }
        let Some(owner) = owner else { return Ok(()) };
        let (conditions, plugins) = owner.shown();
        let conditions = conditions.iter().filter(|condition| aggregate::is_ours(condition)).cloned().collect();
        let shown = CurrentStatus { plugins: plugins.to_vec(), conditions };
        // After a restart of the controller, plugins repeat their warnings.
        let was_told = |plugin: &String| plugins.iter().any(|state| state.name == *plugin);
        let are_old = |plugin: &String| known.incomplete.contains(plugin) && was_told(plugin);
        self.warn(key, uid.as_deref().unwrap_or_default(), are_old).await;
        let aggregated = aggregate::status_of(&known.reports, &known.incomplete, &shown, holders);
        let conditions = conditions::updated(&shown.conditions, aggregated.conditions, None, Timestamp::now());
        let desired = CurrentStatus { plugins: aggregated.plugins, conditions };
        if sorted(shown.clone()) == sorted(desired.clone()) {
            return Ok(());
        }
        match self.reporter.apply(MANAGER, owner.as_ref(), &body(&desired)).await {
            // The owner was deleted in the meantime.
            Err(error) if error.is_outdated() => return Ok(()),
            Ok(false) => return Ok(()),
            result => result?,
        };
        let (old, new) = (reported(&shown), reported(&desired));
        self.reporter.condition_changes(owner.as_ref(), &old, &new).await;
        Ok(())
    }

    /// Publishes warnings about the owner with `uid` as Events, as far as the budget of the namespace allows. Skips
    /// plugins for which `are_old` is true.
    async fn warn(&self, owner: &SubjectKey, uid: &str, are_old: impl Fn(&String) -> bool) {
        let resource = subject::api_resource(owner.kind);
        let reference = ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            namespace: Some(owner.namespace.clone()),
            name: Some(owner.name.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        for PluginWarning { plugin, text: warning } in self.status_store.take_warnings(owner) {
            if are_old(&plugin) {
                continue;
            }
            let note = match self.budget.take(&owner.namespace, Instant::now()) {
                Room::Enough => format!("{plugin}: {warning}"),
                Room::Last => format!("{plugin}: {warning} (Further warnings in this namespace are left out for now.)"),
                Room::None => {
                    tracing::debug!(%owner, plugin, warning, "a plugin's warning is left out: there are too many");
                    continue;
                }
            };
            let event = Event {
                type_: EventType::Warning,
                reason: "PluginWarning".to_owned(),
                note: Some(note),
                action: "CallPlugin".to_owned(),
                secondary: None,
            };
            self.reporter.publish_about(&reference, event).await;
        }
    }
}

fn showing<K: Shows + Clone>(kind: SubjectKind, cache: &Cache<K>) -> Vec<SubjectKey> {
    let shows = |owner: &&Arc<K>| {
        let (conditions, plugins) = owner.shown();
        !plugins.is_empty() || conditions.iter().any(aggregate::is_ours)
    };
    let key =
        |owner: &Arc<K>| SubjectKey { kind, namespace: owner.namespace().unwrap_or_default(), name: owner.name_any() };
    cache.all().iter().filter(shows).map(key).collect()
}

/// Sorts the entries, because the API server does not guarantee their order.
fn sorted(mut shown: CurrentStatus) -> CurrentStatus {
    shown.plugins.sort_by(|a, b| a.name.cmp(&b.name));
    shown.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    shown
}

/// Returns the status to apply. Server-side apply removes the fields that are left out.
fn body(desired: &CurrentStatus) -> Value {
    let mut body = Map::new();
    if !desired.plugins.is_empty() {
        body.insert("plugins".to_owned(), json!(desired.plugins));
    }
    if !desired.conditions.is_empty() {
        body.insert("conditions".to_owned(), json!(desired.conditions));
    }
    Value::Object(body)
}

/// Returns the conditions whose changes are published as Events. A waiting plugin is not an Event, because each owner
/// begins with plugins that have not answered.
fn reported(shown: &CurrentStatus) -> Vec<Condition> {
    let is_reported = |condition: &&Condition| condition.type_ == PLUGINS_SYNCED && condition.reason != PLUGINS_WAITING;
    shown.conditions.iter().filter(is_reported).cloned().collect()
}
