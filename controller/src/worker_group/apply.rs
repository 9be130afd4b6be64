use std::sync::Arc;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, ResourceExt as _, core::ApiResource};
use serde_json::{Map, Value, json};

use super::{
    build,
    observe::{Observed, WORKER},
    scale::WorkerId,
    validate::ValidatedGroup,
};
use crate::{
    context::Context,
    crd::DaskWorkerGroup,
    k8s::{self, Class, Creation, Force},
    view::DeploymentView,
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
    /// Whether the API server said no, and will say so again.
    fn is_refusal(&self) -> bool {
        let refusals = [Class::Forbidden, Class::NamespaceEnding, Class::Invalid, Class::Throttled, Class::NotFound];
        matches!(self, Self::Api(error) if refusals.contains(&error.class()))
    }

    /// Whether nothing can be made any more, and the group goes as well.
    pub(super) fn is_of_ending_namespace(&self) -> bool {
        matches!(self, Self::Api(error) if error.class() == Class::NamespaceEnding)
    }

    /// A constant word for conditions, metrics and logs.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Api(error) => error.category(),
            Self::NameTaken(_) => "NameTaken",
        }
    }
}

/// What is to be written about workers.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// Deployments to make.
    pub(super) create: Vec<Value>,
    /// Deployments whose labels or annotations are out of date, with what changes.
    pub(super) update: Vec<(Arc<DeploymentView>, Map<String, Value>)>,
}

/// What `observed` lacks.
pub(super) fn writes(valid: &ValidatedGroup, observed: &Observed, create: &[WorkerId]) -> Writes {
    let update = |worker: &Arc<DeploymentView>| {
        let patch = build::propagated(valid, &worker.metadata).patch(&worker.metadata)?;
        Some((Arc::clone(worker), patch))
    };
    Writes {
        create: create.iter().map(|id| build::build_worker(valid, id)).collect(),
        update: observed.deployments.iter().filter_map(update).collect(),
    }
}

/// Puts the group under its cluster, then makes the workers; one that fails does not stop the others. Says whether any
/// was made now.
pub(super) async fn apply(
    context: &Context,
    group: &DaskWorkerGroup,
    valid: &ValidatedGroup,
    writes: Writes,
) -> Result<bool, Error> {
    let client = &context.client;
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
    let update = |(worker, metadata): (Arc<DeploymentView>, Map<String, Value>)| {
        let api = api.clone();
        async move {
            match k8s::merge(&api, &worker, json!({"metadata": metadata})).await {
                // It has gone in between.
                Err(error) if error.class() == Class::NotFound => Ok(()),
                result => result.map(|_| ()).map_err(Error::Api),
            }
        }
    };
    let create = |worker: Value| {
        let (client, owner) = (client.clone(), valid.owner.uid.clone());
        async move {
            let _creating = context.creations.begin(WORKER).await;
            match k8s::create(&client, &ApiResource::erase::<Deployment>(&()), &worker, &owner).await? {
                Creation::Made => {
                    let name = worker["metadata"]["name"].as_str().unwrap_or_default();
                    context.creations.made((WORKER, &owner), name);
                    Ok(true)
                }
                Creation::Stands => Ok(false),
                Creation::Foreign(found) => Err(Error::NameTaken(found.name_any())),
            }
        }
    };
    // In order, so that the same trouble always has the same words: else each pass would write the status. And
    // no further than the first refusal: a quota that refuses one worker refuses the other thousand too.
    let mut created = Ok(false);
    let mut creations = stream::iter(writes.create).map(create).buffered(PARALLEL);
    while let Some(result) = creations.next().await {
        let refused = result.as_ref().is_err_and(Error::is_refusal);
        created = created.and_then(|before| result.map(|made| before || made));
        if refused {
            break;
        }
    }
    let updated = stream::iter(writes.update).map(update).buffered(PARALLEL).collect::<Vec<_>>().await;
    updated.into_iter().fold(created, |before, result| before.and_then(|made| result.map(|()| made)))
}
