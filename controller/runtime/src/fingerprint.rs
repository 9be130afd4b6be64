//! Fingerprints of what users write, by which a change of a template is told from everything else. They
//! cover the users' words and not what is built from them: a new version of the controller must not restart
//! anybody's workers.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Sixteen hex digits that follow from the content of `value`, whatever the order of its keys.
pub fn fingerprint(value: &impl Serialize) -> String {
    // What was read from JSON can be written as JSON.
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
