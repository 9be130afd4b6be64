//! The objects of one DaskCluster as the operator creates them, to be copied by the baseline client.

use kube::{
    ResourceExt as _,
    api::{DynamicObject, ListParams},
};
use serde_json::Value;

use crate::{
    Error,
    cluster::{BenchNamespace, Kind},
    wait::wait_until,
};

/// Name of the cluster that is copied. The word must not occur anywhere else in its objects, since it is replaced.
pub(super) const NAME: &str = "original";
/// Metadata that the API server sets.
const SERVER_FIELDS: [&str; 5] = ["creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"];

/// The objects of one cluster as JSON. Each copy gets its own name and owner uids.
pub(crate) struct Template {
    cluster: String,
    cluster_uid: String,
    group: String,
    group_uid: String,
    components: Vec<(Kind, String)>,
    workers: Vec<String>,
}

/// The uids of the owners of a copy.
pub(super) struct OwnerUids<'a> {
    pub(super) cluster: &'a str,
    pub(super) group: &'a str,
}

impl Template {
    /// Waits for the objects of the cluster [`NAME`] and reads them.
    pub(super) async fn read(namespace: &BenchNamespace<'_>, workers: usize) -> Result<Self, Error> {
        let deployments =
            async || Ok::<_, Error>(namespace.api(Kind::Deployment).list(&ListParams::default()).await?.items);
        wait_until("the workers of the template", async || Ok(deployments().await?.len() == 1 + workers)).await?;
        let (scheduler, worker_deployments): (Vec<_>, Vec<_>) = deployments()
            .await?
            .into_iter()
            .partition(|deployment| deployment.name_any() == format!("{NAME}-scheduler"));
        let service = namespace.api(Kind::Service).get(&format!("{NAME}-scheduler")).await?;
        let group = namespace.api(Kind::DaskWorkerGroup).get(&format!("{NAME}-default")).await?;
        let cluster = namespace.api(Kind::DaskCluster).get(NAME).await?;
        let components = scheduler.iter().map(|scheduler| (Kind::Deployment, scheduler));
        let components = components.chain([(Kind::Service, &service)]);
        Ok(Self {
            cluster: without_server_fields(&cluster)?,
            cluster_uid: cluster.uid().unwrap_or_default(),
            group: without_server_fields(&group)?,
            group_uid: group.uid().unwrap_or_default(),
            components: components
                .map(|(kind, object)| Ok((kind, without_server_fields(object)?)))
                .collect::<Result<_, Error>>()?,
            workers: worker_deployments.iter().map(without_server_fields).collect::<Result<_, Error>>()?,
        })
    }

    pub(super) fn cluster(&self, name: &str) -> Result<DynamicObject, Error> {
        self.copy(&self.cluster, name, &OwnerUids { cluster: "", group: "" })
    }

    pub(super) fn components(&self, name: &str, cluster: &str) -> Result<Vec<(Kind, DynamicObject)>, Error> {
        let owners = OwnerUids { cluster, group: "" };
        self.components.iter().map(|(kind, text)| Ok((*kind, self.copy(text, name, &owners)?))).collect()
    }

    pub(super) fn group(&self, name: &str, cluster: &str) -> Result<DynamicObject, Error> {
        self.copy(&self.group, name, &OwnerUids { cluster, group: "" })
    }

    pub(super) fn workers(&self, name: &str, owners: &OwnerUids<'_>) -> Result<Vec<DynamicObject>, Error> {
        self.workers.iter().map(|text| self.copy(text, name, owners)).collect()
    }

    fn copy(&self, text: &str, name: &str, owners: &OwnerUids<'_>) -> Result<DynamicObject, Error> {
        let text = text.replace(NAME, name);
        let text = text.replace(&self.cluster_uid, owners.cluster).replace(&self.group_uid, owners.group);
        let mut object: DynamicObject = serde_json::from_str(&text)?;
        object.metadata.namespace = None;
        Ok(object)
    }
}

/// Returns the object as JSON without the fields that the API server sets. The namespace stays part of the scheduler's
/// address: all namespaces of the bench have names of the same length, so the copies have the right size.
fn without_server_fields(object: &DynamicObject) -> Result<String, Error> {
    let mut object = serde_json::to_value(object)?;
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| !SERVER_FIELDS.contains(&field.as_str()));
    }
    if let Some(whole) = object.as_object_mut() {
        whole.remove("status");
    }
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.retain(|field, _| !field.starts_with("clusterIP"));
    }
    Ok(Value::to_string(&object))
}
