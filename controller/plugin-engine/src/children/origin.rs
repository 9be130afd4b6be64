//! The plugin, subject and owner that children are screened for.

use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::child_ref::ChildRef;
use crate::{
    index::registration::Registration,
    model::{
        child_kind::ChildKind,
        subject::{self, KeyedObject},
    },
};

/// The plugin, subject and owner that children are screened for.
#[derive(Clone, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) subject_kind: &'static str,
    pub(crate) subject_name: &'a str,
    pub(crate) subject_uid: &'a str,
    pub(crate) namespace: &'a str,
    /// The owner reference that children get.
    pub(crate) owner: Value,
    pub(crate) kinds: &'a [ChildKind],
    /// The existing children of this plugin and subject.
    pub(crate) known: &'a [ChildRef],
}

impl<'a> Origin<'a> {
    /// Returns the origin of the children of `registration` for `subject`, owned by the Dask resource `owner`. `known`
    /// are the existing children.
    pub(crate) fn new(
        registration: &'a Registration,
        subject: KeyedObject<'a>,
        owner: KeyedObject<'_>,
        known: &'a [ChildRef],
    ) -> Self {
        let (key, resource, owner) = (subject.key, subject::api_resource(owner.key.kind), owner.object);
        Self {
            plugin: &registration.identity,
            subject_kind: subject::kind_name(key.kind),
            subject_name: &key.name,
            subject_uid: subject.object.metadata.uid.as_deref().unwrap_or_default(),
            namespace: &key.namespace,
            // Not blocking: if the cluster checks owner references, blocking would require permissions on the owner.
            owner: json!({
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "name": owner.name_any(),
                "uid": owner.uid(),
                "controller": true,
                "blockOwnerDeletion": false,
            }),
            kinds: &registration.kinds,
            known,
        }
    }
}
