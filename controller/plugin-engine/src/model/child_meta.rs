//! The metadata of children in watch caches. It has the names of the field managers that applied the child instead of
//! `managedFields`.

use std::borrow::Cow;

use dask_operator_api::meta;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::{
    Resource, ResourceExt as _,
    api::{DynamicObject, ObjectMeta, TypeMeta},
    core::{ApiResource, DynamicResourceScope},
};
use operator_runtime::k8s::FIELD_MANAGER;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::model::labels::{PLUGIN_LABEL, SUBJECT_LABEL};

/// A child without its content. It is serialised only to measure it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ChildMeta {
    metadata: ObjectMeta,
    /// Field managers of this program that applied the object.
    appliers: Vec<String>,
}

impl ChildMeta {
    /// Returns whether `manager` applied the object. Any client can copy labels and owner references, but the API
    /// server records which manager applied an object.
    pub(crate) fn is_applied_by(&self, manager: &str) -> bool {
        self.appliers.iter().any(|applier| applier == manager)
    }

    /// Returns the object without its content, for callers that need a `DynamicObject`. Its managed fields contain only
    /// the managers that applied it.
    pub(crate) fn without_content(self, resource: &ApiResource) -> DynamicObject {
        let applied = |manager| ManagedFieldsEntry {
            manager: Some(manager),
            operation: Some("Apply".to_owned()),
            ..ManagedFieldsEntry::default()
        };
        let managed_fields = self.appliers.into_iter().map(applied).collect();
        DynamicObject {
            types: Some(TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() }),
            metadata: ObjectMeta { managed_fields: Some(managed_fields), ..self.metadata },
            data: Value::Null,
        }
    }
}

/// Returns the field manager of children of the plugin with this identity.
pub(crate) fn manager_of(identity: &str) -> String {
    format!("{FIELD_MANAGER}/{identity}")
}

/// The criteria for a plugin's own children. No other object is ever counted or deleted as a child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ours<'a> {
    /// The plugin's identity.
    pub(crate) plugin: &'a str,
    /// The uid of the subject, or `None` for the children of all subjects.
    pub(crate) subject_uid: Option<&'a str>,
    /// The uid of the Dask resource that controls the children, or `None` if it may be gone. Then any Dask resource is
    /// accepted as their controller.
    pub(crate) owner_uid: Option<&'a str>,
}

impl Ours<'_> {
    /// Returns whether `child` has our labels and our owner, and was applied by this program.
    pub(crate) fn holds(&self, child: &ChildMeta) -> bool {
        let labels = child.labels();
        let is_owned = match self.owner_uid {
            Some(uid) => operator_runtime::k8s::is_controlled_by(child, uid),
            None => meta::is_controlled_by_dask(child),
        };
        let has_subject = |uid: &str| labels.get(SUBJECT_LABEL).is_some_and(|found| found == uid);
        is_owned
            && labels.get(PLUGIN_LABEL).is_some_and(|plugin| plugin == self.plugin)
            && self.subject_uid.is_none_or(has_subject)
            && child.is_applied_by(&manager_of(self.plugin))
    }
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
}

/// An object's metadata, split into `managedFields` and the other fields.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    managed_fields: Vec<Manager>,
    #[serde(flatten)]
    rest: ObjectMeta,
}

/// An entry of `managedFields`. The sets of fields, which are most of an object's metadata, are not parsed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Manager {
    manager: Option<String>,
    operation: Option<String>,
}

impl<'de> Deserialize<'de> for ChildMeta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Metadata { managed_fields, rest } = Object::deserialize(deserializer)?.metadata;
        let is_ours = |entry: &Manager| entry.operation.as_deref() == Some("Apply");
        let appliers = managed_fields.into_iter().filter(is_ours).filter_map(|entry| entry.manager);
        let appliers = appliers.filter(|manager| manager.starts_with(FIELD_MANAGER)).take(MAX_APPLIERS).collect();
        Ok(Self { metadata: rest, appliers })
    }
}

/// The maximum number of appliers that are kept. An object belongs to one plugin, so further names are not its own.
const MAX_APPLIERS: usize = 8;

impl Resource for ChildMeta {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_managers_that_applied_an_object_are_kept() {
        let child: ChildMeta = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
            "metadata": {
                "name": "a", "namespace": "ns", "uid": "u", "labels": {"x": "y"}, "annotations": {"c": "d"},
                "managedFields": [
                    {"manager": "dask-operator/echo", "operation": "Apply", "fieldsV1": {"f:data": {}}},
                    {"manager": "dask-operator/other", "operation": "Update"},
                    {"manager": "kubectl", "operation": "Apply"},
                ],
            },
        }))
        .unwrap();
        assert!(child.is_applied_by(&manager_of("echo")));
        assert!(!child.is_applied_by(&manager_of("other")) && !child.is_applied_by("kubectl"));
        assert_eq!((child.name_any().as_str(), child.uid().as_deref()), ("a", Some("u")));
        assert_eq!((child.labels()["x"].as_str(), child.annotations()["c"].as_str()), ("y", "d"));
        assert_eq!(child.namespace().as_deref(), Some("ns"));
    }

    /// Each of these changes means that the child is not ours: a user took it over, or none of our managers ever wrote
    /// it.
    #[test]
    fn a_child_of_the_plugin_has_its_labels_its_owner_and_its_field_manager() {
        let owner = json!({"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "demo", "uid": "owner",
            "controller": true});
        let whole = json!({"metadata": {
            "name": "a",
            "labels": {
                "plugin.kubernetes.dask.org/plugin": "echo", "plugin.kubernetes.dask.org/subject-uid": "subject",
            },
            "ownerReferences": [owner],
            "managedFields": [{"manager": "dask-operator/echo", "operation": "Apply"}],
        }});
        let holds = |value: &serde_json::Value, owner_uid| {
            let child: ChildMeta = serde_json::from_value(value.clone()).unwrap();
            Ours { plugin: "echo", subject_uid: Some("subject"), owner_uid }.holds(&child)
        };
        assert!(holds(&whole, Some("owner")) && holds(&whole, None));
        let edits = [
            ("/metadata/labels", json!({})),
            ("/metadata/labels/plugin.kubernetes.dask.org~1plugin", json!("other")),
            ("/metadata/labels/plugin.kubernetes.dask.org~1subject-uid", json!("other")),
            ("/metadata/ownerReferences", json!([])),
            ("/metadata/ownerReferences/0/controller", json!(false)),
            ("/metadata/managedFields/0/operation", json!("Update")),
            ("/metadata/managedFields/0/manager", json!("dask-operator/other")),
        ];
        for (pointer, value) in edits {
            let mut edited = whole.clone();
            *edited.pointer_mut(pointer).unwrap() = value;
            assert!(!holds(&edited, Some("owner")) && !holds(&edited, None), "{pointer}");
        }
        assert!(!holds(&whole, Some("another owner")));
    }

    #[test]
    fn an_object_created_by_another_client_with_our_labels_is_not_applied_by_us() {
        let forged: ChildMeta = serde_json::from_value(json!({"metadata": {
            "name": "a", "labels": {"plugin.kubernetes.dask.org/plugin": "echo"},
            "managedFields": [{"manager": "kubectl-create", "operation": "Update"}],
        }}))
        .unwrap();
        assert!(!forged.is_applied_by(&manager_of("echo")));
    }
}
