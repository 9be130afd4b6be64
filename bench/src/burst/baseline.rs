//! The baseline: a client that writes the same objects as the operator, and does nothing else.

use kube::{
    Api, ResourceExt as _,
    api::{DynamicObject, PostParams},
};

use super::{
    observer::StartTimes,
    template::{OwnerUids, Template},
};
use crate::{
    Error,
    cluster::{BenchNamespace, Kind},
};

/// Writes the objects of the DaskCluster `name`, one after the other. Owners are written first, because a child without
/// its owner would be garbage-collected.
pub(super) async fn write(
    namespace: &BenchNamespace<'_>,
    template: &Template,
    name: &str,
    started: &StartTimes,
) -> Result<(), Error> {
    started.record(name);
    let cluster = create(namespace, Kind::DaskCluster, template.cluster(name)?).await?;
    for (kind, object) in template.components(name, &cluster)? {
        create(namespace, kind, object).await?;
    }
    let group = create(namespace, Kind::DaskWorkerGroup, template.group(name, &cluster)?).await?;
    for worker in template.workers(name, &OwnerUids { cluster: &cluster, group: &group })? {
        create(namespace, Kind::Deployment, worker).await?;
    }
    Ok(())
}

/// Creates one object with the operator's account. Returns its uid.
async fn create(namespace: &BenchNamespace<'_>, kind: Kind, object: DynamicObject) -> Result<String, Error> {
    let client = namespace.cluster.account.client.clone();
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace.name, &kind.resource());
    Ok(api.create(&PostParams::default(), &object).await?.uid().unwrap_or_default())
}
