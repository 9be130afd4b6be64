//! Reads and writes the children of one plugin in one namespace. The only place that writes for plugins.

use std::collections::{BTreeMap, HashMap};

use kube::{Api, ResourceExt as _, api::DynamicObject, core::ApiResource};
use serde_json::Value;

use super::{
    plan::{Conflict, Known, Plan},
    registry::{ChildVersion, Registered},
    screen::{Approved, KEY_LABEL, Rejected},
    sync::Env,
    watches::child_index,
};
use crate::{k8s, meta};

/// Children as they are, by kind and name.
pub(super) type Live = HashMap<(ApiResource, String), DynamicObject>;
/// What was written, by plural and name.
pub(super) type Written = HashMap<(String, String), ChildVersion>;
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
    pub(super) async fn known(&self, subject_uid: &str, owner_uid: Option<&str>) -> Vec<Known> {
        let mut known = Vec::new();
        for kind in &self.plugin.kinds {
            let cache = self.env.watches.children(&kind.resource).await;
            let children = cache.indexed(&child_index(&self.plugin.key.name, subject_uid)).into_iter();
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
    pub(super) async fn carry_out(&self, plan: Plan, rejected: &[Rejected], written: &mut Written) -> Option<Problem> {
        let Plan { apply, prune, conflicts } = plan;
        let mut problem = rejected.first().map(|rejected| (rejected.reason, rejected.message.clone()));
        if let (None, Some(Conflict { key, message })) = (&problem, conflicts.first()) {
            problem = Some(("Conflict", format!("{key}: {message}")));
        }
        for child in &apply {
            match self.apply(child).await {
                Ok(version) => {
                    written.insert((child.resource().plural.clone(), child.name().to_owned()), version);
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
    pub(super) async fn prune_all(&self, subject_uid: &str) -> Result<(), k8s::Error> {
        if subject_uid.is_empty() {
            return Ok(());
        }
        for child in self.known(subject_uid, None).await {
            self.delete(&child).await?;
        }
        Ok(())
    }

    fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.env.client.clone(), self.namespace, resource)
    }

    async fn get(&self, resource: &ApiResource, name: &str) -> Result<Option<DynamicObject>, k8s::Error> {
        let target = format!("{} {}/{name}", resource.kind, self.namespace);
        k8s::timed("get", &target, self.api(resource).get_opt(name)).await
    }

    async fn apply(&self, child: &Approved) -> Result<ChildVersion, k8s::Error> {
        let manager = format!("{}/{}", k8s::FIELD_MANAGER, self.plugin.key.name);
        let applied = k8s::apply(&self.api(child.resource()), &manager, child.manifest()).await?;
        Ok(ChildVersion::of(&applied))
    }

    async fn delete(&self, child: &Known) -> Result<(), k8s::Error> {
        k8s::delete(&self.api(&child.resource), &child.name, &child.uid).await
    }
}

/// Children by key, as a plugin sees them.
pub(super) fn by_key(live: &Live) -> BTreeMap<String, Value> {
    live.values()
        .filter_map(|child| Some((child.labels().get(KEY_LABEL)?.clone(), serde_json::to_value(child).ok()?)))
        .collect()
}
