//! Plans and performs the writes to a cluster's components: creates what is missing, updates what exists.

use std::{fmt::Debug, sync::Arc};

use dask_operator_api::meta;
use futures::{TryFutureExt as _, future::join_all};
use kube::{Api, Client, Resource, ResourceExt as _, core::NamespaceResourceScope};
use operator_runtime::{
    k8s::{self, CreatedObject, Creation, Warned},
    watch::Expectations,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{
    build::Desired,
    component::{Component, ComponentKind},
    observe::Observed,
    update::{self, Update},
    validate::ValidatedCluster,
};
use crate::view::DeploymentView;

/// The reason of a component whose name is taken by an object that nobody will delete by itself.
pub(super) const NAME_TAKEN: &str = "NameTaken";

/// The writes that each component needs.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<NewComponent>,
    pub(super) update: Vec<Update>,
    pub(super) blocked: Vec<Blocked>,
}

/// A component to create.
#[derive(Clone, Debug)]
pub(super) struct NewComponent {
    pub(super) kind: ComponentKind,
    pub(super) manifest: Value,
}

/// A component whose name is taken by an object that is not this cluster's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocked {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The result of applying a plan.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) blocked: Vec<Blocked>,
    /// A component was created, which the caches do not contain yet.
    pub(super) made: bool,
    /// A component existed already and has the labels that its watch selects by.
    pub(super) stands: bool,
    /// The scheduler is being replaced.
    pub(super) recreating: bool,
    /// The first error. The other components were attempted nevertheless.
    pub(super) error: Option<k8s::Error>,
}

/// Plans the creation of missing components and the updates of existing ones.
pub(super) fn plan(cluster: &ValidatedCluster, observed: &Observed, desired: &Desired) -> Plan {
    // No `..`: a component without a plan is a compile error.
    let Desired { scheduler, service, group } = desired;
    let mut plan = Plan::default();
    plan.component(cluster, observed.scheduler.as_ref(), scheduler, update::of_scheduler);
    plan.component(cluster, observed.service.as_ref(), service, update::of_service);
    plan.component(cluster, observed.group.as_ref(), group, update::of_group);
    plan.update.extend(update::of_pods(cluster, observed));
    // A component that was created but is not in the caches yet is not created again.
    plan.create.retain(|component| !observed.unseen.contains(&component.kind));
    plan
}

type Updater<K> = fn(&ValidatedCluster, &Arc<K>, &Component) -> Option<Update>;

impl Plan {
    fn component<K: Resource<DynamicType = ()>>(
        &mut self,
        cluster: &ValidatedCluster,
        live: Option<&Arc<K>>,
        wanted: &Component,
        updater: Updater<K>,
    ) {
        match live {
            None => self.create.push(NewComponent { kind: wanted.kind, manifest: wanted.manifest() }),
            Some(live) if !operator_runtime::k8s::is_controlled_by(live.as_ref(), &cluster.uid) => {
                self.blocked.push(blocked_by(&K::kind(&()), live.as_ref()));
            }
            // It is created again once its deletion is complete.
            Some(live) if live.meta().deletion_timestamp.is_some() => {}
            Some(live) => self.update.extend(updater(cluster, live, wanted)),
        }
    }
}

/// Describes what blocks a component. A left-over of an older cluster of the same name is waited for, never adopted.
fn blocked_by(kind: &str, live: &impl Resource) -> Blocked {
    let name = live.name_any();
    if meta::dask_controller(live, "DaskCluster").is_some() || live.meta().deletion_timestamp.is_some() {
        let message = format!("waiting until {kind} {name} of an older cluster of this name is gone");
        return Blocked { reason: "WaitingForDeletion", message };
    }
    let message = format!("{kind} {name} exists and does not belong to this cluster; delete it or rename the cluster");
    Blocked { reason: NAME_TAKEN, message }
}

/// What the components of a cluster are written with.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) client: &'a Client,
    pub(super) expectations: &'a Expectations,
}

pub(super) async fn apply(writer: Writer<'_>, cluster: &ValidatedCluster, plan: Plan) -> Outcome {
    let Plan { create, update, blocked } = plan;
    let recreating = update.iter().any(|update| matches!(update, Update::RecreateScheduler(_)));
    let mut outcome = Outcome { blocked, made: false, stands: false, recreating, error: None };
    let creations = join_all(create.iter().map(|component| create_one(writer, cluster, component))).await;
    for (creation, component) in creations.into_iter().zip(&create) {
        match creation {
            Ok(Creation::Made(_)) => outcome.made = true,
            Ok(Creation::Stands) => outcome.stands = true,
            Ok(Creation::Foreign(found)) => outcome.blocked.push(blocked_by(component.kind.name(), found.as_ref())),
            Err(error) => outcome.error = outcome.error.or(Some(error)),
        }
    }
    for result in join_all(update.into_iter().map(|update| write(writer.client, update))).await {
        outcome.error = outcome.error.or_else(|| result.err());
    }
    outcome
}

async fn create_one(
    writer: Writer<'_>,
    cluster: &ValidatedCluster,
    component: &NewComponent,
) -> Result<Creation, k8s::Error> {
    let Writer { client, expectations } = writer;
    let creating = expectations.begin(&cluster.namespace, component.kind.name()).await;
    let resource = component.kind.resource();
    let creation = k8s::create(client, &resource, &component.manifest, &cluster.uid).await?;
    if let Creation::Made(warned) = &creation {
        creating.made(&cluster.uid, component.manifest["metadata"]["name"].as_str().unwrap_or_default());
        if let Some(warned) = warned {
            record(client, component, warned).await;
        }
    }
    Ok(creation)
}

