//! Statuses of kinds whose installed definition is older than this program.
//!
//! Such a definition may have no status subresource, and prunes the fields that it does not know. What was written
//! cannot be read back then, so this module remembers what was sent.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{LazyLock, Mutex, Once, PoisonError},
    time::{Duration, Instant},
};

use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::json;

use super::{Class, Error};
use crate::fingerprint::fingerprint;

/// After this time a status is sent again.
const REMEMBERED: Duration = Duration::from_mins(5);

type Sent = HashMap<(String, String), (Instant, String)>;
static SENT: LazyLock<Mutex<Sent>> = LazyLock::new(Mutex::default);

/// Kinds whose definition has no status of its own, by plural.
static WITHOUT_STATUS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Remembers which kinds have no status of their own. Whoever lacks the right to write such a status is told that,
/// and not that there is none.
pub fn without_status<'a>(plurals: impl IntoIterator<Item = &'a str>) {
    let plurals = plurals.into_iter().map(str::to_owned).collect();
    *WITHOUT_STATUS.lock().unwrap_or_else(PoisonError::into_inner) = plurals;
}

/// Whether the API server refused a status since the kind has none of its own: then it goes with the object.
pub(crate) fn explains(error: &Error, plural: &str) -> bool {
    let is_known = || WITHOUT_STATUS.lock().unwrap_or_else(PoisonError::into_inner).contains(plural);
    error.class() == Class::NotFound || (error.code() == Some(403) && is_known())
}

/// Forgets what was sent: the definitions may be newer now.
pub fn forget() {
    SENT.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// Whether `status` was sent for `object` as it is now.
pub(crate) fn has_sent<K: Resource + Serialize>(manager: &str, object: &K, status: &impl Serialize) -> bool {
    let sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
    let known = sent.get(&key(manager, object));
    known.is_some_and(|(at, print)| at.elapsed() < REMEMBERED && *print == print_of(object, status))
}

/// Remembers that `status` was sent, and warns once for all objects.
pub(crate) fn sent<K: Resource + Serialize>(manager: &str, object: &K, status: &impl Serialize) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tracing::warn!(
            "an older definition of the resources is installed: conditions and new fields are dropped; \
             install the definitions of this release"
        );
    });
    let mut sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
    sent.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
    sent.insert(key(manager, object), (Instant::now(), print_of(object, status)));
}

fn key<K: Resource>(manager: &str, object: &K) -> (String, String) {
    (object.uid().unwrap_or_default(), manager.to_owned())
}

/// Follows from what is sent and what the definition keeps of it. Times in conditions do not count: they are
/// those of the first write, which are lost.
fn print_of<K: Serialize>(object: &K, status: &impl Serialize) -> String {
    let mut status = json!(status);
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"].take();
        condition["observedGeneration"].take();
    }
    if let Some(fields) = status.as_object_mut() {
        fields.remove("observedGeneration");
    }
    fingerprint(&[&json!(object)["status"], &status])
}

#[cfg(test)]
mod tests {
    use kube::api::DynamicObject;

    use super::*;

    /// dask-kubernetes' roles do not grant what its definitions do not have.
    #[test]
    fn a_status_that_is_forbidden_goes_with_the_object_only_if_the_kind_has_none_of_its_own() {
        let error = |code| {
            let status = kube::core::Status { code, ..kube::core::Status::default() };
            Error::new("apply", "the status", kube::Error::Api(Box::new(status)))
        };
        without_status(["relics"]);
        let table = [
            (404, "relics", true),
            (404, "others", true),
            (403, "relics", true),
            (403, "others", false),
            (500, "relics", false),
        ];
        for (code, plural, expected) in table {
            assert_eq!(explains(&error(code), plural), expected, "{code} {plural}");
        }
    }

    #[test]
    fn the_same_status_is_sent_once_until_the_object_changes() {
        let mut object: DynamicObject = serde_json::from_value(json!({
            "metadata": {"name": "demo", "uid": "old-definition-uid"},
            "status": {},
        }))
        .unwrap();
        let status = |time: &str, reason: &str| json!({"phase": "Running", "conditions": [{"type": "A", "reason": reason, "lastTransitionTime": time}]});
        assert!(!has_sent("m", &object, &status("1", "x")));
        sent("m", &object, &status("1", "x"));
        assert!(has_sent("m", &object, &status("2", "x")), "a time that is lost each time is no news");
        assert!(!has_sent("m", &object, &status("1", "y")));
        assert!(!has_sent("other", &object, &status("1", "x")));
        object.data["status"] = json!({"phase": "Running"});
        assert!(!has_sent("m", &object, &status("1", "x")));
    }
}
