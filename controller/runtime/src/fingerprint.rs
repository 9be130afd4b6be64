//! Fingerprints of the text that users write, which show whether a template has changed.
//!
//! A fingerprint covers the users' text and not the objects that are built from it, because a new version of the
//! controller must not restart any workers.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Returns sixteen hex digits that depend on the content of `value`, but not on the order of its keys.
pub fn fingerprint(value: &impl Serialize) -> String {
    // Values that were read from JSON can be written as JSON, so that no error occurs.
    let canonical = serde_json_canonicalizer::to_vec(value).unwrap_or_default();
    hex::encode(Sha256::digest(canonical))[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fingerprint_follows_the_content() {
        let print = |text: &str| fingerprint(&serde_json::from_str::<serde_json::Value>(text).unwrap());
        assert_eq!(print(r#"{"a":1,"b":{"c":2,"d":3}}"#), print(r#"{"b":{"d":3,"c":2},"a":1}"#));
        assert_ne!(print(r#"{"a":1}"#), print(r#"{"a":2}"#));
        assert_eq!(fingerprint(&json!({})).len(), 16);
    }
}
