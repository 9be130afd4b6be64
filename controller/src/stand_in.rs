//! TO BE REPLACED when merged: `client_of` by `scheduler::client_of`, `registered` by
//! `worker_group::registered`; then this file goes.

use std::{collections::BTreeMap, sync::Arc};

use kube::ResourceExt as _;

use crate::{
    context::Context,
    crd::DaskCluster,
    meta,
    scheduler::{self, Client, Worker},
    view::PodView,
};

/// A client of the scheduler of `cluster`, without TLS.
#[expect(clippy::unused_async, reason = "what replaces it reads a Secret")]
pub(crate) async fn client_of(context: &Context, cluster: &DaskCluster) -> Result<Client, scheduler::Error> {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), meta::scheduler_name(&cluster.name_any()));
    let address = || format!("{name}.{namespace}");
    let Some(service) = context.caches.services.get(&namespace, &name) else {
        let cause = "the cluster has no Service".to_owned();
        return Err(scheduler::Error::Connect { address: address(), cause });
    };
    let defaults = &context.defaults;
    let endpoint = scheduler::endpoint_of(&service, &defaults.cluster_domain, defaults.scheduler_ip);
    endpoint.map(Client::new).ok_or_else(|| {
        let cause = "its Service has no port named tcp-comm".to_owned();
        scheduler::Error::Connect { address: address(), cause }
    })
}

/// The Dask processes of each Deployment: by name, by its name with `-0`, `-1` and so on, or by their pod's
/// address.
pub(crate) fn registered<'a>(
    names: impl Iterator<Item = &'a str>,
    pods: &[Arc<PodView>],
    workers: &[Worker],
) -> BTreeMap<String, Vec<Worker>> {
    let by_ip: BTreeMap<&str, &str> =
        pods.iter().filter_map(|pod| Some((pod.status.pod_ip.as_deref()?, pod.deployment()?))).collect();
    let mut found: BTreeMap<String, Vec<Worker>> = names.map(|name| (name.to_owned(), Vec::new())).collect();
    for worker in workers {
        let of_process = worker
            .name
            .rsplit_once('-')
            .filter(|(_, k)| !k.is_empty() && k.bytes().all(|c| c.is_ascii_digit()))
            .map(|(name, _)| name);
        let of_address = worker.host().and_then(|host| by_ip.get(host).copied());
        let candidates = [Some(worker.name.as_str()), of_process, of_address];
        let name = candidates.into_iter().flatten().find(|name| found.contains_key(*name)).map(str::to_owned);
        if let Some(of_one) = name.and_then(|name| found.get_mut(&name)) {
            of_one.push(worker.clone());
        }
    }
    found
}
