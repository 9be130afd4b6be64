//! Blanks values that may be secret. Pure.

use serde_json::{Value, json};

/// What stands where a value was.
pub(crate) const BLANK: &str = "(blanked)";
/// Annotations that repeat a whole object as it was written.
const COPIES: [&str; 4] = ["last-applied", "last-handled-configuration", "service-fields", "last-known-configuration"];

/// Blanks what may be secret in an object: data of Secrets, values of environment variables, settings of plugins, and
/// annotations that repeat the object.
pub(crate) fn redact(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        let copies = annotations.iter_mut().filter(|(key, _)| COPIES.iter().any(|copy| key.contains(copy)));
        copies.for_each(|(_, value)| *value = json!(BLANK));
    }
    match object.get("kind").and_then(Value::as_str) {
        Some("Secret") => ["/data", "/stringData"].into_iter().for_each(|field| blank_at(object, field)),
        Some("DaskOperatorPlugin") => blank_at(object, "/spec/settings"),
        _ => {}
    }
    walk(object);
}

fn blank_at(object: &mut Value, pointer: &str) {
    if let Some(value) = object.pointer_mut(pointer) {
        blank(value);
    }
}

/// Replaces all scalars, and keeps the keys.
fn blank(value: &mut Value) {
    match value {
        Value::Null => {}
        Value::Object(fields) => fields.values_mut().for_each(blank),
        Value::Array(values) => values.iter_mut().for_each(blank),
        _ => *value = json!(BLANK),
    }
}

fn walk(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match key.as_str() {
                    "env" => blank_env(field),
                    "args" | "command" => blank_arguments(field),
                    _ => walk(field),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(walk),
        _ => {}
    }
}

/// Keeps the names of variables, and the references to Secrets and ConfigMaps.
fn blank_env(env: &mut Value) {
    match env {
        Value::Array(variables) => {
            for value in variables.iter_mut().filter_map(|variable| variable.get_mut("value")) {
                *value = json!(BLANK);
            }
        }
        other => blank(other),
    }
}

/// Blanks the value of an argument such as `--password=x`, and the argument after one such as `--password`.
fn blank_arguments(arguments: &mut Value) {
    let mut is_value = false;
    for argument in arguments.as_array_mut().into_iter().flatten() {
        let text = argument.as_str().unwrap_or_default().to_owned();
        let (key, value) = text.split_once('=').map_or((text.as_str(), None), |(key, value)| (key, Some(value)));
        let secret = is_secret(key);
        if is_value || text.contains("://") && text.contains('@') {
            *argument = json!(BLANK);
        } else if secret && value.is_some() {
            *argument = json!(format!("{key}={BLANK}"));
        }
        is_value = secret && value.is_none() && text.starts_with('-');
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    ["password", "passwd", "secret", "token", "key", "credential"].iter().any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(mut object: Value) -> Value {
        redact(&mut object);
        object
    }

    #[test]
    fn environment_values_are_blanked_wherever_they_are() {
        let containers = json!([{"name": "a", "env": [
            {"name": "PASSWORD", "value": "hunter2"},
            {"name": "REF", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ]}]);
        let cluster = json!({"kind": "DaskCluster", "spec": {
            "worker": {"spec": {"containers": containers.clone(), "initContainers": containers}},
            "env": {"MAP": "hunter2"},
        }});
        let text = redacted(cluster).to_string();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("PASSWORD") && text.contains("secretKeyRef"), "{text}");
    }

    #[test]
    fn of_a_secret_only_names_and_keys_are_left() {
        let secret = json!({"kind": "Secret", "metadata": {"name": "s", "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{hunter2}", "team": "a",
        }}, "data": {"password": "aHVudGVyMg=="}, "stringData": {"plain": "hunter2"}, "type": "Opaque"});
        let expected = json!({"kind": "Secret", "metadata": {"name": "s", "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": BLANK, "team": "a",
        }}, "data": {"password": BLANK}, "stringData": {"plain": BLANK}, "type": "Opaque"});
        assert_eq!(redacted(secret), expected);
    }

    #[test]
    fn settings_of_plugins_and_arguments_that_look_secret_are_blanked() {
        let plugin = json!({"kind": "DaskOperatorPlugin", "spec": {"settings": {"list": [{"api": "hunter2"}]}}});
        assert_eq!(redacted(plugin)["spec"]["settings"], json!({"list": [{"api": BLANK}]}));
        let args =
            json!(["dask-worker", "--token=hunter2", "--api-key", "hunter2", "--nthreads", "2", "s3://me:hunter2@x"]);
        let pod = redacted(json!({"kind": "Pod", "spec": {"containers": [{"args": args}]}}));
        let expected = json!(["dask-worker", "--token=(blanked)", "--api-key", BLANK, "--nthreads", "2", BLANK]);
        assert_eq!(pod["spec"]["containers"][0]["args"], expected);
    }
}
