//! The DaskWorkerGroup reconciler: one Deployment of one pod for each worker.
//!
//! observe → validate → scale → build → apply → status; only `observe`, `apply` and `status` hold a client.

mod apply;
mod build;
mod observe;
mod scale;
mod status;
mod validate;

use std::sync::Arc;

use jiff::Timestamp;
use kube::runtime::controller::Action;

use crate::{context::Context, crd::DaskWorkerGroup, k8s};

/// Why a pass ended early. Each variant is tried again with growing delays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The workers could not be counted.
    #[error(transparent)]
    Observe(k8s::Error),
    /// A worker could not be made, or the group not be put under its cluster.
    #[error(transparent)]
    Apply(#[from] apply::Error),
    /// The status could not be written.
    #[error(transparent)]
    Status(k8s::Error),
}

impl Error {
    /// A constant word for metrics and logs.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Observe(error) | Self::Status(error) => error.category(),
            Self::Apply(error) => error.category(),
        }
    }
}

/// Brings one DaskWorkerGroup a step closer to its spec.
pub async fn reconcile(group: Arc<DaskWorkerGroup>, context: Arc<Context>) -> Result<Action, Error> {
    if group.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change()); // Kubernetes' garbage collector does the rest.
    }
    let observed = observe::observe(&group, &context).await.map_err(Error::Observe)?;
    let valid = match validate::validate(&group, &observed, &context.defaults.cluster_domain) {
        Ok(valid) => valid,
        Err(invalid) => {
            let desired = status::of_invalid(&group, &observed, &invalid, Timestamp::now());
            status::write(&context, &group, desired).await.map_err(Error::Status)?;
            return Ok(Action::await_change()); // The group is looked at again when its cluster appears.
        }
    };
    let plan = scale::plan(valid.replicas, &observed.workers);
    let manifests = plan.create.iter().map(|id| build::build_worker(&valid, id)).collect();
    let error = apply::apply(&context.client, &group, &valid, manifests).await.err();
    let desired = status::of_observed(&group, &observed, &plan, error.as_ref(), Timestamp::now());
    status::write(&context, &group, desired).await.map_err(Error::Status)?;
    match error {
        Some(error) => Err(Error::Apply(error)),
        None => Ok(Action::await_change()),
    }
}
