//! The children of one plugin in one namespace: reads them, and deletes those that nothing asks for any more.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{Api, ResourceExt as _, api::DynamicObject, core::ApiResource};
use serde_json::Value;

use super::{
    claims::Claimed,
    drift::Record,
    memory::Memory,
    plan::Known,
    registry::{ChildName, Registered, child_name},
    screen::{Approved, KEY_LABEL, PLUGIN_LABEL, SUBJECT_LABEL},
    sync::Env,
    watches::{ChildMeta, child_index},
};
use crate::{k8s, meta};

/// Requests about the children of one subject at a time.
pub(super) const PARALLEL: usize = 4;

/// Children as they are, by kind and name.
pub(super) type Live = HashMap<(ApiResource, String), DynamicObject>;
/// What was written. No more than the last answer has, and what is still to be pruned.
pub(super) type Written = HashMap<ChildName, Record>;
/// What stood before.
pub(super) type Existing = HashMap<ChildName, DynamicObject>;

/// Approved children, each with what stands under its name, be it a child or not.
pub(super) struct Found<'a> {
    pub(super) wanted: Vec<(Approved, Option<DynamicObject>)>,
    /// Keep the names of new children until these are made.
    pub(super) claims: Vec<Claimed<'a>>,
}

/// The children of `plugin` in `namespace`.
#[derive(Clone, Copy)]
pub(super) struct Children<'a> {
    pub(super) env: &'a Env,
    pub(super) plugin: &'a Registered,
    pub(super) namespace: &'a str,
}

impl<'a> Children<'a> {
    /// Those of one subject that the watches know, as far as the object with `owner_uid` controls them, or
    /// some Dask resource if the owner may be gone. Labels alone are anybody's to copy.
    /// Those just written count although the watch may not have delivered them yet.
    pub(super) async fn known(&self, memory: &Memory, owner_uid: Option<&str>) -> Vec<Known> {
        let mut known: Vec<Known> = Vec::new();
        for kind in &self.plugin.kinds {
            let cache = self.env.watches.children(&self.plugin.writer, &kind.resource).await;
            let children = cache.indexed(&child_index(&self.plugin.identity, &memory.subject_uid)).into_iter();
            let here = children.filter(|child| {
                let owned = owner_uid.map_or_else(
                    || meta::is_controlled_by_dask(child.as_ref()),
                    |uid| meta::is_controlled_by(child.as_ref(), uid),
                );
                owned && child.namespace().as_deref() == Some(self.namespace)
            });
            known.extend(here.map(|child| known_of(&kind.resource, child.as_ref())));
            for (written, record) in &memory.written {
                let (resource, name) = (kind.resource.clone(), written.1.clone());
                let missing = !known.iter().any(|child| child.resource == resource && child.name == name);
                if missing && *written == child_name(&resource, &name) {
                    known.push(Known { resource, name, uid: record.version.uid.clone(), key: record.key.clone() });
                }
            }
        }
        known
    }

    /// `known` with their content; what has gone since is left out.
    pub(super) async fn live(&self, known: &[Known]) -> Result<Live, k8s::Error> {
        let reads: Vec<_> = known.iter().map(|child| self.get(&child.resource, &child.name)).collect();
        let found: Vec<_> = stream::iter(reads).buffered(PARALLEL).try_collect().await?;
        let live = known.iter().zip(found);
        Ok(live.filter_map(|(child, found)| Some(((child.resource.clone(), child.name.clone()), found?))).collect())
    }

