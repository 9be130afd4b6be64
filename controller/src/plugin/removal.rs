//! When the controller is removed for good: plugins' finalizers would hold Dask resources for ever, since nobody is
//! left to take them off.

use std::{fmt::Debug, io};

use kube::{Api, Client, Resource, ResourceExt as _, api::ListParams, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;

use super::{finalize, finalizers};
use crate::{
    args::ReleaseArgs,
    crd::{DaskAutoscaler, DaskCluster, DaskJob, DaskWorkerGroup},
    k8s::{self, Class},
    scope::Scope,
};

/// How often is looked again: once for each finalizer of an object, and for objects that change in between.
const ROUNDS: usize = 20;

/// Why finalizers were left.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no usable kubeconfig and no ServiceAccount.
    #[error("cannot connect to the Kubernetes API server: {0}")]
    Client(#[from] kube::Error),
    /// A call to the API server failed.
    #[error("{}", .0.message())]
    Call(#[from] k8s::Error),
    /// The summary could not be printed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Takes plugins' finalizers, and no others, off the Dask resources of the given namespaces, or of all of them, and
/// prints how many. A controller that still runs would put them on again.
pub async fn release_finalizers(args: &ReleaseArgs, output: &mut impl io::Write) -> Result<(), Error> {
    let client = Client::try_default().await?;
    let (scope, mut released) = (Scope::of(args.namespaces.iter().map(String::as_str)), 0);
    for namespace in scope.parts() {
        released += release_all::<DaskCluster>(&client, namespace).await?;
        released += release_all::<DaskWorkerGroup>(&client, namespace).await?;
        released += release_all::<DaskJob>(&client, namespace).await?;
        released += release_all::<DaskAutoscaler>(&client, namespace).await?;
    }
    writeln!(output, "finalizers taken off Dask resources: {released}")?;
    Ok(())
}

async fn release_all<K>(client: &Client, namespace: Option<&str>) -> Result<usize, k8s::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let plural = K::plural(&());
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut released = 0;
    for _ in 0..ROUNDS {
        let found = match k8s::timed("list", &plural, api.list_metadata(&ListParams::default())).await {
            // The definition has gone, and all objects with it.
            Err(error) if error.class() == Class::NotFound => return Ok(released),
            result => result?,
        };
        let mut left = false;
        for object in &found.items {
            let Some(finalizer) = of_a_plugin(object) else { continue };
            left = true;
            released += usize::from(finalizers::release(client, object, finalizer).await?);
        }
        if !left {
            return Ok(released);
        }
    }
    Err(k8s::Error::Outdated { object: format!("the finalizers of {plural}") })
}

fn of_a_plugin(object: &impl Resource) -> Option<&String> {
    object.finalizers().iter().find(|finalizer| finalize::identity_of(finalizer).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_fixtures::mk_cluster;

    #[test]
    fn finalizers_of_plugins_are_told_from_others() {
        let mut cluster = mk_cluster("demo");
        assert_eq!(of_a_plugin(&cluster), None);
        let (other, ours) = ("kubernetes.dask.org/other".to_owned(), "plugin.kubernetes.dask.org/echo".to_owned());
        cluster.metadata.finalizers = Some(vec![other.clone()]);
        assert_eq!(of_a_plugin(&cluster), None);
        cluster.metadata.finalizers = Some(vec![other, ours.clone()]);
        assert_eq!(of_a_plugin(&cluster), Some(&ours));
    }
}
