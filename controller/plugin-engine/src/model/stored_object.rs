//! Objects in the caches of subjects: metadata for decisions, and the rest as text.
//!
//! Plugins may be called about tens of thousands of objects, and each object is read only for its own pass. As a tree,
//! an object would take ten times the memory of its text, and 90 times if a user writes small maps.

use std::borrow::Cow;

use kube::{
    Resource,
    api::{DynamicObject, ObjectMeta, TypeMeta},
    core::{ApiResource, DynamicResourceScope},
};
use serde::{Deserialize, Deserializer, Serialize};

/// An object of any kind. It is serialised only to measure it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StoredObject {
    types: Option<TypeMeta>,
    metadata: ObjectMeta,
    /// The fields of the object other than its type and metadata.
    data: Box<str>,
}

impl StoredObject {
    /// Returns the object as a tree, for the duration of a pass.
    pub(crate) fn object(&self) -> DynamicObject {
        DynamicObject {
            types: self.types.clone(),
            metadata: self.metadata.clone(),
            // The text was serialised from a tree.
            data: serde_json::from_str(&self.data).unwrap_or_default(),
        }
    }
}

impl<'de> Deserialize<'de> for StoredObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let DynamicObject { types, metadata, data } = DynamicObject::deserialize(deserializer)?;
        Ok(Self { types, metadata, data: data.to_string().into() })
    }
}

impl Resource for StoredObject {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        DynamicObject::kind(resource)
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        DynamicObject::group(resource)
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        DynamicObject::version(resource)
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        DynamicObject::api_version(resource)
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        DynamicObject::plural(resource)
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
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_comes_back_as_it_was_stored() {
        let text = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "labels": {"b": "c"}},
            "data": {"z": "1", "a": [1, 2.5, null, {"b": {}}]},
        });
        let stored: StoredObject = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(stored.meta().name.as_deref(), Some("a"));
        assert_eq!(serde_json::to_value(stored.object()).unwrap(), text);
    }
}
