//! The API of a kind in one namespace.

use kube::{
    Api, Client, Resource,
    core::{DynamicResourceScope, NamespaceResourceScope},
};

/// How the API of a kind in one namespace is constructed. kube has a separate function for kinds that are known only at
/// run time.
pub trait ApiScope<K: Resource> {
    /// Returns the API of the objects in `namespace`.
    fn within(client: Client, namespace: &str, dynamic_type: &K::DynamicType) -> Api<K>;
}

impl<K: Resource<Scope = Self, DynamicType = ()>> ApiScope<K> for NamespaceResourceScope {
    fn within(client: Client, namespace: &str, (): &()) -> Api<K> {
        Api::namespaced(client, namespace)
    }
}

impl<K: Resource<Scope = Self>> ApiScope<K> for DynamicResourceScope {
    fn within(client: Client, namespace: &str, dynamic_type: &K::DynamicType) -> Api<K> {
        Api::namespaced_with(client, namespace, dynamic_type)
    }
}