    /// Each approved child with what stands under its name. The names of new ones are kept before anybody looks
    /// whether something stands there.
    pub(super) async fn find(&self, approved: Vec<Approved>, mut live: Live) -> Result<Found<'a>, k8s::Error> {
        let wanted: Vec<_> = approved
            .into_iter()
            .map(|child| {
                let stands = live.remove(&(child.resource().clone(), child.name().to_owned()));
                (child, stands)
            })
            .collect();
        let new = wanted.iter().filter(|(_, stands)| stands.is_none());
        let claims = self.env.claims.hold(self.namespace, new.map(|(child, _)| (child.resource(), child.name()))).await;
        let reads: Vec<_> = wanted.iter().map(|(child, stands)| self.unless_known(child, stands.as_ref())).collect();
        let found: Vec<_> = stream::iter(reads).buffered(PARALLEL).try_collect().await?;
        let wanted = wanted.into_iter().zip(found).map(|((child, stands), found)| (child, stands.or(found))).collect();
        Ok(Found { wanted, claims })
    }

    async fn unless_known(
        &self,
        child: &Approved,
        known: Option<&DynamicObject>,
    ) -> Result<Option<DynamicObject>, k8s::Error> {
        if known.is_some() { Ok(None) } else { self.get(child.resource(), child.name()).await }
    }

    /// Deletes all children of a subject that is gone or matches no longer. They were found by our labels
    /// and are deleted by uid.
    pub(super) async fn prune_all(&self, memory: &Memory) -> Result<(), k8s::Error> {
        if memory.subject_uid.is_empty() {
            return Ok(());
        }
        // Nobody's answer: these children do not count as dropped.
        self.env.brakes.forget(&self.plugin.uid, &memory.subject_uid);
        for child in self.known(memory, None).await {
            self.delete(&child).await?;
        }
        Ok(())
    }

    pub(super) fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.plugin.writer.client.clone(), self.namespace, resource)
    }

    pub(super) async fn get(&self, resource: &ApiResource, name: &str) -> Result<Option<DynamicObject>, k8s::Error> {
        let target = format!("{} {}/{name}", resource.kind, self.namespace);
        k8s::timed("get", &target, self.api(resource).get_opt(name)).await
    }

    pub(super) async fn delete(&self, child: &Known) -> Result<(), k8s::Error> {
        k8s::delete(&self.api(&child.resource), &child.name, &child.uid).await
    }
}

/// What stands under the names of `wanted`.
pub(super) fn existing(wanted: &[(Approved, Option<DynamicObject>)]) -> Existing {
    let by_name = |(child, live): &(Approved, Option<DynamicObject>)| {
        Some((child_name(child.resource(), child.name()), live.clone()?))
    };
    wanted.iter().filter_map(by_name).collect()
}

/// A child as the watch knows it.
pub(super) fn known_of(resource: &ApiResource, child: &ChildMeta) -> Known {
    Known {
        resource: resource.clone(),
        name: child.name_any(),
        uid: child.uid().unwrap_or_default(),
        key: child.labels().get(KEY_LABEL).cloned().unwrap_or_default(),
    }
}

/// Deletes children of `plugin` whose subject is not among the `living`; whether every deletion went through. Where
/// subjects are not known yet, nothing is deleted.
pub(super) async fn prune_orphans(env: &Env, plugin: &Registered, living: &HashSet<String>) -> bool {
    let mut all_gone = true;
    for kind in &plugin.kinds {
        for child in env.watches.children(&plugin.writer, &kind.resource).await.all() {
            let (labels, namespace) = (child.labels(), child.namespace().unwrap_or_default());
            let is_ours = labels.get(PLUGIN_LABEL) == Some(&plugin.identity)
                && meta::is_controlled_by_dask(child.as_ref())
                && labels.get(SUBJECT_LABEL).is_some_and(|subject| !living.contains(subject));
            if !is_ours {
                continue;
            }
            if !plugin.spec.subjects.iter().all(|rule| env.watches.knows(rule.kind, &namespace)) {
                all_gone = false;
                continue;
            }
            let children = Children { env, plugin, namespace: &namespace };
            if let Err(error) = children.delete(&known_of(&kind.resource, child.as_ref())).await {
                tracing::warn!(plugin = plugin.key.name, %error, "failed to delete a child whose subject is gone");
                all_gone = false;
            }
        }
    }
    all_gone
}

/// Children by key, as a plugin sees them.
pub(super) fn by_key(live: &Live) -> BTreeMap<String, Value> {
    live.values()
        .filter_map(|child| Some((child.labels().get(KEY_LABEL)?.clone(), serde_json::to_value(child).ok()?)))
        .collect()
}
