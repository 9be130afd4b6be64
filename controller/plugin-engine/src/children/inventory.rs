//! The children of one plugin in one namespace: reads them, and deletes those that no response includes any more.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use json_measure::{Limits, measure};
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{DynamicObject, GetParams},
    core::{ApiResource, Request},
};
use operator_runtime::k8s;
use serde_json::Value;

use super::{
    apply::Problem,
    context::SyncContext,
    drift::Record,
    name_locks::NameLock,
    plan::{Known, Ownership},
    prune_guard::Guarded,
    screen::Approved,
};
use crate::model::labels::{KEY_LABEL, SUBJECT_LABEL};
use crate::{
    index::{registration::Registered, watches::child_index},
    model::{
        child_meta::{ChildMeta, Ours, manager_of},
        child_version::{ChildName, child_name},
    },
};
use plugin_protocol::limits;

/// The number of concurrent requests about the children of one subject.
pub(crate) const PARALLEL: usize = 4;
/// The maximum number of children of one subject that a pass handles. Responses have fewer, and pruning makes room for
/// the rest.
const MAX_KNOWN: usize = 4 * limits::MAX_CHILDREN;
/// The maximum number of children of one subject whose content is read. It equals the children of two responses.
const MAX_READ: usize = 2 * limits::MAX_CHILDREN;
/// The maximum size of the contents of all children of one subject together. A request has at most 4 MiB.
const CONTENTS: Limits = Limits { bytes: limits::MAX_REQUEST_BYTES, nodes: 60_000, depth: 100 };

/// Children as they exist in the cluster. Some may have no content.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// The objects by kind and name.
    pub(crate) objects: HashMap<(ApiResource, String), DynamicObject>,
    /// The names of children that were not read.
    unread: HashSet<(ApiResource, String)>,
    /// The number of children that were read without their content.
    without_content: usize,
    left: Left,
}

/// Records of the children that were written. It contains only children of the last response, and those that still have
/// to be pruned.
pub(crate) type Written = HashMap<ChildName, Record>;
/// The objects that existed before the apply.
pub(crate) type Existing = HashMap<ChildName, DynamicObject>;

/// The size that further contents may have.
#[derive(Clone, Copy, Debug)]
struct Left {
    bytes: usize,
    nodes: usize,
}

impl Default for Left {
    fn default() -> Self {
        Self { bytes: CONTENTS.bytes, nodes: CONTENTS.nodes }
    }
}

impl Live {
    /// Adds an object from the response of the API server, without its content if that is too large.
    fn add(&mut self, (resource, name): (&ApiResource, &str), text: &str) -> serde_json::Result<()> {
        let (measure, left) = (measure(text.as_bytes()), &mut self.left);
        let limits = Limits { bytes: left.bytes, nodes: left.nodes, ..CONTENTS };
        let object = if measure.check(&limits).is_ok() {
            left.bytes -= measure.bytes;
            left.nodes -= measure.nodes;
            serde_json::from_str(text)?
        } else {
            self.without_content += 1;
            let found: ChildMeta = serde_json::from_str(text)?;
            found.without_content(resource)
        };
        self.objects.insert((resource.clone(), name.to_owned()), object);
        Ok(())
    }

    /// Returns whether `known` is still a child: it exists, no other client has taken it over, and this controller
    /// applied it. Returns `true` for a child that was not read, because it is checked again before it is deleted.
    pub(crate) fn confirms(&self, known: &Known, claim: Ownership<'_>) -> bool {
        let name = (known.resource.clone(), known.name.clone());
        let manager = manager_of(claim.plugin);
        let is_ours = |object: &DynamicObject| claim.holds(object) && is_applied_by(object, &manager);
        self.unread.contains(&name) || self.objects.get(&name).is_some_and(is_ours)
    }

    /// Returns a problem that informs the user if children were not sent to the plugin.
    pub(crate) fn omitted(&self) -> Option<Problem> {
        let count = self.unread.len() + self.without_content;
        let message = || {
            format!(
                "{count} objects that carry the labels of this subject's children were not shown to the plugin: they \
                 are more than {MAX_READ}, or have more than {} bytes or {} values together",
                CONTENTS.bytes, CONTENTS.nodes
            )
        };
        (count > 0).then(|| Problem { reason: "ChildrenNotShown", message: message(), requeue_after: None })
    }
}

