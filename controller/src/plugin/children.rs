//! Reads and writes the children of one plugin in one namespace. The only place that writes for plugins.

use std::collections::{BTreeMap, HashMap, HashSet};

use kube::{Api, ResourceExt as _, api::DynamicObject, core::ApiResource};
use serde_json::Value;

use super::{
    memory::Memory,
    plan::{Conflict, Known, Plan},
    registry::{ChildVersion, Registered},
    screen::{Approved, KEY_LABEL, PLUGIN_LABEL, Rejected, SUBJECT_LABEL},
    sync::Env,
    watches::child_index,
};
use crate::{
    k8s::{self, Force},
    meta,
};

/// Children as they are, by kind and name.
pub(super) type Live = HashMap<(ApiResource, String), DynamicObject>;
/// What was written, by plural and name.
pub(super) type Written = HashMap<(String, String), ChildVersion>;
/// Uids of what stood before, by plural and name.
pub(super) type Existing = HashMap<(String, String), String>;
/// Reason and sentence of the first thing that went wrong.
pub(super) type Problem = (&'static str, String);

/// The children of `plugin` in `namespace`.
#[derive(Clone, Copy)]
pub(super) struct Children<'a> {
    pub(super) env: &'a Env,
    pub(super) plugin: &'a Registered,
    pub(super) namespace: &'a str,
}

impl Children<'_> {
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
            known.extend(here.map(|child| Known {
                resource: kind.resource.clone(),
                name: child.name_any(),
                uid: child.uid().unwrap_or_default(),
            }));
            for ((plural, name), version) in &memory.written {
                let missing = !known.iter().any(|child| child.resource == kind.resource && child.name == *name);
                if *plural == kind.resource.plural && missing {
                    known.push(Known { resource: kind.resource.clone(), name: name.clone(), uid: version.uid.clone() });
                }
            }
        }
        known
    }

    /// `known` with their content; what has gone since is left out.
    pub(super) async fn live(&self, known: &[Known]) -> Result<Live, k8s::Error> {
        let mut live = Live::new();
        for child in known {
            if let Some(object) = self.get(&child.resource, &child.name).await? {
                live.insert((child.resource.clone(), child.name.clone()), object);
            }
        }
        Ok(live)
    }

    /// Each approved child with what stands under its name, be it a child or not.
    pub(super) async fn find(
        &self,
        approved: Vec<Approved>,
        mut live: Live,
    ) -> Result<Vec<(Approved, Option<DynamicObject>)>, k8s::Error> {
        let mut wanted = Vec::with_capacity(approved.len());
        for child in approved {
            let found = match live.remove(&(child.resource().clone(), child.name().to_owned())) {
                Some(found) => Some(found),
                None => self.get(child.resource(), child.name()).await?,
            };
            wanted.push((child, found));
        }
        Ok(wanted)
    }

    /// Writes what is planned; prunes only if nothing was refused and every write went through.
    /// `existing` are the uids of the children that stood before.
    pub(super) async fn carry_out(
        &self,
        plan: Plan,
        rejected: &[Rejected],
        existing: &Existing,
        written: &mut Written,
    ) -> Option<Problem> {
        let Plan { apply, prune, conflicts } = plan;
        let gone = |name: &str| prune.iter().any(|child| child.name == name);
        written.retain(|(_, name), _| apply.iter().any(|child| child.name() == name) || gone(name));
        let mut problem = rejected.first().map(|rejected| (rejected.reason, rejected.message.clone()));
        if let (None, Some(Conflict { key, message })) = (&problem, conflicts.first()) {
            problem = Some(("Conflict", format!("{key}: {message}")));
        }
        for child in &apply {
            let name = (child.resource().plural.clone(), child.name().to_owned());
            match self.apply(child, existing.get(&name)).await {
                Ok(version) => {
                    written.insert(name, version);
                }
                Err(error) => problem = problem.or_else(|| Some((error.category(), error.message()))),
            }
        }
        if problem.is_some() {
            return problem;
        }
        for child in &prune {
            match self.delete(child).await {
                Ok(()) => {
                    written.remove(&(child.resource.plural.clone(), child.name.clone()));
                }
                Err(error) => problem = problem.or_else(|| Some((error.category(), error.message()))),
            }
        }
        problem
    }

    /// Deletes all children of a subject that is gone or matches no longer. They were found by our labels
    /// and are deleted by uid.
    pub(super) async fn prune_all(&self, memory: &Memory) -> Result<(), k8s::Error> {
        if memory.subject_uid.is_empty() {
            return Ok(());
        }
        for child in self.known(memory, None).await {
            self.delete(&child).await?;
        }
        Ok(())
    }

    fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.plugin.writer.client.clone(), self.namespace, resource)
    }

    async fn get(&self, resource: &ApiResource, name: &str) -> Result<Option<DynamicObject>, k8s::Error> {
        let target = format!("{} {}/{name}", resource.kind, self.namespace);
        k8s::timed("get", &target, self.api(resource).get_opt(name)).await
    }

    /// A child that stood before must still be the same object. One that did not is applied without force:
    /// if another plugin was quicker, its label is in the way.
    async fn apply(&self, child: &Approved, uid: Option<&String>) -> Result<ChildVersion, k8s::Error> {
        let manager = format!("{}/{}", k8s::FIELD_MANAGER, self.plugin.identity);
        let (force, manifest) = match uid {
            Some(uid) => {
                let mut manifest = child.manifest().clone();
                manifest["metadata"]["uid"] = uid.as_str().into();
                (Force::Yes, manifest)
            }
            None => (Force::No, child.manifest().clone()),
        };
        let applied = k8s::apply(&self.api(child.resource()), &manager, force, &manifest).await?;
        Ok(ChildVersion::of(&applied))
    }

    async fn delete(&self, child: &Known) -> Result<(), k8s::Error> {
        k8s::delete(&self.api(&child.resource), &child.name, &child.uid).await
    }
}

/// The uids of what stands, by plural and name.
pub(super) fn existing(wanted: &[(Approved, Option<DynamicObject>)]) -> Existing {
    let uid_of = |(child, live): &(Approved, Option<DynamicObject>)| {
        let name = (child.resource().plural.clone(), child.name().to_owned());
        Some((name, live.as_ref()?.uid()?))
    };
    wanted.iter().filter_map(uid_of).collect()
}

/// Deletes children of `plugin` whose subject is not among the `living`; whether every deletion went through.
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
            let children = Children { env, plugin, namespace: &namespace };
            let known =
                Known { resource: kind.resource.clone(), name: child.name_any(), uid: child.uid().unwrap_or_default() };
            if let Err(error) = children.delete(&known).await {
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
