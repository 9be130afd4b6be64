use kube::{
    ResourceExt as _,
    api::{DynamicObject, ListParams},
};
use serde_json::Value;

use crate::{
    Error,
    lab::{Kind, Lab, until},
};

/// Name of the cluster that is copied: a word that stands nowhere else in its objects.
pub(super) const NAME: &str = "original";
/// What the API server adds by itself.
const SERVERS: [&str; 5] = ["creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"];

/// The objects of one cluster, with a name and uids that are replaced in each copy.
pub(crate) struct Template {
    cluster: String,
    cluster_uid: String,
    group: String,
    group_uid: String,
    components: Vec<(Kind, String)>,
    workers: Vec<String>,
}

impl Template {
    /// The objects of the cluster `NAME` in `lab`, when all are there.
    pub(super) async fn of(lab: &Lab<'_>, workers: usize) -> Result<Self, Error> {
        let deployments = async || Ok::<_, Error>(lab.api(Kind::Deployment).list(&ListParams::default()).await?.items);
        until("the original's workers", async || Ok(deployments().await?.len() == 1 + workers)).await?;
        let (scheduler, made): (Vec<_>, Vec<_>) = deployments()
            .await?
            .into_iter()
            .partition(|deployment| deployment.name_any() == format!("{NAME}-scheduler"));
        let service = lab.api(Kind::Service).get(&format!("{NAME}-scheduler")).await?;
        let group = lab.api(Kind::DaskWorkerGroup).get(&format!("{NAME}-default")).await?;
        let cluster = lab.api(Kind::DaskCluster).get(NAME).await?;
        let components = scheduler.iter().map(|scheduler| (Kind::Deployment, scheduler));
        let components = components.chain([(Kind::Service, &service)]);
        Ok(Self {
            cluster: stripped(&cluster)?,
            cluster_uid: cluster.uid().unwrap_or_default(),
            group: stripped(&group)?,
            group_uid: group.uid().unwrap_or_default(),
            components: components.map(|(kind, object)| Ok((kind, stripped(object)?))).collect::<Result<_, Error>>()?,
            workers: made.iter().map(stripped).collect::<Result<_, Error>>()?,
        })
    }

    pub(super) fn cluster(&self, name: &str) -> Result<DynamicObject, Error> {
        self.copy(&self.cluster, name, ["", ""])
    }

    pub(super) fn components(&self, name: &str, cluster: &str) -> Result<Vec<(Kind, DynamicObject)>, Error> {
        self.components.iter().map(|(kind, text)| Ok((*kind, self.copy(text, name, [cluster, ""])?))).collect()
    }

    pub(super) fn group(&self, name: &str, cluster: &str) -> Result<DynamicObject, Error> {
        self.copy(&self.group, name, [cluster, ""])
    }

    pub(super) fn workers(&self, name: &str, cluster: &str, group: &str) -> Result<Vec<DynamicObject>, Error> {
        self.workers.iter().map(|text| self.copy(text, name, [cluster, group])).collect()
    }

    fn copy(&self, text: &str, name: &str, [cluster, group]: [&str; 2]) -> Result<DynamicObject, Error> {
        let text = text.replace(NAME, name).replace(&self.cluster_uid, cluster).replace(&self.group_uid, group);
        let mut object: DynamicObject = serde_json::from_str(&text)?;
        object.metadata.namespace = None;
        Ok(object)
    }
}

/// As JSON, without what the API server added. The namespace is part of a scheduler's address, as long as any other.
fn stripped(object: &DynamicObject) -> Result<String, Error> {
    let mut object = serde_json::to_value(object)?;
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| !SERVERS.contains(&field.as_str()));
    }
    if let Some(whole) = object.as_object_mut() {
        whole.remove("status");
    }
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.retain(|field, _| !field.starts_with("clusterIP"));
    }
    Ok(Value::to_string(&object))
}
