//! Removes plugins' finalizers from Dask resources before the controller is uninstalled. Otherwise they would block
//! the deletion of Dask resources for ever, since no controller is left to remove them.

use std::{collections::HashSet, fmt::Debug, io};

use dask_operator_api::{DaskAutoscaler, DaskCluster, DaskJob, DaskWorkerGroup};
use futures::{StreamExt as _, stream};
use kube::{Api, Client, Resource, ResourceExt as _, api::ListParams, core::NamespaceResourceScope};
use operator_runtime::{
    backoff,
    k8s::{self, Class},
    scope::Scope,
};
use serde::de::DeserializeOwned;

use super::finalizers;
use crate::model::key::identity_of;

/// How often the objects are listed. They may change in between, and the API server may be unavailable for a moment.
const ROUNDS: usize = 5;
/// How many objects of a list are in memory at a time. The finalizers of one object may exceed a megabyte.
const PAGE: u32 = 100;
/// How many requests run in parallel.
const PARALLEL: usize = 16;
/// How many objects are named in the error message.
const NAMED: usize = 20;

/// The reason why finalizers were left.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no usable kubeconfig and no ServiceAccount.
    #[error("cannot connect to the Kubernetes API server: {0}")]
    Client(#[from] kube::Error),
    /// Some finalizers could not be removed, or the objects of some kinds could not be listed.
    #[error("{}", sentence(.0))]
    Left(Vec<String>),
    /// The summary could not be printed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// The result of the command.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    /// The number of removed finalizers.
    released: usize,
    /// One sentence for each object or list that failed.
    failures: Vec<String>,
}

/// Removes plugins' finalizers, and no others, from the Dask resources of `scope`. Prints how many were removed. An
/// error with one object or kind does not stop the others; all errors are returned at the end.
///
/// The controller must not be running, because it would add the finalizers again.
pub async fn release_finalizers(scope: &Scope, output: &mut impl io::Write) -> Result<(), Error> {
    let client = Client::try_default().await?;
    let Report { released, failures } = release_all(&client, scope).await;
    writeln!(output, "finalizers removed from Dask resources: {released}")?;
    if failures.is_empty() { Ok(()) } else { Err(Error::Left(failures)) }
}

/// The objects of one namespace, or of all that the field selector lets through.
#[derive(Clone, Copy)]
struct Part<'a> {
    namespace: Option<&'a str>,
    fields: Option<&'a str>,
}

async fn release_all(client: &Client, scope: &Scope) -> Report {
    let mut report = Report::default();
    let fields = scope.field_selector();
    for namespace in scope.parts() {
        let part = Part { namespace, fields: fields.as_deref() };
        release_kind::<DaskCluster>(client, part, &mut report).await;
        release_kind::<DaskWorkerGroup>(client, part, &mut report).await;
        release_kind::<DaskJob>(client, part, &mut report).await;
        release_kind::<DaskAutoscaler>(client, part, &mut report).await;
    }
    report
}

/// Processes all objects of a kind until none has a plugin's finalizer, at most [`ROUNDS`] times.
async fn release_kind<K>(client: &Client, Part { namespace, fields }: Part<'_>, report: &mut Report)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut failures = Vec::new();
    for round in 1..=ROUNDS {
        let found = go_through(client, &api, fields).await;
        report.released += found.released;
        failures = found.failures;
        if failures.is_empty() {
            return;
        }
        if round < ROUNDS {
            tokio::time::sleep(backoff::delay(round)).await;
        }
    }
    report.failures.append(&mut failures);
}

/// Removes the finalizers from each object once.
async fn go_through<K>(client: &Client, api: &Api<K>, fields: Option<&str>) -> Report
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let (plural, mut report, mut params) = (K::plural(&()), Report::default(), ListParams::default().limit(PAGE));
    params.field_selector = fields.map(str::to_owned);
    loop {
        let found = match k8s::timed("list", &plural, api.list_metadata(&params)).await {
            Ok(found) => found,
            // The CustomResourceDefinition was deleted, and with it all its objects.
            Err(error) if error.class() == Class::NotFound => return report,
            Err(error) => {
                report.failures.push(error.message());
                return report;
            }
        };
        let held = found.items.iter().filter_map(|object| Some((object, of_plugins(object)?)));
        let releases = held.map(|(object, names)| async move {
            let result = finalizers::release(client, object, &names).await;
            (object, names.len(), result)
        });
        let mut results = stream::iter(releases).buffer_unordered(PARALLEL);
        while let Some((object, count, result)) = results.next().await {
            let name = || format!("{} {}/{}", K::kind(&()), object.namespace().unwrap_or_default(), object.name_any());
            match result {
                Ok(true) => report.released += count,
                Ok(false) => report.failures.push(format!("{} has changed in the meantime", name())),
                Err(error) => report.failures.push(format!("{}: {}", name(), error.message())),
            }
        }
        params.continue_token = found.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return report;
        }
    }
}

/// Returns the plugins' finalizers of `object`, if it has any.
fn of_plugins(object: &impl Resource) -> Option<HashSet<String>> {
    let ours = object.finalizers().iter().filter(|finalizer| identity_of(finalizer).is_some());
    let ours: HashSet<String> = ours.cloned().collect();
    (!ours.is_empty()).then_some(ours)
}

fn sentence(failures: &[String]) -> String {
    let named = failures.get(..NAMED).unwrap_or(failures).join("\n  ");
    let more = match failures.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("\n  and {more} more"),
    };
    format!("some finalizers of plugins remain; run this again:\n  {named}{more}")
}

#[cfg(test)]
mod tests;
