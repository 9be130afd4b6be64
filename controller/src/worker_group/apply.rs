use futures::{StreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client, ResourceExt as _, core::ApiResource};
use serde_json::{Value, json};

use super::validate::ValidatedGroup;
use crate::{
    crd::DaskWorkerGroup,
    k8s::{self, Creation, Force},
};

/// Deployments of one group that are made at the same time.
const PARALLEL: usize = 8;
/// The owner reference has a manager of its own, so that applying it does not give up other fields.
const OWNER_MANAGER: &str = "dask-operator/owner";

/// Why a group is not as wanted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error("{}", .0.message())]
    Api(#[from] k8s::Error),
    /// A worker's name is taken.
    #[error("Deployment {0} exists and does not belong to this group; delete it")]
    NameTaken(String),
}

impl Error {
    /// A constant word for conditions, metrics and logs.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Api(error) => error.category(),
            Self::NameTaken(_) => "NameTaken",
        }
    }
}

/// Puts the group under its cluster, then makes the workers; one that fails does not stop the others.
pub(super) async fn apply(
    client: &Client,
    group: &DaskWorkerGroup,
    valid: &ValidatedGroup,
    workers: Vec<Value>,
) -> Result<(), Error> {
    if let Some(owner) = &valid.adopt_by {
        let api: Api<DaskWorkerGroup> = Api::namespaced(client.clone(), &valid.namespace);
        let manifest = json!({
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskWorkerGroup",
            "metadata": {"name": valid.name, "uid": group.uid(), "ownerReferences": [owner]},
        });
        k8s::apply(&api, OWNER_MANAGER, Force::Yes, &manifest).await?;
    }
    let create = |worker: Value| {
        let (client, owner) = (client.clone(), valid.owner.uid.clone());
        async move {
            match k8s::create(&client, &ApiResource::erase::<Deployment>(&()), &worker, &owner).await? {
                Creation::Ours => Ok(()),
                Creation::Foreign(found) => Err(Error::NameTaken(found.name_any())),
            }
        }
    };
    let results: Vec<Result<(), Error>> = stream::iter(workers).map(create).buffer_unordered(PARALLEL).collect().await;
    results.into_iter().find_map(Result::err).map_or(Ok(()), Err)
}
