//! Watches the endpoints behind plugins' Services. A pod that joins may run other code or settings under the same
//! version, so the plugin is then called about every subject again.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use dask_operator_api::DaskOperatorPlugin;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Resource, ResourceExt as _, api::ObjectMeta};
use operator_runtime::{leader::Leading, watch::Cache};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{endpoint_change::EndpointChange, trigger::ProbeTrigger};
use crate::model::key::key_of;

pub(crate) const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Changes within this time are handled together: the replacement of a pod consists of two changes.
const GATHERED: Duration = Duration::from_millis(500);

/// The parts of an EndpointSlice that decisions depend on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Resource)]
#[resource(inherit = EndpointSlice)]
pub(crate) struct SliceView {
    metadata: ObjectMeta,
    #[serde(default)]
    endpoints: Option<Vec<EndpointView>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EndpointView {
    addresses: Vec<String>,
    conditions: Option<ConditionsView>,
    target_ref: Option<TargetView>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ConditionsView {
    ready: Option<bool>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct TargetView {
    uid: Option<String>,
}

/// The key of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServiceKey {
    namespace: String,
    name: String,
}

impl SliceView {
    /// Returns the Service that the slice belongs to.
    pub(crate) fn service(&self) -> ServiceKey {
        ServiceKey {
            namespace: self.namespace().unwrap_or_default(),
            name: self.labels().get(SERVICE_LABEL).cloned().unwrap_or_default(),
        }
    }

    /// Returns the ready endpoints: pods by uid, and other endpoints by address.
    fn ready(&self) -> impl Iterator<Item = String> {
        // An endpoint without a ready condition counts as ready.
        let is_ready = |endpoint: &&EndpointView| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        };
        self.endpoints.iter().flatten().filter(is_ready).flat_map(|endpoint| {
            match endpoint.target_ref.as_ref().and_then(|target| target.uid.clone()) {
                Some(uid) => vec![uid],
                None => endpoint.addresses.clone(),
            }
        })
    }
}

/// Creates an empty cache of slices, indexed by the name of their Service.
pub(crate) fn cache() -> Cache<SliceView> {
    Cache::new(|slice| Some(slice.service().name))
}

/// Discovers plugins again when the endpoints of their Services change, and calls them about every subject when an
/// endpoint joins. `changes` are those of `slices`.
pub(crate) async fn follow(
    trigger: ProbeTrigger,
    slices: Cache<SliceView>,
    mut changes: UnboundedReceiver<ServiceKey>,
    _: Leading,
) {
    // Endpoints that exist when this process begins to lead have not joined: the first pass calls plugins about every
    // subject anyway.
    let mut members = Members::of(&slices.all());
    while let Some(first) = changes.recv().await {
        tokio::time::sleep(GATHERED).await;
        let mut services = HashSet::from([first]);
        while let Ok(service) = changes.try_recv() {
            services.insert(service);
        }
        for service in services {
            let mut found = slices.indexed(&service.name);
            found.retain(|slice| slice.service() == service);
            let joined = members.update(&service, found.iter().flat_map(|slice| slice.ready()).collect());
            for plugin in trigger.0.plugins.all() {
                if listens_behind(&plugin, &service) {
                    trigger.wake(&key_of(&plugin), EndpointChange { reconnect: joined, replaced: joined });
                }
            }
        }
    }
}

/// Returns whether the plugin is reached by this Service.
fn listens_behind(plugin: &DaskOperatorPlugin, ServiceKey { namespace, name }: &ServiceKey) -> bool {
    let own = plugin.namespace().unwrap_or_default();
    plugin
        .spec
        .endpoint
        .service
        .as_ref()
        .is_some_and(|service| service.name == *name && service.namespace.as_deref().unwrap_or(&own) == namespace)
}

/// The ready endpoints of Services. Has no side effects.
#[derive(Default)]
struct Members(HashMap<ServiceKey, HashSet<String>>);

impl Members {
    fn of(slices: &[impl std::ops::Deref<Target = SliceView>]) -> Self {
        let mut members = Self::default();
        for slice in slices {
            members.0.entry(slice.service()).or_default().extend(slice.ready());
        }
        members
    }

    /// Replaces the set of ready endpoints. Returns whether an endpoint became ready.
    fn update(&mut self, service: &ServiceKey, ready: HashSet<String>) -> bool {
        let before = self.0.remove(service).unwrap_or_default();
        let joined = !ready.is_subset(&before);
        if !ready.is_empty() {
            self.0.insert(service.clone(), ready);
        }
        joined
    }
}

#[cfg(test)]
mod tests;
