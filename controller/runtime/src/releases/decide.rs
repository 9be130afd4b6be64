//! Decides what the Lease of another release means. All functions are pure.
//!
//! A user who may write Leases in one namespace can claim to watch any other. So a Lease is believed about its own
//! namespace only: a release that names the namespace in which it runs serves it alone. Everything else is reported.

use std::fmt;

use crate::scope::Scope;

/// A release: the namespace and the name of its Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// The operator's namespace.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What the Lease of another release says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) id: Id,
    pub(super) scope: Scope,
}

/// A release that watches a namespace of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The other release.
    pub other: Id,
    /// Whether it serves the namespace alone, so that this release must not act there.
    pub serves_alone: bool,
}

/// Returns whether `release` serves `namespace` alone.
fn serves_alone(release: &Release, namespace: &str) -> bool {
    release.id.namespace == namespace && release.scope.is_limited() && release.scope.contains(namespace)
}

/// Returns one of `others` that watches `namespace`, if there is one: preferably one that serves it alone.
pub(super) fn overlap_at<'a>(others: impl Iterator<Item = &'a Release>, namespace: &str) -> Option<Overlap> {
    others
        .filter(|other| other.scope.contains(namespace))
        .map(|other| Overlap { other: other.id.clone(), serves_alone: serves_alone(other, namespace) })
        .min_by_key(|overlap| (!overlap.serves_alone, overlap.other.clone()))
}

/// Returns whether two releases watch a namespace in common.
pub(super) fn overlap(a: &Scope, b: &Scope) -> bool {
    let within = |names: &Scope, scope: &Scope| names.parts().into_iter().flatten().any(|name| scope.contains(name));
    match (a.is_limited(), b.is_limited()) {
        (true, _) => within(a, b),
        (false, true) => within(b, a),
        (false, false) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_overlap_if_a_namespace_is_in_both() {
        let table = [
            ("*", "*", true),
            ("*,!a", "*,!b", true),
            ("*", "a", true),
            ("*,!a", "a", false),
            ("*,!a", "a,b", true),
            ("a", "a,b", true),
            ("a", "b", false),
        ];
        for (a, b, expected) in table {
            assert_eq!(overlap(&Scope::from_text(a), &Scope::from_text(b)), expected, "{a} {b}");
            assert_eq!(overlap(&Scope::from_text(b), &Scope::from_text(a)), expected, "{b} {a}");
        }
    }

    /// Otherwise a user of one namespace could stop the operator in all others.
    #[test]
    fn a_lease_is_believed_about_its_own_namespace_only() {
        let release = |namespace: &str, watches: &str| Release {
            id: Id { namespace: namespace.to_owned(), name: "other".to_owned() },
            scope: Scope::from_text(watches),
        };
        let table = [
            (release("a", "a"), Some(true)),
            (release("a", "a,b"), Some(true)),
            (release("a", "*"), Some(false)),
            (release("b", "a,b"), Some(false)),
            (release("b", "*"), Some(false)),
            (release("a", "b"), None),
            (release("b", "*,!a"), None),
        ];
        for (other, expected) in &table {
            let found = overlap_at([other].into_iter(), "a").map(|overlap| overlap.serves_alone);
            assert_eq!(found, *expected, "{other:?}");
        }
        let all = overlap_at(table.iter().rev().map(|(other, _)| other), "a").unwrap();
        assert!(all.serves_alone && all.other.namespace == "a");
    }
}
