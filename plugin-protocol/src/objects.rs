//! The Kubernetes objects in a request: the subject, its owner and the children that exist already.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The object that a request is about.
///
/// ```
/// use dask_plugin_protocol::Subject;
/// use serde_json::json;
///
/// let object = json!({"kind": "Service", "metadata": {"name": "demo-scheduler", "namespace": "team-a"}});
/// let subject = Subject::new(object).component("scheduler");
/// assert_eq!((subject.kind(), subject.namespace(), subject.name()), ("Service", "team-a", "demo-scheduler"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Subject {
    /// `scheduler`, `worker` or `job-runner` for objects that the controller created; otherwise absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub component: Option<String>,
    /// The object, without managed fields.
    pub object: Value,
}

impl Subject {
    /// Creates a subject that is not a component of a cluster.
    pub fn new(object: Value) -> Self {
        Self { component: None, object }
    }

    /// Sets the component.
    #[must_use]
    pub fn component(mut self, component: impl Into<String>) -> Self {
        self.component = Some(component.into());
        self
    }

    /// Returns `metadata.name`, or "" if the request is malformed.
    pub fn name(&self) -> &str {
        metadata_field(&self.object, "name")
    }

    /// Returns `metadata.namespace`, or "" if the request is malformed.
    pub fn namespace(&self) -> &str {
        metadata_field(&self.object, "namespace")
    }

    /// Returns `kind`, or "" if the request is malformed.
    pub fn kind(&self) -> &str {
        field(&self.object, "kind")
    }
}

fn field<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn metadata_field<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get("metadata").map(|metadata| field(metadata, name)).unwrap_or_default()
}

/// The Dask resource that owns the children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Owner {
    /// `apiVersion` of the object.
    pub api_version: String,
    /// `kind` of the object.
    pub kind: String,
    /// The object, without managed fields.
    pub object: Value,
}

impl Owner {
    /// Creates an owner of this version and kind.
    pub fn new(api_version: impl Into<String>, kind: impl Into<String>, object: Value) -> Self {
        Self { api_version: api_version.into(), kind: kind.into(), object }
    }

    /// Creates an owner from an object that has `apiVersion` and `kind`.
    ///
    /// ```
    /// use dask_plugin_protocol::Owner;
    /// use serde_json::json;
    ///
    /// let object = json!({"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "metadata": {"name": "demo"}});
    /// let owner = Owner::from_object(object);
    /// assert_eq!((owner.kind.as_str(), owner.name()), ("DaskCluster", "demo"));
    /// ```
    pub fn from_object(object: Value) -> Self {
        Self::new(field(&object, "apiVersion").to_owned(), field(&object, "kind").to_owned(), object)
    }

    /// Returns `metadata.name`, or "" if the request is malformed.
    pub fn name(&self) -> &str {
        metadata_field(&self.object, "name")
    }
}

/// The children that exist already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Observed {
    /// The children by key.
    #[serde(default)]
    pub children: BTreeMap<String, ObservedChild>,
}

/// Collects children from keys and objects.
///
/// ```
/// use dask_plugin_protocol::Observed;
/// use serde_json::json;
///
/// let observed: Observed = [("config", json!({"kind": "ConfigMap"}))].into_iter().collect();
/// assert_eq!(observed.children["config"].object["kind"], "ConfigMap");
/// ```
impl<K: Into<String>> FromIterator<(K, Value)> for Observed {
    fn from_iter<T: IntoIterator<Item = (K, Value)>>(children: T) -> Self {
        let children = children.into_iter().map(|(key, object)| (key.into(), ObservedChild::new(object)));
        Self { children: children.collect() }
    }
}

/// A child as it is in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ObservedChild {
    /// The object, without managed fields.
    pub object: Value,
}

impl ObservedChild {
    /// Creates a child.
    pub fn new(object: Value) -> Self {
        Self { object }
    }
}
