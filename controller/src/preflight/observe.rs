//! Queries the API server about the served kinds and the controller's permissions.

use std::collections::{BTreeSet, HashSet};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use kube::Client;
use operator_runtime::k8s::{self, Class};

use super::{
    rights::{At, Right},
    served::{GROUP, Served},
};

/// How many permissions are checked at the same time.
const PARALLEL: usize = 16;
/// The versions of the API group that the controller supports.
const VERSIONS: [&str; 2] = ["v1", "v1alpha1"];

/// Returns the Dask kinds that are served. Kubernetes lets every account read this, unless an administrator has revoked
/// it.
pub(super) async fn served(client: &Client) -> Result<Served, k8s::Error> {
    let mut resources = BTreeSet::new();
    for version in VERSIONS {
        let group_version = format!("{GROUP}/{version}");
        match k8s::timed("discover", &group_version, client.list_api_group_resources(&group_version)).await {
            Ok(list) => resources.extend(list.resources.into_iter().map(|resource| resource.name)),
            Err(error) if error.class() == Class::NotFound => {}
            Err(error) if error.code() == Some(403) => return Ok(Served::Unknown),
            Err(error) => return Err(error),
        }
    }
    Ok(Served::Known(resources))
}

/// Returns the permissions in `rights` that are missing. Granted ones are added to `granted` and not checked again. The
/// first call that fails ends the round.
pub(super) async fn denied<'a>(
    client: &Client,
    rights: impl Iterator<Item = &'a Right>,
    granted: &mut HashSet<Right>,
) -> Result<BTreeSet<&'a Right>, k8s::Error> {
    let open: Vec<&Right> = rights.filter(|right| !granted.contains(right)).collect();
    let ask = |right| async move { (right, k8s::may(client, attributes(right)).await) };
    let mut answers = stream::iter(open.into_iter().map(ask)).buffer_unordered(PARALLEL);
    let mut denied = BTreeSet::new();
    while let Some((right, allowed)) = answers.next().await {
        if allowed? {
            granted.insert(right.clone());
        } else {
            denied.insert(right);
        }
    }
    Ok(denied)
}

fn attributes(right: &Right) -> ResourceAttributes {
    ResourceAttributes {
        group: Some(right.group.to_owned()),
        resource: Some(right.resource.to_owned()),
        subresource: right.subresource.map(str::to_owned),
        verb: Some(right.verb.to_owned()),
        name: right.name.clone(),
        namespace: match &right.at {
            At::Namespace(namespace) => Some(namespace.clone()),
            At::Everywhere | At::Cluster => None,
        },
        ..ResourceAttributes::default()
    }
}
