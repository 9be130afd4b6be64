//! Names that are being given to new children. Between the GET that finds nothing and the write, another
//! subject of the same plugin could make the same object, and server-side apply, which tells managers but not
//! subjects apart, would have both share it.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use kube::core::ApiResource;

/// Group, plural, namespace and name.
type Object = (String, String, String, String);

/// The names that are taken at the moment.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<HashSet<Object>>);

/// Keeps a name until it is dropped.
#[derive(Debug)]
pub(super) struct Claimed<'a> {
    claims: &'a Claims,
    object: Object,
}

impl Claims {
    /// Takes a name, unless somebody has it.
    pub(super) fn take(&self, resource: &ApiResource, namespace: &str, name: &str) -> Option<Claimed<'_>> {
        let object = (resource.group.clone(), resource.plural.clone(), namespace.to_owned(), name.to_owned());
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(object.clone());
        // One that is made for nothing would give the name back.
        taken.then(|| Claimed { claims: self, object })
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.claims.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_fixtures::mk_resource;

    #[test]
    fn a_name_is_given_once_at_a_time_in_whatever_version_of_its_kind() {
        let (claims, resource) = (Claims::default(), mk_resource("networking.k8s.io/v1", "Ingress"));
        let first = claims.take(&resource, "ns", "web");
        assert!(first.is_some());
        let other_version = mk_resource("networking.k8s.io/v1beta1", "Ingress");
        assert!(claims.take(&resource, "ns", "web").is_none());
        assert!(claims.take(&other_version, "ns", "web").is_none());
        assert!(claims.take(&resource, "other", "web").is_some());
        assert!(claims.take(&mk_resource("v1", "ConfigMap"), "ns", "web").is_some());
        drop(first);
        assert!(claims.take(&resource, "ns", "web").is_some());
    }
}
