//! Statuses of kinds whose installed CRD is older than this program.
//!
//! Such a CRD may have no status subresource, and prunes the fields that it does not know. A status that was written
//! then cannot be read back, so that [`OldDefinitions`] remembers what was sent.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::json;

use super::{Class, Error};
use crate::fingerprint::fingerprint;

/// How long a sent status is remembered. After this time it is sent again.
const REMEMBERED: Duration = Duration::from_mins(5);

/// What this process knows of installed CRDs that are older than itself. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct OldDefinitions(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The statuses that were sent.
    sent: HashMap<Sender, Sent>,
    /// The kinds whose CRD has no status subresource, by plural.
    without_status: BTreeSet<String>,
    /// Whether the log says already that a CRD is old.
    is_logged: bool,
}

/// The object and the field manager of a status.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Sender {
    uid: String,
    manager: String,
}

/// A status that was sent.
#[derive(Debug)]
struct Sent {
    at: Instant,
    fingerprint: String,
}

impl OldDefinitions {
    /// Records the kinds without a status subresource. This cannot be derived from responses: a caller that lacks the
    /// permission to write such a status receives a 403 and not a 404.
    pub fn set_without_status<'a>(&self, plurals: impl IntoIterator<Item = &'a str>) {
        self.lock().without_status = plurals.into_iter().map(str::to_owned).collect();
    }

    /// Forgets the sent statuses, because the CRDs may be newer now.
    pub fn forget_sent(&self) {
        self.lock().sent.clear();
    }

    /// Returns whether the API server rejected a status because the kind has no status subresource. The status is then
    /// written with the object.
    pub(super) fn explains(&self, error: &Error, plural: &str) -> bool {
        let is_known = || self.lock().without_status.contains(plural);
        error.class() == Class::NotFound || (error.code() == Some(403) && is_known())
    }

    /// Returns whether `status` was sent for the present state of `object`.
    pub(super) fn has_sent<K: Resource + Serialize>(&self, manager: &str, object: &K, status: &impl Serialize) -> bool {
        let known = self.lock();
        let sent = known.sent.get(&Sender::of(manager, object));
        sent.is_some_and(|sent| sent.at.elapsed() < REMEMBERED && sent.fingerprint == fingerprint_of(object, status))
    }

    /// Records that `status` was sent. Warns once for all objects.
    pub(super) fn record<K: Resource + Serialize>(&self, manager: &str, object: &K, status: &impl Serialize) {
        let sent = Sent { at: Instant::now(), fingerprint: fingerprint_of(object, status) };
        let mut known = self.lock();
        if !std::mem::replace(&mut known.is_logged, true) {
            tracing::warn!(
                "an older definition of the resources is installed: conditions and new fields are dropped; \
                 install the definitions of this release"
            );
        }
        known.sent.retain(|_, sent| sent.at.elapsed() < REMEMBERED);
        known.sent.insert(Sender::of(manager, object), sent);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    fn of(manager: &str, object: &impl Resource) -> Self {
        Self { uid: object.uid().unwrap_or_default(), manager: manager.to_owned() }
    }
}

/// Returns a fingerprint of the status that is sent and of the stored one, from which the old CRD has pruned fields.
/// Times in conditions are left out, because those of the first write are lost.
fn fingerprint_of<K: Serialize>(object: &K, status: &impl Serialize) -> String {
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
        let definitions = OldDefinitions::default();
        definitions.set_without_status(["relics"]);
        let table = [
            (404, "relics", true),
            (404, "others", true),
            (403, "relics", true),
            (403, "others", false),
            (500, "relics", false),
        ];
        for (code, plural, expected) in table {
            assert_eq!(definitions.explains(&error(code), plural), expected, "{code} {plural}");
        }
    }

    #[test]
    fn the_same_status_is_sent_once_until_the_object_changes() {
        let definitions = OldDefinitions::default();
        let mut object: DynamicObject = serde_json::from_value(json!({
            "metadata": {"name": "demo", "uid": "old-definition-uid"},
            "status": {},
        }))
        .unwrap();
        let status = |time: &str, reason: &str| json!({"phase": "Running", "conditions": [{"type": "A", "reason": reason, "lastTransitionTime": time}]});
        assert!(!definitions.has_sent("m", &object, &status("1", "x")));
        definitions.record("m", &object, &status("1", "x"));
        assert!(definitions.has_sent("m", &object, &status("2", "x")), "a time that is lost each time is no news");
        assert!(!definitions.has_sent("m", &object, &status("1", "y")));
        assert!(!definitions.has_sent("other", &object, &status("1", "x")));
        object.data["status"] = json!({"phase": "Running"});
        assert!(!definitions.has_sent("m", &object, &status("1", "x")));
    }
}
