//! Decides which children of a response may be written, and renders their metadata. This module is central to the
//! security of the plugin engine: only [`Approved`] children reach the API server, and only this module creates them.

use std::collections::BTreeSet;

use dask_operator_api::meta;
use kube::core::ApiResource;
use operator_runtime::rejection::Rejection;
use serde_json::{Map, Value, json};

use super::{
    names::{DefaultNames, Role},
    origin::Origin,
};
use crate::model::{
    child_kind::{self, ChildKind},
    labels::{KEY_LABEL, PLUGIN_LABEL, SUBJECT_LABEL},
    rejected_child::Rejected,
};
use plugin_protocol::{
    Child, ChildKey, limits,
    screening::{RESERVED_METADATA, is_reserved_key},
};

const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "dask-operator");

/// A child that may be written. Its fields are private, so that no other module can create one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Approved {
    key: ChildKey,
    name: String,
    /// The name to use instead of `name`, if that is a default name and in use.
    second_name: Option<String>,
    resource: ApiResource,
    manifest: Value,
}

impl Approved {
    pub(crate) fn key(&self) -> &ChildKey {
        &self.key
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn resource(&self) -> &ApiResource {
        &self.resource
    }

    pub(crate) fn manifest(&self) -> &Value {
        &self.manifest
    }

    /// Returns the same child under its second default name. Returns `None` if its manifest has a name, or if it
    /// already has the second one.
    pub(crate) fn with_second_name(&self) -> Option<Self> {
        let name = self.second_name.clone()?;
        let mut manifest = self.manifest.clone();
        manifest["metadata"]["name"] = json!(name);
        Some(Self { name, second_name: None, manifest, ..self.clone() })
    }
}

/// The children of a response after screening.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Screened {
    pub(crate) approved: Vec<Approved>,
    pub(crate) rejected: Vec<Rejected>,
}

/// Screens all children before any is written. A rejected child does not stop the others.
pub(crate) fn screen(children: Vec<Child>, origin: &Origin<'_>) -> Screened {
    let (mut approved, mut rejected) = (Vec::new(), Vec::new());
    let (mut keys, mut objects) = (BTreeSet::new(), BTreeSet::new());
    for (index, child) in children.into_iter().enumerate() {
        let key = limits::cut_message(&child.key).to_owned();
        let unique = |approved: Approved| {
            if !keys.insert(approved.key.clone()) {
                return Err(Rejection::new("DuplicateKey", format!("the key {key} is used twice")));
            }
            let object = (approved.resource.plural.clone(), approved.resource.group.clone(), approved.name.clone());
            if !objects.insert(object) {
                return Err(Rejection::new(
                    "DuplicateName",
                    format!("{} {} occurs twice", approved.resource.kind, approved.name),
                ));
            }
            Ok(approved)
        };
        let verdict = if index < limits::MAX_CHILDREN {
            screen_one(child, origin).and_then(unique)
        } else {
            Err(Rejection::new(
                "TooManyChildren",
                format!("a response may have at most {} children", limits::MAX_CHILDREN),
            ))
        };
        match verdict {
            Ok(child) => approved.push(child),
            Err(Rejection { reason, message }) => rejected.push(Rejected { key: key.clone(), reason, message }),
        }
    }
    Screened { approved, rejected }
}

fn screen_one(child: Child, origin: &Origin<'_>) -> Result<Approved, Rejection> {
    let key = ChildKey::new(&child.key).map_err(|error| Rejection::new("InvalidKey", error.to_string()))?;
    let size = child.manifest.to_string().len();
    if size > limits::MAX_CHILD_BYTES {
        let message = format!("{key}: the manifest has {size} bytes, and may have {}", limits::MAX_CHILD_BYTES);
        return Err(Rejection::new("TooLarge", message));
    }
    let Value::Object(mut manifest) = child.manifest else {
        return Err(Rejection::new("InvalidManifest", format!("{key}: the manifest is not an object")));
    };
    let kind = permitted_kind(&key, &manifest, origin)?;
    let metadata = match manifest.remove("metadata") {
        None => Map::new(),
        Some(Value::Object(metadata)) => metadata,
        Some(_) => return Err(Rejection::new("InvalidManifest", format!("{key}: metadata is not an object"))),
    };
    let ChildNames { name, second_name } = match metadata.get("name") {
        None => default_names(origin, &key, &kind.resource),
        Some(Value::String(name)) if is_dns_subdomain(name) => ChildNames { name: name.clone(), second_name: None },
        Some(_) => {
            return Err(Rejection::new(
                "InvalidManifest",
                format!("{key}: metadata.name is not a DNS name in lower case"),
            ));
        }
    };
    for field in ["labels", "annotations"] {
        if metadata.get(field).is_some_and(|map| !(map.is_object() || map.is_null())) {
            return Err(Rejection::new("InvalidManifest", format!("{key}: metadata.{field} is not an object")));
        }
    }
    manifest.remove("status");
    manifest.insert("metadata".to_owned(), render_metadata(metadata, &name, &key, origin));
    Ok(Approved { key, name, second_name, resource: kind.resource.clone(), manifest: Value::Object(manifest) })
}