/// Returns whether `manager` applied an object.
fn is_applied_by(object: &DynamicObject, manager: &str) -> bool {
    let mut entries = object.managed_fields().iter();
    entries.any(|entry| entry.operation.as_deref() == Some("Apply") && entry.manager.as_deref() == Some(manager))
}

/// Approved children, each with the object that exists under its name. That object need not be a child.
pub(crate) struct Found<'a> {
    pub(crate) wanted: Vec<(Approved, Option<DynamicObject>)>,
    /// Locks on the names of new children. They are held until the children are created.
    pub(crate) name_locks: Vec<NameLock<'a>>,
}

/// The children of `plugin` in `namespace`.
#[derive(Clone, Copy)]
pub(crate) struct Children<'a> {
    pub(crate) env: &'a SyncContext,
    pub(crate) plugin: &'a Registered,
    pub(crate) namespace: &'a str,
}

/// What a worker remembers of the children of a subject.
#[derive(Clone, Copy)]
pub(crate) struct Remembered<'a> {
    /// The subject's uid; empty if it is not known.
    pub(crate) subject_uid: &'a str,
    /// The children that this process wrote.
    pub(crate) written: &'a Written,
}

impl<'a> Children<'a> {
    /// Returns the children of one subject that the watches know. They must be applied by this controller, and
    /// controlled by the object with `owner_uid`. If the owner may be gone (`None`), any Dask resource may control
    /// them. Children that were just written come first, and are included even if the watch has not delivered them yet.
    /// The result is limited, so there may be more children.
    pub(crate) async fn known(&self, remembered: Remembered<'_>, owner_uid: Option<&str>) -> Vec<Known> {
        self.known_up_to(MAX_KNOWN, remembered, owner_uid).await
    }

    async fn known_up_to(&self, most: usize, remembered: Remembered<'_>, owner_uid: Option<&str>) -> Vec<Known> {
        let ours = Ours { plugin: &self.plugin.identity, subject_uid: Some(remembered.subject_uid), owner_uid };
        let (mut known, mut others) = (Vec::new(), Vec::new());
        for kind in &self.plugin.kinds {
            let cache = self.env.watches.children(&self.plugin.writer, &kind.resource).await;
            let children = cache.indexed(&child_index(&self.plugin.identity, remembered.subject_uid));
            let is_here = |child: &&Arc<ChildMeta>| {
                child.meta().namespace.as_deref() == Some(self.namespace) && ours.holds(child)
            };
            let mut here: HashMap<ChildName, Known> = HashMap::new();
            for child in children.iter().filter(is_here).take(most) {
                here.insert(child_name(&kind.resource, &child.name_any()), known_of(&kind.resource, child));
            }
            for (written, record) in remembered.written {
                let (resource, name) = (kind.resource.clone(), written.1.clone());
                if *written == child_name(&resource, &name) {
                    let recorded =
                        || Known { resource, name, uid: record.version.uid.clone(), key: record.key.clone() };
                    known.push(here.remove(written).unwrap_or_else(recorded));
                }
            }
            others.extend(here.into_values());
        }
        others.sort_by(|a, b| a.name.cmp(&b.name));
        known.extend(others);
        known.truncate(most);
        known
    }

    /// Reads the content of `known`. Leaves out children that have been deleted since.
    pub(crate) async fn live(&self, known: &[Known]) -> Result<Live, k8s::Error> {
        let (read, unread) = known.split_at(known.len().min(MAX_READ));
        let unread = unread.iter().map(|child| (child.resource.clone(), child.name.clone()));
        let mut live = Live { unread: unread.collect(), ..Live::default() };
        let read: Vec<_> = read.iter().map(|child| (&child.resource, child.name.as_str())).collect();
        self.read_into(&mut live, &read).await?;
        Ok(live)
    }

    /// Reads `objects`, a few at a time, and adds those that exist to `live`.
    async fn read_into(&self, live: &mut Live, objects: &[(&ApiResource, &str)]) -> Result<(), k8s::Error> {
        let reads: Vec<_> = objects.iter().map(|(resource, name)| self.text(resource, name)).collect();
        let mut texts = stream::iter(reads).buffered(PARALLEL).zip(stream::iter(objects));
        while let Some((text, (resource, name))) = texts.next().await {
            let Some(text) = text? else { continue };
            let added = live.add((resource, name), &text).map_err(kube::Error::SerdeError);
            k8s::timed("get", &self.target(resource, name), async { added }).await?;
        }
        Ok(())
    }

