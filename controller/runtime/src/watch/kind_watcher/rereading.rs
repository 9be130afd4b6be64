//! Reads objects again that did not fit into the memory budget, once there is room for them.

use std::{fmt::Debug, hash::Hash, sync::Arc};

use futures::future::BoxFuture;
use kube::{Resource, ResourceExt as _, api::ListParams, runtime::watcher};
use serde::{Serialize, de::DeserializeOwned};

use super::{KindWatcher, reading::without_managers};
use crate::{
    k8s,
    received::{Received, Unparsed},
    watch::{admission::Candidate, health::WatchHealth},
};

/// The number of objects that are read at a time. Each may have 1.5 MiB.
const REREADS: usize = 4;

/// An object that was read again.
pub(super) struct Found<K> {
    health: Arc<WatchHealth>,
    wanted: Candidate,
    object: Option<Unparsed<K>>,
}

pub(super) type Reread<K> = BoxFuture<'static, Found<K>>;

impl<K> KindWatcher<K>
where
    K: Resource + Clone + Serialize + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
{
    /// Returns requests for some objects for which there is room by now.
    pub(super) fn rereads(&self) -> Vec<Reread<K>> {
        let fitting = self.admission.fitting(REREADS, |object| self.held(object));
        fitting.into_iter().filter_map(|wanted| self.reread(wanted)).collect()
    }

    /// Returns the request for an object. It is a list, for which the rights of the watch are enough.
    fn reread(&self, wanted: Candidate) -> Option<Reread<K>> {
        let is_in = |namespace: Option<&str>| namespace.is_none_or(|watched| watched == wanted.namespace);
        let part = self.parts.iter().find(|part| is_in(part.health.namespace.as_deref()))?;
        let health = Arc::clone(&part.health);
        let api = (self.within)(&wanted.namespace);
        let params = ListParams {
            label_selector: self.config.label_selector.clone(),
            field_selector: Some(format!("metadata.name={}", wanted.name)),
            ..ListParams::default()
        };
        Some(Box::pin(async move {
            let object = match k8s::timed("list", "an object", api.list(&params)).await {
                Ok(list) => list.items.into_iter().next(),
                Err(error) => {
                    tracing::debug!(%error, "failed to read an object for which there is room now");
                    None
                }
            };
            Found { health, wanted, object }
        }))
    }

    /// Takes an object that was read again, unless the watch has reported a change of it. A version that the watch has
    /// not reported yet is not taken either: it is reported in its turn.
    pub(super) fn on_reread(&mut self, found: Found<K>) {
        let Found { health, wanted, object: Some(object) } = found else { return };
        let Received::Readable { object, bytes } = object.read() else { return };
        let is_same = object.resource_version() == wanted.resource_version && self.admission.is_waiting(&wanted);
        if !is_same || self.admission.is_listing(health.namespace.as_deref()) {
            return;
        }
        if let Some(object) = self.applied(&health, without_managers(object), bytes) {
            tracing::info!(namespace = wanted.namespace, name = wanted.name, "an object can be read again");
            self.take(&health, watcher::Event::Apply(object));
        }
    }
}