/// Returns whether `name` is a DNS subdomain (RFC 1123), which nearly all kinds require. This also keeps names from
/// changing other parts of a URL's path.
fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(meta::is_dns_label)
}

fn permitted_kind<'a>(
    key: &ChildKey,
    manifest: &Map<String, Value>,
    origin: &Origin<'a>,
) -> Result<&'a ChildKind, Rejection> {
    let text = |field| manifest.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version.is_empty() || kind.is_empty() {
        return Err(Rejection::new("InvalidManifest", format!("{key}: apiVersion and kind are required")));
    }
    let what = limits::cut_message(&format!("{api_version} {kind}")).to_owned();
    let group = child_kind::group_of(api_version);
    if child_kind::is_denied(group, kind) {
        return Err(Rejection::new("KindDenied", format!("{key}: no plugin may write {what}")));
    }
    let Some(rule) = origin.kinds.iter().find(|rule| rule.is(api_version, kind)) else {
        return Err(Rejection::new("KindNotAllowed", format!("{key}: {what} is not in spec.children of the plugin")));
    };
    if !rule.namespaced {
        return Err(Rejection::new("ClusterScoped", format!("{key}: {what} is cluster-scoped")));
    }
    if child_kind::is_sensitive(kind) && !rule.allow_sensitive {
        return Err(Rejection::new(
            "Sensitive",
            format!("{key}: {what} needs allowSensitive in spec.children of the plugin"),
        ));
    }
    Ok(rule)
}

/// Renders the metadata of a child. This happens last and uses only the values of `origin`, so that a response can
/// neither forge an owner nor claim another plugin's child.
fn render_metadata(mut metadata: Map<String, Value>, name: &str, key: &ChildKey, origin: &Origin<'_>) -> Value {
    for field in RESERVED_METADATA {
        metadata.remove(field);
    }
    let mut labels = without_reserved_keys(metadata.remove("labels"));
    let ours =
        [MANAGED_BY, (PLUGIN_LABEL, origin.plugin), (SUBJECT_LABEL, origin.subject_uid), (KEY_LABEL, key.as_str())];
    for (label, value) in ours {
        labels.insert(label.to_owned(), json!(value));
    }
    let annotations = without_reserved_keys(metadata.remove("annotations"));
    metadata.insert("name".to_owned(), json!(name));
    metadata.insert("namespace".to_owned(), json!(origin.namespace));
    metadata.insert("labels".to_owned(), Value::Object(labels));
    metadata.insert("annotations".to_owned(), Value::Object(annotations));
    metadata.insert("ownerReferences".to_owned(), json!([origin.owner]));
    Value::Object(metadata)
}

fn without_reserved_keys(map: Option<Value>) -> Map<String, Value> {
    match map {
        Some(Value::Object(map)) => map.into_iter().filter(|(key, _)| !is_reserved_key(key)).collect(),
        _ => Map::new(),
    }
}

/// The name of a child, and the one that may replace it.
struct ChildNames {
    name: String,
    second_name: Option<String>,
}

/// Returns the default name of a child, and the second one if the child does not have it already.
fn default_names(origin: &Origin<'_>, key: &ChildKey, kind: &ApiResource) -> ChildNames {
    let Origin { plugin, subject_kind, subject_name, known, .. } = *origin;
    let names = DefaultNames::of(Role { subject_kind, subject_name, plugin, key });
    if names.is_second(known, kind, key) {
        ChildNames { name: names.second, second_name: None }
    } else {
        ChildNames { name: names.first, second_name: Some(names.second) }
    }
}

/// Returns children of the plugin `p` for the Service `demo`, with the keys `k`, `l` and so on. They are screened,
/// because nothing else creates approved children.
#[cfg(test)]
pub(crate) fn approved_for_tests(manifests: &[Value]) -> Vec<Approved> {
    let resource = dask_operator_api::testing::mk_resource("v1", "ConfigMap");
    let kinds = [ChildKind { resource, namespaced: true, allow_sensitive: false, recreate: false }];
    let origin = Origin {
        plugin: "p",
        subject_kind: "Service",
        subject_name: "demo",
        subject_uid: "u",
        namespace: "ns",
        owner: json!({"kind": "DaskCluster", "name": "demo", "uid": "o", "controller": true}),
        kinds: &kinds,
        known: &[],
    };
    let keys = ('k'..='z').map(String::from);
    let children = manifests.iter().zip(keys).map(|(manifest, key)| Child::new(key, manifest.clone())).collect();
    screen(children, &origin).approved
}

#[cfg(test)]
mod tests;