    /// Returns each approved child with the object that exists under its name. Locks the names of new children before
    /// it checks whether they are in use.
    pub(crate) async fn find(&self, approved: Vec<Approved>, mut live: Live) -> Result<Found<'a>, k8s::Error> {
        let name_of = |child: &Approved| (child.resource().clone(), child.name().to_owned());
        let is_new = |child: &&Approved| !live.objects.contains_key(&name_of(child));
        let new: Vec<_> = approved.iter().filter(is_new).map(|child| (child.resource(), child.name())).collect();
        let name_locks = self.env.name_locks.lock_all(self.namespace, new.iter().copied()).await;
        self.read_into(&mut live, &new).await?;
        let with_live = |child: Approved| {
            let live_object = live.objects.remove(&name_of(&child));
            (child, live_object)
        };
        Ok(Found { wanted: approved.into_iter().map(with_live).collect(), name_locks })
    }

    /// Deletes all children of a subject that is gone or no longer matches. Each is deleted by uid, and only if it is
    /// still a child.
    pub(crate) async fn prune_all(&self, remembered: Remembered<'_>) -> Result<(), k8s::Error> {
        if remembered.subject_uid.is_empty() {
            return Ok(());
        }
        // No response dropped these children, so they do not count for the prune guard.
        self.env.prune_guards.forget(self.guard(), remembered.subject_uid);
        let ours = Ours { plugin: &self.plugin.identity, subject_uid: Some(remembered.subject_uid), owner_uid: None };
        let known = self.known_up_to(usize::MAX, remembered, None).await;
        let deletions: Vec<_> = known.iter().map(|child| self.delete(child, ours)).collect();
        stream::iter(deletions).buffered(PARALLEL).try_collect().await
    }

    /// Returns the plugin and namespace that select the prune guard.
    pub(crate) fn guard(&self) -> Guarded<'_> {
        Guarded { plugin_uid: &self.plugin.uid, namespace: self.namespace }
    }

    pub(crate) fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.plugin.writer.client.clone(), self.namespace, resource)
    }

    fn target(&self, resource: &ApiResource, name: &str) -> String {
        format!("{} {}/{name}", resource.kind, self.namespace)
    }

    /// Returns whether an object of this name exists, regardless of its owner.
    pub(crate) async fn is_taken(&self, resource: &ApiResource, name: &str) -> Result<bool, k8s::Error> {
        Ok(self.text(resource, name).await?.is_some())
    }

    /// Returns an object as text, as the API server sends it.
    async fn text(&self, resource: &ApiResource, name: &str) -> Result<Option<String>, k8s::Error> {
        let api = self.api(resource);
        let request = Request::new(api.resource_url()).get(name, &GetParams::default());
        let read = async { api.into_client().request_text(request.map_err(kube::Error::BuildRequest)?).await };
        found(k8s::timed("get", &self.target(resource, name), read).await)
    }

    /// Deletes a child by uid if it is still one of `ours`. This is checked just before, because a user may have taken
    /// the child over since it was written.
    pub(crate) async fn delete(&self, child: &Known, ours: Ours<'_>) -> Result<(), k8s::Error> {
        let api = self.api(&child.resource);
        let request = Request::new(api.resource_url()).get_metadata(&child.name, &GetParams::default());
        let client = self.plugin.writer.client.clone();
        let read = async { client.request::<ChildMeta>(request.map_err(kube::Error::BuildRequest)?).await };
        let read = k8s::timed("get", &self.target(&child.resource, &child.name), read).await;
        match found(read)? {
            Some(live) if live.uid().as_deref() == Some(&child.uid) && ours.holds(&live) => {
                k8s::delete(&api, &child.name, &child.uid).await
            }
            _ => Ok(()),
        }
    }
}

