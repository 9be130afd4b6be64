//! Reads single fields of an object from its text, without parsing the rest.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

/// The number of conditions, and their length in all, above which those of an unreadable object are ignored.
const CONDITIONS: usize = 32;
const CONDITIONS_BYTES: usize = 16 << 10;
/// The length of the list of finalizers above which those of an unreadable object are ignored.
const FINALIZERS_BYTES: usize = 16 << 10;

/// The fields of a JSON object, unparsed. Finding their ends takes no recursion.
pub(super) type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// An entry of `managedFields` without its fields.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Manager {
    manager: Option<String>,
    operation: Option<String>,
}

/// Returns `metadata` with the managers in its `managedFields`, but without their fields. Returns `None` if there are
/// no `managedFields`. The fields are not needed. They are as large as the rest of the object, and as deep as the
/// object once was.
pub(super) fn without_managed_fields(metadata: &str) -> Option<Box<RawValue>> {
    let mut fields: Fields<'_> = serde_json::from_str(metadata).ok()?;
    let managed = fields.remove("managedFields")?;
    let managers: Vec<Manager> = serde_json::from_str(managed.get()).unwrap_or_default();
    let managers = to_raw_value(&managers).ok()?;
    fields.insert("managedFields".to_owned(), &managers);
    RawValue::from_string(text_of(&fields)).ok()
}

/// Returns the JSON text of an object with these fields.
pub(super) fn text_of(fields: &Fields<'_>) -> String {
    // Writing texts that were read before cannot fail.
    serde_json::to_string(fields).unwrap_or_default()
}

/// Returns the metadata that identify an object or that its deletion depends on.
pub(super) fn identity(metadata: &str) -> ObjectMeta {
    let fields: Fields<'_> = serde_json::from_str(metadata).unwrap_or_default();
    ObjectMeta {
        name: field(&fields, "name"),
        namespace: field(&fields, "namespace"),
        uid: field(&fields, "uid"),
        resource_version: field(&fields, "resourceVersion"),
        generation: field(&fields, "generation"),
        deletion_timestamp: field(&fields, "deletionTimestamp"),
        finalizers: fields
            .get("finalizers")
            .filter(|finalizers| finalizers.get().len() <= FINALIZERS_BYTES)
            .and_then(|finalizers| serde_json::from_str(finalizers.get()).ok()),
        ..ObjectMeta::default()
    }
}

fn field<T: DeserializeOwned>(fields: &Fields<'_>, key: &str) -> Option<T> {
    fields.get(key).and_then(|value| serde_json::from_str(value.get()).ok())
}

/// Returns the conditions in a status that can be read, or none if there are too many. They are kept as long as the object
/// cannot be read.
pub(super) fn conditions(status: &str) -> Vec<Condition> {
    let fields: Fields<'_> = serde_json::from_str(status).unwrap_or_default();
    let all = fields.get("conditions").and_then(|all| serde_json::from_str::<Vec<&RawValue>>(all.get()).ok());
    let length = |all: &Vec<&RawValue>| all.iter().map(|condition| condition.get().len()).sum::<usize>();
    let all = all.filter(|all| all.len() <= CONDITIONS && length(all) <= CONDITIONS_BYTES).unwrap_or_default();
    all.into_iter().filter_map(|condition| serde_json::from_str(condition.get()).ok()).collect()
}
