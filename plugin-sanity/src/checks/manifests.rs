//! The children that the plugin returns.

use std::collections::BTreeSet;

use dask_plugin_protocol::{
    Child, ChildKey, ReviewResponse, limits,
    screening::{RESERVED_METADATA, group_of, is_denied, is_reserved_key, is_sensitive},
};
use serde_json::{Value, json};

use super::Outcome;
use crate::{
    Session,
    inputs::Allowed,
    session::{Finding, failed, warning},
};

pub(super) async fn have_valid_keys(session: &Session) -> Outcome {
    for (_, what, answer) in session.answers().await? {
        let children = answer.children.unwrap_or_default();
        if children.len() > limits::MAX_CHILDREN {
            let expected = format!("at most {} children", limits::MAX_CHILDREN);
            return Err(failed(what, expected, children.len().to_string()));
        }
        let mut seen = BTreeSet::new();
        for child in &children {
            if let Err(error) = ChildKey::new(&child.key) {
                return Err(failed(what, "keys of at most 40 of a-z, 0-9 and inner dashes", error.to_string()));
            }
            if !seen.insert(&child.key) {
                return Err(failed(what, "each key once", format!("{} twice", child.key)));
            }
        }
    }
    Ok(())
}

pub(super) async fn are_valid(session: &Session) -> Outcome {
    for (_, what, answer) in session.answers().await? {
        let mut objects = BTreeSet::new();
        for Child { key, manifest, .. } in answer.children.iter().flatten() {
            let fail = |(expected, got): (&str, String)| failed(&what, expected, format!("{key}: {got}"));
            check(manifest).map_err(fail)?;
            let (api_version, kind) = types(manifest);
            let object = (group_of(api_version), kind, manifest.pointer("/metadata/name").and_then(Value::as_str));
            if object.2.is_some() && !objects.insert(object) {
                return Err(fail(("each object once", format!("{kind} {} twice", object.2.unwrap_or_default()))));
            }
        }
        let nested = depth(&json!(ReviewResponse::new(answer)));
        if nested > limits::MAX_JSON_DEPTH {
            return Err(failed(
                what,
                format!("a response with a depth of at most {}", limits::MAX_JSON_DEPTH),
                nested.to_string(),
            ));
        }
    }
    Ok(())
}

/// Checks a manifest. The error has the expected and the actual value.
fn check(manifest: &Value) -> Result<(), (&'static str, String)> {
    let (api_version, kind) = types(manifest);
    if api_version.is_empty() || kind.is_empty() {
        return Err(("apiVersion and kind in each manifest", limits::cut_message(&manifest.to_string()).to_owned()));
    }
    let size = manifest.to_string().len();
    if size > limits::MAX_CHILD_BYTES {
        return Err(("manifests of at most 256 KiB", format!("{size} bytes")));
    }
    let metadata = &manifest["metadata"];
    if !metadata.is_object() && manifest.get("metadata").is_some() {
        return Err(("metadata that is an object", metadata.to_string()));
    }
    let name = metadata.get("name");
    if name.is_some_and(|name| !name.as_str().is_some_and(is_dns_subdomain)) {
        return Err(("no name, or a name that is a DNS name in lower case", metadata["name"].to_string()));
    }
    for field in ["labels", "annotations"] {
        let is_text = |map: &Value| map.as_object().is_some_and(|map| map.values().all(Value::is_string));
        if metadata.get(field).is_some_and(|map| !map.is_null() && !is_text(map)) {
            return Err(("labels and annotations whose values are strings", format!("{field}: {}", metadata[field])));
        }
    }
    Ok(())
}

pub(super) async fn keep_to_kinds(session: &Session) -> Outcome {
    let allowed = &session.inputs.allowed;
    for (_, what, answer) in session.answers().await? {
        for child in answer.children.unwrap_or_default() {
            let (api_version, kind) = types(&child.manifest);
            let got = format!("{}: {api_version} {kind}", child.key);
            if is_denied(group_of(api_version), kind) {
                return Err(failed(what, "no kind that controls permissions, admission or Dask itself", got));
            }
            let Some(allowed) = allowed else { continue };
            let matches = |rule: &&Allowed| rule.api_version == api_version && rule.kind == kind;
            match allowed.iter().find(matches) {
                None => return Err(failed(what, "kinds that spec.children of the plugin lists", got)),
                Some(rule) if is_sensitive(kind) && !rule.sensitive => {
                    return Err(failed(what, "allowSensitive: true in spec.children for this kind", got));
                }
                Some(_) => {}
            }
        }
    }
    if allowed.is_none() {
        let why = "set --plugin or --allow to check the kinds; no child has a kind that is always denied";
        return Err(Finding::Skipped(why.to_owned()));
    }
    Ok(())
}

pub(super) async fn leave_fields_to_the_controller(session: &Session) -> Outcome {
    for (review, what, answer) in session.answers().await? {
        let namespace = &review["request"]["owner"]["object"]["metadata"]["namespace"];
        for Child { key, manifest, .. } in answer.children.iter().flatten() {
            if let Some(field) = superfluous(manifest, namespace) {
                return Err(warning(what, "none of the fields that the controller sets", format!("{key}: {field}")));
            }
        }
    }
    Ok(())
}

/// Returns a field that the controller removes or replaces.
fn superfluous(manifest: &Value, namespace: &Value) -> Option<String> {
    let metadata = &manifest["metadata"];
    if !manifest["status"].is_null() {
        return Some("status".to_owned());
    }
    if let Some(field) = RESERVED_METADATA.iter().find(|field| !metadata[**field].is_null()) {
        return Some(format!("metadata.{field}"));
    }
    if !metadata["namespace"].is_null() && metadata["namespace"] != *namespace {
        return Some(format!("metadata.namespace: {}", metadata["namespace"]));
    }
    ["labels", "annotations"].into_iter().find_map(|field| {
        let name = metadata[field].as_object()?.keys().find(|name| is_reserved_key(name))?;
        Some(format!("metadata.{field}: {name}"))
    })
}

fn types(manifest: &Value) -> (&str, &str) {
    let text = |field: &str| manifest[field].as_str().unwrap_or_default();
    (text("apiVersion"), text("kind"))
}

/// Returns whether `name` is a DNS subdomain (RFC 1123).
fn is_dns_subdomain(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let is_label =
        |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed) && label.trim_matches('-') == label;
    name.len() <= 253 && name.split('.').all(is_label)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
