//! Derives the keys of children from attachments, which have no keys.

use std::collections::BTreeMap;

use dask_plugin_server::protocol::ChildKey;
use sha2::{Digest as _, Sha256};

/// The maximum length of a key before a dash and the hash.
const MAX_READABLE: usize = 31;
const HASH_BYTES: usize = 4;

/// The identity of an attachment across responses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
}

impl Identity {
    fn readable(&self) -> String {
        format!("{}-{}", self.kind, self.name).to_lowercase()
    }

    /// Returns the key if the readable one is invalid or not unique.
    fn hashed(&self) -> String {
        let digest = Sha256::digest(format!("{}/{}/{}", self.api_version, self.kind, self.name));
        let allowed = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
        let readable: String = self.readable().chars().map(allowed).take(MAX_READABLE).collect();
        format!("{}-{}", readable.trim_matches('-'), hex::encode(&digest[..HASH_BYTES]))
    }
}

/// Returns a key for each attachment: `{kind}-{name}` if it is valid and unique, otherwise with a hash.
pub(crate) fn keys(identities: &[Identity]) -> Vec<String> {
    let mut uses = BTreeMap::<String, usize>::new();
    for identity in identities {
        *uses.entry(identity.readable()).or_default() += 1;
    }
    let key = |identity: &Identity| {
        let readable = identity.readable();
        if uses.get(&readable) == Some(&1) && ChildKey::new(&readable).is_ok() { readable } else { identity.hashed() }
    };
    identities.iter().map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(api_version: &str, kind: &str, name: &str) -> Identity {
        Identity { api_version: api_version.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn the_key_is_the_kind_and_the_name_if_possible() {
        assert_eq!(keys(&[identity("v1", "ConfigMap", "demo-links")]), ["configmap-demo-links"]);
    }

    #[test]
    fn a_key_that_would_be_too_long_or_invalid_has_a_hash_and_stays_readable() {
        let long = identity("v1", "ConfigMap", &"a".repeat(31));
        let dotted = identity("v1", "ConfigMap", "demo.links");
        let ends_in_a_dash = identity("v1", "ConfigMap", &format!("{}-b", "a".repeat(20)));
        let keys = keys(&[long, dotted, ends_in_a_dash]);
        assert_eq!(keys[0], "configmap-aaaaaaaaaaaaaaaaaaaaa-0b5a2413");
        assert!(keys[1].starts_with("configmap-demo-links-"), "{}", keys[1]);
        assert_eq!(keys[2], "configmap-aaaaaaaaaaaaaaaaaaaa-b");
        assert!(keys.iter().all(|key| ChildKey::new(key).is_ok()));
    }

    #[test]
    fn two_objects_never_share_a_key() {
        let ambiguous = [
            identity("networking.k8s.io/v1", "Ingress", "a"),
            identity("example.org/v1", "Ingress", "a"),
            identity("v1", "ConfigMap", "a.b"),
            identity("v1", "ConfigMap", "a-b"),
            identity("v1", "ConfigMap", &format!("{}1", "a".repeat(60))),
            identity("v1", "ConfigMap", &format!("{}2", "a".repeat(60))),
        ];
        let mut all = keys(&ambiguous);
        assert!(all.iter().all(|key| ChildKey::new(key).is_ok()), "{all:?}");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), ambiguous.len());
    }
}
