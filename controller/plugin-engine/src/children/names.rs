//! Default names of children whose manifests have no name.
//!
//! The first default name, `{subject}-{plugin}-{key}`, is easy to read, but two children may share it: subjects of two
//! kinds may have the same name, and `a-b` with `c` reads as `a` with `b-c`. The second default name ends in a hash of
//! everything that distinguishes children. A child gets it if another child has the first one, and keeps it for as long
//! as the child exists. No child is ever recreated only because the other one was deleted.

use kube::core::ApiResource;
use sha2::{Digest as _, Sha256};

use super::child_ref::ChildRef;
use plugin_protocol::ChildKey;

/// Some kinds, such as Service, do not allow longer names.
const MAX_NAME: usize = 63;
/// Hex digits of the hash of a first name that is too long.
const CUT_HASH: usize = 8;
/// Hex digits of the hash in the second name.
const HASH: usize = 12;

/// The properties that distinguish the children of a namespace, besides their kinds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Role<'a> {
    pub(crate) subject_kind: &'a str,
    pub(crate) subject_name: &'a str,
    /// The plugin's identity.
    pub(crate) plugin: &'a str,
    pub(crate) key: &'a ChildKey,
}

/// The names that a child may have if its manifest has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DefaultNames {
    pub(crate) first: String,
    pub(crate) second: String,
}

impl DefaultNames {
    pub(crate) fn of(role: Role<'_>) -> Self {
        let Role { subject_kind, subject_name, plugin, key } = role;
        // The identity of a team's plugin contains a dot, which some kinds, such as Service, do not allow in names.
        let whole = format!("{subject_name}-{}-{key}", plugin.replace('.', "-"));
        let first = if whole.len() <= MAX_NAME { whole.clone() } else { with_hash(&whole, &hash_of(&whole, CUT_HASH)) };
        // None of the parts can contain a line break.
        let role = format!("{subject_kind}\n{subject_name}\n{plugin}\n{key}");
        Self { first, second: with_hash(&whole, &hash_of(&role, HASH)) }
    }

    /// Returns whether the child with this kind and key already exists under its second name.
    pub(crate) fn is_second(&self, known: &[ChildRef], kind: &ApiResource, key: &ChildKey) -> bool {
        let exists = |name: &str| {
            let same =
                |child: &&ChildRef| (&child.resource.group, &child.resource.plural) == (&kind.group, &kind.plural);
            known.iter().filter(same).any(|child| child.key == key.as_str() && child.name == name)
        };
        exists(&self.second) && !exists(&self.first)
    }
}

fn hash_of(text: &str, digits: usize) -> String {
    hex::encode(Sha256::digest(text)).chars().take(digits).collect()
}

fn with_hash(whole: &str, hash: &str) -> String {
    let kept: String = whole.chars().take(MAX_NAME - hash.len() - 1).collect();
    format!("{}-{hash}", kept.trim_end_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use dask_operator_api::testing::mk_resource;

    use super::*;

    fn names(subject_kind: &str, subject_name: &str, plugin: &str, key: &str) -> DefaultNames {
        let key = ChildKey::new(key).unwrap();
        DefaultNames::of(Role { subject_kind, subject_name, plugin, key: &key })
    }

    #[test]
    fn a_first_name_that_fits_is_not_cut() {
        let subject = "s".repeat(63 - "-ingress-web".len());
        assert_eq!(names("Service", &subject, "ingress", "web").first, format!("{subject}-ingress-web"));
    }

    /// The names are spelled out because they must never change. Otherwise a new version of the controller would
    /// recreate every such child under another name and delete the old one.
    #[test]
    fn names_that_are_too_long_are_cut_and_end_in_a_hash() {
        let within_a_word = "a".repeat(60);
        let before_a_dash = format!("{}-scheduler", "a".repeat(43));
        let table = [
            (&within_a_word, "web", format!("{}-76049398", "a".repeat(54))),
            (&within_a_word, "api", format!("{}-34d5139b", "a".repeat(54))),
            (&before_a_dash, "web", format!("{before_a_dash}-f470dfea")),
        ];
        for (subject, key, expected) in table {
            let DefaultNames { first, second } = names("Service", subject, "ingress", key);
            assert_eq!(first, expected);
            assert!(first.len() <= 63 && second.len() <= 63, "{first} {second}");
        }
        assert_eq!(
            names("Service", "demo-scheduler", "ingress", "web").second,
            "demo-scheduler-ingress-web-b78de2fc275a"
        );
    }

    /// The first names of each pair are equal.
    #[test]
    fn second_names_differ_wherever_the_roles_do() {
        for (a, b) in [
            (names("Service", "demo", "p", "k"), names("Deployment", "demo", "p", "k")),
            (names("Service", "a-b", "c", "k"), names("Service", "a", "b-c", "k")),
            (names("Service", "a", "b-c", "k"), names("Service", "a", "b", "c-k")),
            (names("Service", "a", "b.c", "k"), names("Service", "a", "b-c", "k")),
        ] {
            assert_eq!(a.first, b.first);
            assert_ne!(a.second, b.second);
            assert!(a.second.starts_with(&format!("{}-", a.first)), "{}", a.second);
        }
    }

    #[test]
    fn a_child_keeps_the_name_that_it_has() {
        let (names, kind) = (names("Service", "demo", "p", "k"), mk_resource("v1", "ConfigMap"));
        let known = |kind: &ApiResource, name: &str, key: &str| ChildRef {
            resource: kind.clone(),
            name: name.to_owned(),
            uid: "u".to_owned(),
            key: key.to_owned(),
        };
        let key = ChildKey::new("k").unwrap();
        let (first, second) = (known(&kind, &names.first, "k"), known(&kind, &names.second, "k"));
        let other_kind = known(&mk_resource("networking.k8s.io/v1", "Ingress"), &names.second, "k");
        let other_key = known(&kind, &names.second, "l");
        for (known, expected) in [
            (vec![], false),
            (vec![first.clone()], false),
            (vec![second.clone()], true),
            (vec![second, first], false),
            (vec![other_kind, other_key], false),
        ] {
            assert_eq!(names.is_second(&known, &kind, &key), expected, "{known:?}");
        }
    }
}
