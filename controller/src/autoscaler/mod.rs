//! The DaskAutoscaler reconciler.

use std::sync::Arc;

use kube::runtime::controller::Action;

use crate::{context::Context, crd::DaskAutoscaler, k8s};

/// Why a pass ended early. Each variant is tried again with growing delays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something could not be written.
    #[error(transparent)]
    Apply(k8s::Error),
}

impl Error {
    /// A constant word for metrics and logs.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Apply(error) => error.category(),
        }
    }
}

/// Brings one DaskAutoscaler a step closer to its spec.
pub async fn reconcile(_: Arc<DaskAutoscaler>, _: Arc<Context>) -> Result<Action, Error> {
    Ok(Action::await_change())
}
