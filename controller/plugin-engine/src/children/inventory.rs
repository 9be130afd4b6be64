//! The children of one plugin in one namespace: reads them, and deletes those that no response includes any more.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{DynamicObject, GetParams},
    core::{ApiResource, Request},
};
use operator_runtime::k8s;

use super::{
    child_ref::ChildRef,
    context::SyncContext,
    drift::Written,
    live::{Live, MAX_READ, ObjectName},
    name_locks::NameLock,
    plan::WantedChild,
    prune_guard::Guarded,
    screen::Approved,
};
use crate::{
    index::{registration::Registered, watches::child_index},
    model::{
        child_meta::{ChildMeta, Ours},
        child_version::ChildName,
    },
};
use plugin_protocol::limits;

/// The number of concurrent requests about the children of one subject.
pub(crate) const PARALLEL: usize = 4;
/// The maximum number of children of one subject that a pass handles. Responses have fewer, and pruning makes room for
/// the rest.
const MAX_KNOWN: usize = 4 * limits::MAX_CHILDREN;
/// The children of a response, with locks on their names.
pub(crate) struct Found<'a> {
    pub(crate) wanted: Vec<WantedChild>,
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
    pub(crate) async fn known(&self, remembered: Remembered<'_>, owner_uid: Option<&str>) -> Vec<ChildRef> {
        self.known_up_to(MAX_KNOWN, remembered, owner_uid).await
    }

    async fn known_up_to(&self, most: usize, remembered: Remembered<'_>, owner_uid: Option<&str>) -> Vec<ChildRef> {
        let ours = Ours { plugin: &self.plugin.identity, subject_uid: Some(remembered.subject_uid), owner_uid };
        let (mut known, mut others) = (Vec::new(), Vec::new());
        for kind in &self.plugin.kinds {
            let cache = self.env.watches.children(&self.plugin.writer, &kind.resource).await;
            let children = cache.indexed(&child_index(&self.plugin.identity, remembered.subject_uid));
            let is_here = |child: &&Arc<ChildMeta>| {
                child.meta().namespace.as_deref() == Some(self.namespace) && ours.holds(child)
            };
            let mut here: HashMap<ChildName, ChildRef> = HashMap::new();
            for child in children.iter().filter(is_here).take(most) {
                here.insert(ChildName::of(&kind.resource, &child.name_any()), ChildRef::of(&kind.resource, child));
            }
            for (written, record) in remembered.written {
                if *written == ChildName::of(&kind.resource, &written.name) {
                    let recorded = || ChildRef {
                        resource: kind.resource.clone(),
                        name: written.name.clone(),
                        uid: record.version.uid.clone(),
                        key: record.key.clone(),
                    };
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
    pub(crate) async fn live(&self, known: &[ChildRef]) -> Result<Live, k8s::Error> {
        let (read, unread) = known.split_at(known.len().min(MAX_READ));
        let mut live = Live::without(unread);
        self.read_into(&mut live, read.iter().map(ObjectName::of).collect()).await?;
        Ok(live)
    }

    /// Reads `objects`, a few at a time, and adds those that exist to `live`.
    async fn read_into(&self, live: &mut Live, objects: Vec<ObjectName>) -> Result<(), k8s::Error> {
        let reads: Vec<_> = objects.iter().map(|object| self.text(&object.resource, &object.name)).collect();
        let mut texts = stream::iter(reads).buffered(PARALLEL).zip(stream::iter(objects.clone()));
        while let Some((text, object)) = texts.next().await {
            let Some(text) = text? else { continue };
            let target = self.target(&object.resource, &object.name);
            let added = live.add(object, &text).map_err(kube::Error::SerdeError);
            k8s::timed("get", &target, async { added }).await?;
        }
        Ok(())
    }

    /// Returns each approved child with the object that exists under its name. Locks the names of new children before
    /// it checks whether they are in use.
    pub(crate) async fn find(&self, approved: Vec<Approved>, mut live: Live) -> Result<Found<'a>, k8s::Error> {
        let name_of =
            |child: &Approved| ObjectName { resource: child.resource().clone(), name: child.name().to_owned() };
        let new: Vec<_> = approved.iter().map(name_of).filter(|name| !live.objects.contains_key(name)).collect();
        let names = new.iter().map(|new| (&new.resource, new.name.as_str()));
        let name_locks = self.env.name_locks.lock_all(self.namespace, names).await;
        self.read_into(&mut live, new).await?;
        let with_live = |child: Approved| {
            let live = live.objects.remove(&name_of(&child));
            WantedChild { child, live }
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
    pub(crate) async fn delete(&self, child: &ChildRef, ours: Ours<'_>) -> Result<(), k8s::Error> {
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
