//! Statuses of kinds whose installed CRD is older than this program.
//!
//! Such a CRD may have no status subresource, and prunes the fields that it does not know. A status that was written
//! then cannot be read back, so that this module remembers what was sent.

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

/// How long a sent status is remembered. After this time it is sent again.
const REMEMBERED: Duration = Duration::from_mins(5);

type Sent = HashMap<(String, String), (Instant, String)>;
static SENT: LazyLock<Mutex<Sent>> = LazyLock::new(Mutex::default);

/// The kinds whose CRD has no status subresource, by plural.
static WITHOUT_STATUS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Records the kinds without a status subresource. This cannot be derived from responses: a caller that lacks the
/// permission to write such a status receives a 403 and not a 404.
pub fn without_status<'a>(plurals: impl IntoIterator<Item = &'a str>) {
    let plurals = plurals.into_iter().map(str::to_owned).collect();
    *WITHOUT_STATUS.lock().unwrap_or_else(PoisonError::into_inner) = plurals;
}

/// Returns whether the API server rejected a status because the kind has no status subresource. The status is then
/// written with the object.
pub(crate) fn explains(error: &Error, plural: &str) -> bool {
    let is_known = || WITHOUT_STATUS.lock().unwrap_or_else(PoisonError::into_inner).contains(plural);
    error.class() == Class::NotFound || (error.code() == Some(403) && is_known())
}

/// Forgets the sent statuses, because the CRDs may be newer now.
pub fn forget() {
    SENT.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// Returns whether `status` was sent for the present state of `object`.
pub(crate) fn has_sent<K: Resource + Serialize>(manager: &str, object: &K, status: &impl Serialize) -> bool {
    let sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
    let known = sent.get(&key(manager, object));
    known.is_some_and(|(at, print)| at.elapsed() < REMEMBERED && *print == print_of(object, status))
}

/// Records that `status` was sent. Warns once for all objects.
pub(crate) fn sent<K: Resource + Serialize>(manager: &str, object: &K, status: &impl Serialize) {
    static LOGGED: Once = Once::new();
    LOGGED.call_once(|| {
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

/// Returns a fingerprint of the status that is sent and of the stored one, from which the old CRD has pruned fields.
/// Times in conditions are left out, because those of the first write are lost.
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

    /// dask-kubernetes' Roles do not grant access to subresources that its CRDs do not have.
    #[test]
    fn a_forbidden_status_is_written_with_the_object_if_the_kind_has_no_status_subresource() {
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
