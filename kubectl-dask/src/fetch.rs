//! Reads objects. What the user may not read becomes a gap, and the rest is read nevertheless.

use std::time::Duration;

use dask_operator_api::{DaskAutoscaler, DaskCluster, DaskJob, DaskOperatorPlugin, DaskWorkerGroup, meta};
use futures::future::join;
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Event, Namespace, PersistentVolumeClaim, Pod, ResourceQuota},
};
use kube::{
    Api,
    api::{DynamicObject, ListParams},
    core::ApiResource,
};
use serde_json::Value;

use crate::{
    access::Connection,
    error::{Error, explain},
    json::{list as values, name, text},
    progress::Progress,
    snapshot::{Gap, Snapshot},
};

/// Time limit of one request.
const LIMIT: Duration = Duration::from_secs(30);

/// Where and what to list.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scope<'a> {
    pub(crate) all_namespaces: bool,
    pub(crate) labels: &'a str,
}

/// Returns the description of a kind of the Dask group or of Kubernetes.
pub(crate) fn resource<K: kube::Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

/// Lists the objects of a kind.
pub(crate) async fn list(connection: &Connection, resource: &ApiResource, scope: Scope<'_>) -> Result<Vec<Value>, Gap> {
    let api: Api<DynamicObject> = if scope.all_namespaces {
        Api::all_with(connection.client.clone(), resource)
    } else {
        connection.untyped(resource)
    };
    let place =
        if scope.all_namespaces { "all namespaces".to_owned() } else { format!("namespace {}", connection.namespace) };
    let gap = |why: String| Gap { resource: resource.plural.clone(), why };
    let action = format!("list {} in {place}", resource.plural);
    let params = ListParams::default().labels(scope.labels);
    match tokio::time::timeout(LIMIT, api.list(&params)).await {
        Ok(Ok(list)) => Ok(list.items.into_iter().map(|object| to_json(object, resource)).collect()),
        Ok(Err(error)) => Err(gap(explain(&action, &error))),
        Err(_) => Err(gap(format!("to {action} took more than {} s", LIMIT.as_secs()))),
    }
}

/// Returns one object, or `None` if it does not exist.
pub(crate) async fn get(api: &Api<DynamicObject>, resource: &ApiResource, name: &str) -> Result<Option<Value>, Gap> {
    let gap = |why: String| Gap { resource: resource.plural.clone(), why };
    let action = format!("get {} {name}", resource.plural);
    match tokio::time::timeout(LIMIT, api.get_opt(name)).await {
        Ok(Ok(object)) => Ok(object.map(|object| to_json(object, resource))),
        Ok(Err(error)) => Err(gap(explain(&action, &error))),
        Err(_) => Err(gap(format!("to {action} took more than {} s", LIMIT.as_secs()))),
    }
}

fn to_json(object: DynamicObject, resource: &ApiResource) -> Value {
    let mut object = serde_json::to_value(object).unwrap_or_default();
    // Objects in lists do not say what they are.
    object["apiVersion"] = resource.api_version.clone().into();
    object["kind"] = resource.kind.clone().into();
    object
}

/// Returns the DaskCluster. Fails if it does not exist or cannot be read.
pub(crate) async fn cluster(connection: &Connection, cluster: &str) -> Result<Value, Error> {
    let resource = resource::<DaskCluster>();
    let found = get(&connection.untyped(&resource), &resource, cluster).await.map_err(|gap| Error::Refused(gap.why))?;
    found.ok_or_else(|| missing(connection, cluster))
}

pub(crate) fn missing(connection: &Connection, cluster: &str) -> Error {
    Error::NotFound(format!("DaskCluster {cluster} in namespace {}", connection.namespace))
}

/// Lists plugins of all namespaces, or of the own namespace if the user may not list all.
pub(crate) async fn plugins(connection: &Connection) -> Result<Vec<Value>, Gap> {
    let resource = resource::<DaskOperatorPlugin>();
    let everywhere = Scope { all_namespaces: true, labels: "" };
    match list(connection, &resource, everywhere).await {
        Ok(plugins) => Ok(plugins),
        Err(gap) => list(connection, &resource, Scope::default()).await.map_err(|_| gap),
    }
}

/// Reads all that `why` and `report` look at.
pub(crate) async fn snapshot(connection: &Connection, cluster: &str) -> Snapshot {
    let _progress = Progress::start("reading the cluster and what belongs to it");
    let mut seen = Snapshot {
        now: Timestamp::now(),
        namespace: connection.namespace.clone(),
        options: connection.options.clone(),
        name: cluster.to_owned(),
        ..Snapshot::default()
    };
    let labels = format!("{}={cluster}", meta::CLUSTER_NAME);
    let own = Scope { all_namespaces: false, labels: &labels };
    let all = Scope::default();
    let cluster_kind = resource::<DaskCluster>();
    let job_kind = resource::<DaskJob>();
    let namespace_kind = resource::<Namespace>();
    let namespaces: Api<DynamicObject> = Api::all_with(connection.client.clone(), &namespace_kind);
    let (clusters, jobs) = (connection.untyped(&cluster_kind), connection.untyped(&job_kind));
    let ((found, job), namespace) = join(
        join(get(&clusters, &cluster_kind, cluster), get(&jobs, &job_kind, cluster)),
        get(&namespaces, &namespace_kind, &connection.namespace),
    )
    .await;
    seen.cluster = seen.keep(found);
    seen.job = seen.keep(job);
    seen.namespace_object = seen.keep(namespace);
    seen.groups = of_cluster(seen.keep(list(connection, &resource::<DaskWorkerGroup>(), all).await), cluster);
    seen.autoscalers = of_cluster(seen.keep(list(connection, &resource::<DaskAutoscaler>(), all).await), cluster);
    seen.pods = seen.keep(list(connection, &resource::<Pod>(), own).await);
    seen.deployments = seen.keep(list(connection, &resource::<Deployment>(), own).await);
    seen.claims = seen.keep(list(connection, &resource::<PersistentVolumeClaim>(), all).await);
    seen.quotas = seen.keep(list(connection, &resource::<ResourceQuota>(), all).await);
    let events = seen.keep(list(connection, &resource::<Event>(), all).await);
    seen.events = events.into_iter().filter(|event| concerns(event, &seen)).collect();
    seen.plugins = seen.keep(plugins(connection).await);
    seen
}

impl Snapshot {
    fn keep<T: Default>(&mut self, read: Result<T, Gap>) -> T {
        read.unwrap_or_else(|gap| {
            self.gaps.push(gap);
            T::default()
        })
    }
}

fn of_cluster(mut objects: Vec<Value>, cluster: &str) -> Vec<Value> {
    objects.retain(|object| text(object, "/spec/cluster") == cluster);
    objects
}

/// Returns whether an Event is about an object of the cluster, or a volume claim that its pods mount.
fn concerns(event: &Value, seen: &Snapshot) -> bool {
    let about = text(event, "/involvedObject/name");
    let is_part = about.strip_prefix(seen.name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    let mounts = |pod: &Value| {
        values(pod, "/spec/volumes").iter().any(|volume| text(volume, "/persistentVolumeClaim/claimName") == about)
    };
    is_part || seen.groups.iter().any(|group| about.starts_with(name(group))) || seen.pods.iter().any(mounts)
}