/// Records on a component what the API server warned about when it was created. A failure is only logged: the component
/// exists, and the warnings are lost.
async fn record(client: &Client, component: &NewComponent, warned: &Warned) {
    let note = component.kind.origin().of(&warned.warnings).to_json();
    let resource = component.kind.resource();
    let created = CreatedObject { resource: &resource, manifest: &component.manifest, uid: &warned.uid };
    let note = || k8s::annotate(client, created, meta::WARNINGS, &note);
    // Nothing else repeats this request: the API server warns only once.
    if let Err(error) = note().or_else(|_| note()).await {
        tracing::warn!(%error, "failed to record warnings of the API server");
    }
}

async fn write(client: &Client, update: Update) -> Result<(), k8s::Error> {
    let written = match update {
        Update::SchedulerMetadata(live, metadata) => merge(client, &live, metadata).await,
        Update::ServiceMetadata(live, metadata) => merge(client, &live, metadata).await,
        Update::GroupMetadata(live, metadata) => merge(client, &live, metadata).await,
        Update::ServiceSpec(live, operations) => patch(client, &live, operations, ComponentKind::Service).await,
        Update::GroupSpec(live, operations) => patch(client, &live, operations, ComponentKind::Group).await,
        Update::PodLabels(live, labels) => merge(client, &live, metadata("labels", labels)).await,
        Update::RecreateScheduler(live) => {
            let api: Api<DeploymentView> = api_of(client, live.as_ref());
            // Its name stays taken until its pod is gone, so that two schedulers never run at the same time.
            k8s::delete_foreground(&api, &live.name_any(), &live.uid().unwrap_or_default()).await
        }
    };
    match written {
        // It was deleted or changed in between, which triggers another pass.
        Err(error) if error.is_outdated() => Ok(()),
        result => result,
    }
}

fn api_of<K>(client: &Client, live: &K) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), &live.namespace().unwrap_or_default())
}

async fn merge<K>(client: &Client, live: &Arc<K>, metadata: Map<String, Value>) -> Result<(), k8s::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    k8s::merge(&api_of(client, live.as_ref()), live.as_ref(), json!({"metadata": metadata})).await.map(|_| ())
}

/// Patches the spec of a component, and records what the API server warned about. The patch itself removes an older
/// record.
async fn patch<K>(client: &Client, live: &Arc<K>, operations: Vec<Value>, kind: ComponentKind) -> Result<(), k8s::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let warnings = k8s::json_patch_warned(&api_of(client, live.as_ref()), live.as_ref(), operations).await?;
    if warnings.is_empty() {
        return Ok(());
    }
    let note = json!({meta::WARNINGS: kind.origin().of(&warnings).to_json()});
    merge(client, live, metadata("annotations", note)).await
}

/// Returns metadata with one field.
fn metadata(field: &str, value: Value) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert(field.to_owned(), value);
    metadata
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "literals read better at the call without a reference")]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{
        cluster::{build::build, validate::validate},
        test_fixtures::mk_cluster,
    };

    fn service(owner: Value) -> Observed {
        let service = json!({
            "metadata": {"name": "demo-scheduler", "namespace": "ns", "ownerReferences": owner},
        });
        Observed { service: Some(Arc::new(serde_json::from_value(service).unwrap())), ..Observed::default() }
    }

    fn owner(uid: &str) -> Value {
        json!([{"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "demo", "uid": uid, "controller": true}])
    }

    fn planned(observed: &Observed) -> Plan {
        let cluster = validate(&mk_cluster("demo")).unwrap();
        plan(&cluster, observed, &build(&cluster))
    }

    fn kinds(plan: &Plan) -> Vec<&str> {
        plan.create.iter().filter_map(|component| component.manifest["kind"].as_str()).collect()
    }

    #[test]
    fn missing_components_are_created() {
        assert_eq!(kinds(&planned(&Observed::default())), ["Deployment", "Service", "DaskWorkerGroup"]);
    }

    /// Without this, the API server would have to answer that it exists.
    #[test]
    fn a_component_that_is_not_in_the_cache_yet_is_not_created_again() {
        let observed = Observed { unseen: [ComponentKind::Service].into(), ..Observed::default() };
        assert_eq!(kinds(&planned(&observed)), ["Deployment", "DaskWorkerGroup"]);
    }

    #[test]
    fn an_existing_component_is_not_created() {
        let plan = planned(&service(owner("cluster-uid")));
        assert_eq!(kinds(&plan), ["Deployment", "DaskWorkerGroup"]);
        assert!(plan.blocked.is_empty());
    }

    /// Adopting it would let the garbage collector delete a running scheduler.
    #[test]
    fn a_left_over_of_an_older_cluster_of_the_same_name_is_waited_for() {
        let plan = planned(&service(owner("older-uid")));
        assert_eq!(kinds(&plan), ["Deployment", "DaskWorkerGroup"]);
        assert_eq!(plan.blocked[0].reason, "WaitingForDeletion");
    }

    #[test]
    fn an_object_of_another_owner_is_never_adopted() {
        let plan = planned(&service(json!([])));
        assert_eq!(kinds(&plan), ["Deployment", "DaskWorkerGroup"]);
        assert_eq!(plan.blocked[0].reason, "NameTaken");
    }
}
