//! Derives children from the attachments in the response of a hook.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use dask_plugin_server::protocol::{Child, Subject};
use serde_json::{Number, Value};

use crate::keys::{Identity, keys};

/// The largest integer up to which each integer has a floating-point number.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The children, and what the user should know about them.
#[derive(Debug, Default)]
pub(crate) struct Children {
    pub(crate) children: Vec<Child>,
    pub(crate) warnings: Vec<String>,
}

/// Returns the attachments as children. Of several with the same identity, the last one is used, as in Metacontroller.
///
/// The error is a sentence about the first attachment that Metacontroller could not create either, or that a plugin may
/// not return.
pub(crate) fn children(attachments: Vec<Value>, subject: &Subject) -> Result<Children, String> {
    let mut positions = BTreeMap::<Identity, usize>::new();
    let (mut identities, mut manifests) = (Vec::new(), Vec::new());
    let mut warnings = Vec::new();
    for mut attachment in attachments {
        let identity = identity(&attachment)?;
        let what = format!("{} {}", identity.kind, identity.name);
        let namespace = attachment.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        if !namespace.is_empty() && namespace != subject.namespace() {
            return Err(format!(
                "the hook set another namespace for {what}; children are in the namespace of the Dask resource"
            ));
        }
        write_integers(&mut attachment);
        match positions.entry(identity.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(manifests.len());
                identities.push(identity);
                manifests.push(attachment);
            }
            Entry::Occupied(position) => {
                manifests[*position.get()] = attachment;
                warnings.push(format!("the hook returned {what} more than once; the last one is used"));
            }
        }
    }
    warnings.dedup();
    let children = keys(&identities).into_iter().zip(manifests);
    Ok(Children { children: children.map(|(key, manifest)| Child::new(key, manifest)).collect(), warnings })
}

/// Returns the identity of an attachment. The error is a sentence that says what is missing.
pub(crate) fn identity(attachment: &Value) -> Result<Identity, String> {
    if attachment.is_null() {
        return Err("the hook returned null as an attachment; leave it out".to_owned());
    }
    let text = |pointer: &str| {
        attachment.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty()).map(ToOwned::to_owned)
    };
    let missing = |field: &str| format!("the hook returned an attachment without {field}; set it");
    let api_version = text("/apiVersion").ok_or_else(|| missing("apiVersion"))?;
    let kind = text("/kind").ok_or_else(|| missing("kind"))?;
    let name = text("/metadata/name").ok_or_else(|| {
        if kind.ends_with("List") && attachment["items"].is_array() {
            format!("the hook returned a {kind} as an attachment; return its items")
        } else if text("/metadata/generateName").is_some() {
            format!("the hook returned a {kind} with metadata.generateName; set metadata.name")
        } else {
            missing("metadata.name")
        }
    })?;
    Ok(Identity { api_version, kind, name })
}

/// Writes numbers such as `80.0`, which a hook in Python may return, as integers. Go does the same, and the API server
/// requires it for fields such as ports.
fn write_integers(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(write_integers),
        Value::Object(fields) => fields.values_mut().for_each(write_integers),
        Value::Number(number) => {
            if let Some(integer) = integer(number) {
                *number = integer;
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the number is an integer in the range of i64")]
fn integer(number: &Number) -> Option<Number> {
    let float = number.as_f64().filter(|_| number.is_f64())?;
    (float.fract() == 0.0 && float.abs() <= MAX_EXACT).then(|| Number::from(float as i64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_map(name: &str, data: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": data}})
    }

    fn children_of(attachments: &[Value]) -> Result<Children, String> {
        children(attachments.to_vec(), &Subject::new(json!({"metadata": {"namespace": "team-a"}})))
    }

    #[test]
    fn of_several_attachments_with_the_same_identity_the_last_one_is_used() {
        let (first, other, last) = (config_map("a", "1"), config_map("b", "2"), config_map("a", "3"));
        let found = children_of(&[first.clone(), other.clone(), first, last.clone()]).unwrap();
        let manifests: Vec<_> = found.children.into_iter().map(|child| child.manifest).collect();
        assert_eq!(manifests, [last, other]);
        assert_eq!(found.warnings, ["the hook returned ConfigMap a more than once; the last one is used"]);
    }

    #[test]
    fn objects_of_different_groups_are_different() {
        let ingress = |group| json!({"apiVersion": group, "kind": "Ingress", "metadata": {"name": "a"}});
        let found = children_of(&[ingress("networking.k8s.io/v1"), ingress("example.org/v1")]).unwrap();
        assert_eq!((found.children.len(), found.warnings.len()), (2, 0));
    }

    #[test]
    fn the_namespace_may_be_absent_or_empty_or_that_of_the_subject() {
        for namespace in [json!(null), json!(""), json!("team-a")] {
            let mut attachment = config_map("a", "1");
            attachment["metadata"]["namespace"] = namespace;
            assert_eq!(children_of(&[attachment]).unwrap().children.len(), 1);
        }
    }

    #[test]
    fn numbers_that_are_integers_are_written_as_integers() {
        let mut attachment = config_map("a", "1");
        attachment["spec"] = serde_json::from_str("{\"ports\": [80.0, 8e1, 0.5, -2.0, 3, 1e300]}").unwrap();
        let found = children_of(&[attachment]).unwrap();
        assert_eq!(found.children[0].manifest["spec"].to_string(), "{\"ports\":[80,80,0.5,-2,3,1e+300]}");
    }
}
