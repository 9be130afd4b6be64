//! Decides whether a subject matches a plugin, including conditions that need more than the subject's own labels.

use kube::{ResourceExt as _, api::DynamicObject};

use super::Syncing;
use crate::{model::subject::KeyedObject, selector::matcher::Undecided};

impl Syncing<'_> {
    /// Returns whether `object` matches the plugin. The match conditions are skipped if the Dask resource `above` is
    /// missing, because they may refer to it.
    pub(crate) async fn matches(
        &self,
        object: &DynamicObject,
        above: Option<KeyedObject<'_>>,
    ) -> Result<bool, Undecided> {
        if !self.plugin.matches(self.key.kind, object) || !self.serves_namespace().await {
            return Ok(false);
        }
        let matcher = &self.plugin.matcher;
        let Some(owner) = above.filter(|_| matcher.has_conditions()) else { return Ok(true) };
        let decide = || self.plugin.decide(KeyedObject { key: self.key, object }, owner);
        self.env.turns.run(&self.key.namespace, decide).await
    }

    async fn serves_namespace(&self) -> bool {
        if !self.plugin.matcher.reads_namespaces() {
            return true;
        }
        let namespace = self.env.watches.namespaces().await.get("", &self.key.namespace);
        // A Namespace that is not known yet triggers another pass when the watch delivers it.
        namespace.is_some_and(|namespace| self.plugin.matcher.selects_namespace(namespace.labels()))
    }
}