/// Turns a 404 response into `None`.
fn found<T>(read: Result<T, k8s::Error>) -> Result<Option<T>, k8s::Error> {
    match read {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.class() == k8s::Class::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the objects that exist under the names of `wanted`.
pub(crate) fn existing(wanted: &[(Approved, Option<DynamicObject>)]) -> Existing {
    let by_name = |(child, live): &(Approved, Option<DynamicObject>)| {
        Some((child_name(child.resource(), child.name()), live.clone()?))
    };
    wanted.iter().filter_map(by_name).collect()
}

/// Returns a child as the watch knows it.
pub(crate) fn known_of(resource: &ApiResource, child: &ChildMeta) -> Known {
    Known {
        resource: resource.clone(),
        name: child.name_any(),
        uid: child.uid().unwrap_or_default(),
        key: child.labels().get(KEY_LABEL).cloned().unwrap_or_default(),
    }
}

/// A child whose subject is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orphan {
    namespace: String,
    subject_uid: String,
    child: Known,
}

/// Returns the children of `plugin` whose subject is not in the result of `existing_subjects`. Namespaces take turns. `existing_subjects` is
/// called last, because a child is only created after its subject is known.
pub(crate) async fn orphans(
    env: &SyncContext,
    plugin: &Registered,
    existing_subjects: impl AsyncFnOnce() -> HashSet<String>,
) -> Vec<Orphan> {
    let ours = Ours { plugin: &plugin.identity, subject_uid: None, owner_uid: None };
    let mut found = Vec::new();
    for kind in &plugin.kinds {
        let cache = env.watches.children(&plugin.writer, &kind.resource).await;
        cache.for_each(|child| {
            let (Some(subject), true) = (child.labels().get(SUBJECT_LABEL), ours.holds(child)) else { return };
            found.push(Orphan {
                namespace: child.namespace().unwrap_or_default(),
                subject_uid: subject.clone(),
                child: known_of(&kind.resource, child),
            });
        });
    }
    let existing_subjects = existing_subjects().await;
    found.retain(|orphan| !existing_subjects.contains(&orphan.subject_uid));
    interleaved_by_namespace(found)
}

/// Orders orphans so that namespaces take turns: the first one of each namespace, then the second one of each, and so
/// on.
fn interleaved_by_namespace(orphans: Vec<Orphan>) -> Vec<Orphan> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut numbered: Vec<(usize, Orphan)> = Vec::with_capacity(orphans.len());
    for orphan in orphans {
        let count = counts.entry(orphan.namespace.clone()).or_default();
        numbered.push((*count, orphan));
        *count += 1;
    }
    numbered.sort_by(|(a, one), (b, other)| (a, &one.namespace).cmp(&(b, &other.namespace)));
    numbered.into_iter().map(|(_, orphan)| orphan).collect()
}

/// Deletes `orphans`. Deletes nothing in namespaces whose subjects are not known yet. Returns whether every deletion
/// succeeded.
pub(crate) async fn prune_orphans(env: &SyncContext, plugin: &Registered, orphans: Vec<Orphan>) -> bool {
    let prune = async |orphan: Orphan| {
        if !plugin.spec.subjects.iter().all(|rule| env.watches.knows(rule.kind, &orphan.namespace)) {
            return false;
        }
        let children = Children { env, plugin, namespace: &orphan.namespace };
        let ours = Ours { plugin: &plugin.identity, subject_uid: Some(&orphan.subject_uid), owner_uid: None };
        let result = children.delete(&orphan.child, ours).await;
        if let Err(error) = &result {
            tracing::warn!(plugin = plugin.key.name, %error, "failed to delete a child whose subject is gone");
        }
        result.is_ok()
    };
    let mut all_gone = true;
    let deletions: Vec<_> = orphans.into_iter().map(prune).collect();
    let mut deletions = stream::iter(deletions).buffered(PARALLEL);
    while let Some(is_gone) = deletions.next().await {
        all_gone &= is_gone;
    }
    all_gone
}

/// Returns the children by key, as a request contains them.
pub(crate) fn by_key(live: &Live) -> BTreeMap<String, Value> {
    let shown = live.objects.values().filter(|child| !child.data.is_null());
    shown
        .filter_map(|child| Some((child.labels().get(KEY_LABEL)?.clone(), serde_json::to_value(child).ok()?)))
        .collect()
}

#[cfg(test)]
mod tests;
