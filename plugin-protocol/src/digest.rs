//! The digest of a request, which is its uid.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::PluginRequest;

/// Whether the `status` of the subject and of the owner is part of the digest (`onStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusInDigest {
    /// A change of the status changes the digest.
    Included,
    /// Changes of the status are ignored.
    Ignored,
}

/// The error for a request that has no canonical JSON form.
#[derive(Debug, thiserror::Error)]
#[error("failed to write the request as canonical JSON: {0}")]
pub struct DigestError(#[from] serde_json::Error);

const VOLATILE_METADATA: [&str; 2] = ["managedFields", "resourceVersion"];

/// Returns the uid of `request`: `sha256:` and the hexadecimal digest of its canonical form (RFC 8785).
///
/// The digest leaves out `uid`, `attempt` and `event`, and the parts of objects that change without an
/// edit: `managedFields`, `resourceVersion` and, unless it is included, `status`.
///
/// The uid serves as idempotency key, as `ce-id` and as cache key.
///
/// ```
/// use dask_plugin_protocol::{ReviewRequest, StatusInDigest, digest_of};
/// let body = include_str!("../tests/golden/sync_request.json");
/// let mut review: ReviewRequest = serde_json::from_str(body)?;
/// let uid = digest_of(&review.request, StatusInDigest::Ignored)?;
///
/// review.request.attempt += 1;
/// assert_eq!(digest_of(&review.request, StatusInDigest::Ignored)?, uid);
/// review.request.plugin.settings["domain"] = "other.example".into();
/// assert_ne!(digest_of(&review.request, StatusInDigest::Ignored)?, uid);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn digest_of(request: &PluginRequest, status: StatusInDigest) -> Result<String, DigestError> {
    let mut content = serde_json::to_value(request)?;
    if let Some(fields) = content.as_object_mut() {
        for field in ["uid", "attempt", "event"] {
            fields.remove(field);
        }
    }
    for pointer in ["/subject/object", "/owner/object"] {
        if let Some(object) = content.pointer_mut(pointer) {
            remove_volatile(object, status);
        }
    }
    if let Some(children) = content.pointer_mut("/observed/children").and_then(Value::as_object_mut) {
        for child in children.values_mut().filter_map(|child| child.get_mut("object")) {
            remove_volatile(child, status);
        }
    }
    let canonical = serde_json_canonicalizer::to_vec(&content)?;
    Ok(format!("sha256:{}", hex::encode(Sha256::digest(&canonical))))
}

fn remove_volatile(object: &mut Value, status: StatusInDigest) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in VOLATILE_METADATA {
            metadata.remove(field);
        }
    }
    if status == StatusInDigest::Ignored
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("status");
    }
}
