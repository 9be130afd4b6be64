use futures::{StreamExt as _, stream};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::validate::ValidatedGroup;
use crate::{
    context::DeploymentView,
    crd::DaskWorkerGroup,
    k8s::{self, Force},
};

/// Deployments of one group that are made at the same time.
const PARALLEL: usize = 8;
/// The owner reference has a manager of its own, so that applying it does not give up other fields.
const OWNER_MANAGER: &str = "dask-operator/owner";

/// Puts the group under its cluster, then makes the workers; one that fails does not stop the others.
pub(super) async fn apply(
    client: &Client,
    group: &DaskWorkerGroup,
    valid: &ValidatedGroup,
    workers: Vec<Value>,
) -> Result<(), k8s::Error> {
    if let Some(owner) = &valid.adopt_by {
        let api: Api<DaskWorkerGroup> = Api::namespaced(client.clone(), &valid.namespace);
        let manifest = json!({
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskWorkerGroup",
            "metadata": {"name": valid.name, "uid": group.uid(), "ownerReferences": [owner]},
        });
        k8s::apply(&api, OWNER_MANAGER, Force::Yes, &manifest).await?;
    }
    let api: Api<DeploymentView> = Api::namespaced(client.clone(), &valid.namespace);
    let create = |worker: Value| {
        let api = api.clone();
        async move { k8s::apply(&api, k8s::FIELD_MANAGER, Force::No, &worker).await }
    };
    let results: Vec<Result<DeploymentView, k8s::Error>> =
        stream::iter(workers).map(create).buffer_unordered(PARALLEL).collect().await;
    results.into_iter().find_map(Result::err).map_or(Ok(()), Err)
}
