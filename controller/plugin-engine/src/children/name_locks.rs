//! Locks on the names that new children are about to get. Between the GET that finds no object and the write, another
//! subject of the same plugin could create the same object. Server-side apply would then let both subjects share it,
//! because it distinguishes managers but not subjects.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Mutex, PoisonError},
};

use kube::core::ApiResource;
use tokio::sync::Notify;

/// An object of any version of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Object {
    group: String,
    plural: String,
    namespace: String,
    name: String,
}

/// The names that are locked at the moment.
#[derive(Debug, Default)]
pub(crate) struct NameLocks {
    taken: Mutex<HashSet<Object>>,
    freed: Notify,
}

/// A lock on a name. Dropping it releases the name.
#[derive(Debug)]
pub(crate) struct NameLock<'a> {
    name_locks: &'a NameLocks,
    object: Object,
}

impl NameLocks {
    /// Locks a name. Returns `None` if it is already locked.
    pub(crate) fn take(&self, resource: &ApiResource, namespace: &str, name: &str) -> Option<NameLock<'_>> {
        self.take_object(object_of(resource, namespace, name))
    }

    /// Waits until all of these names in `namespace` are locked. Names are locked in a fixed order to avoid deadlock.
    pub(crate) async fn lock_all(
        &self,
        namespace: &str,
        children: impl Iterator<Item = (&ApiResource, &str)>,
    ) -> Vec<NameLock<'_>> {
        let objects: BTreeSet<Object> = children.map(|(kind, name)| object_of(kind, namespace, name)).collect();
        let mut locks = Vec::with_capacity(objects.len());
        for object in objects {
            locks.push(self.wait_for(object).await);
        }
        locks
    }

    async fn wait_for(&self, object: Object) -> NameLock<'_> {
        loop {
            let freed = self.freed.notified();
            let mut freed = std::pin::pin!(freed);
            // Registers for notifications first, so that a release after this line is not missed.
            freed.as_mut().enable();
            if let Some(lock) = self.take_object(object.clone()) {
                return lock;
            }
            freed.await;
        }
    }

    fn take_object(&self, object: Object) -> Option<NameLock<'_>> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(object.clone());
        // Constructed lazily, because dropping an unused guard would release the name.
        taken.then(|| NameLock { name_locks: self, object })
    }
}

fn object_of(resource: &ApiResource, namespace: &str, name: &str) -> Object {
    Object {
        group: resource.group.clone(),
        plural: resource.plural.clone(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

impl Drop for NameLock<'_> {
    fn drop(&mut self) {
        self.name_locks.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.object);
        self.name_locks.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_api::testing::mk_resource;

    use super::*;

    #[test]
    fn a_name_is_locked_once_for_all_versions_of_its_kind() {
        let (name_locks, resource) = (NameLocks::default(), mk_resource("networking.k8s.io/v1", "Ingress"));
        let first = name_locks.take(&resource, "ns", "web");
        assert!(first.is_some());
        let other_version = mk_resource("networking.k8s.io/v1beta1", "Ingress");
        assert!(name_locks.take(&resource, "ns", "web").is_none());
        assert!(name_locks.take(&other_version, "ns", "web").is_none());
        assert!(name_locks.take(&resource, "other", "web").is_some());
        assert!(name_locks.take(&mk_resource("v1", "ConfigMap"), "ns", "web").is_some());
        drop(first);
        assert!(name_locks.take(&resource, "ns", "web").is_some());
    }

    /// Both callers request both names, in opposite order.
    #[tokio::test]
    async fn who_wants_what_another_has_gets_it_afterwards() {
        let (name_locks, resource) = (NameLocks::default(), mk_resource("v1", "ConfigMap"));
        let lock_all = async |names: [&'static str; 2]| {
            name_locks.lock_all("ns", names.map(|name| (&resource, name)).into_iter()).await
        };
        let first = lock_all(["a", "b"]).await;
        let mut second = std::pin::pin!(lock_all(["b", "a"]));
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(first);
        assert_eq!(second.await.len(), 2);
        assert_eq!(lock_all(["a", "a"]).await.len(), 1, "nobody waits for himself");
    }
}
