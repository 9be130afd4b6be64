use kube::{
    Api, ResourceExt as _,
    api::{DynamicObject, PostParams},
};

use super::{Template, made::Begun};
use crate::{
    Error,
    lab::{Kind, Lab},
};

/// Writes the objects of the cluster `name`, one after the other: owners first, since a child without its owner
/// would be collected.
pub(super) async fn write(lab: &Lab<'_>, template: &Template, name: &str, begun: &Begun) -> Result<(), Error> {
    begun.note(name);
    let cluster = post(lab, Kind::DaskCluster, template.cluster(name)?).await?;
    for (kind, object) in template.components(name, &cluster)? {
        post(lab, kind, object).await?;
    }
    let group = post(lab, Kind::DaskWorkerGroup, template.group(name, &cluster)?).await?;
    for worker in template.workers(name, &cluster, &group)? {
        post(lab, Kind::Deployment, worker).await?;
    }
    Ok(())
}

/// Writes one object with the account of an operator; its uid.
async fn post(lab: &Lab<'_>, kind: Kind, object: DynamicObject) -> Result<String, Error> {
    let client = lab.bench.account.client.clone();
    let api: Api<DynamicObject> = Api::namespaced_with(client, &lab.namespace, &kind.resource());
    Ok(api.create(&PostParams::default(), &object).await?.uid().unwrap_or_default())
}
