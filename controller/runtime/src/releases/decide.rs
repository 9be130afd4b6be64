//! Decides what the Lease of another release means. All functions are pure.
//!
//! A user who may write Leases in one namespace can claim to watch any other. So a Lease is believed about its own
//! namespace only: a release that names the namespace in which it runs serves it alone. Everything else is reported.

use std::{collections::BTreeMap, fmt};

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

/// Returns whether `release` names the namespace in which it runs, and this is `namespace`.
fn is_at_home(release: &Release, namespace: &str) -> bool {
    release.id.namespace == namespace && release.scope.is_limited() && release.scope.contains(namespace)
}

/// Returns one of `others` that watches `namespace`, if there is one: preferably one that serves it alone. A release acts
/// at home in any case, so that of two releases in one namespace both act, and not none.
pub(super) fn overlap_at<'a>(
    own: &Release,
    others: impl Iterator<Item = &'a Release>,
    namespace: &str,
) -> Option<Overlap> {
    let yields = !is_at_home(own, namespace);
    others
        .filter(|other| other.scope.contains(namespace))
        .map(|other| Overlap { other: other.id.clone(), serves_alone: yields && is_at_home(other, namespace) })
        .min_by_key(|overlap| (!overlap.serves_alone, overlap.other.clone()))
}

/// Returns those of `others` that watch namespaces of `own`, with all that is known of what they watch.
pub(super) fn overlapping<'a>(own: &Release, others: impl Iterator<Item = &'a Release>) -> BTreeMap<Id, Scope> {
    let mut found: BTreeMap<Id, Scope> = BTreeMap::new();
    for other in others.filter(|other| overlap(&own.scope, &other.scope)) {
        let watched = found.entry(other.id.clone()).or_insert_with(|| other.scope.clone());
        // Each claim of a release has another namespace.
        *watched = other.scope.parts().into_iter().flatten().fold(watched.clone(), |scope, name| scope.with(name));
    }
    found
}

/// Returns whether two releases watch a namespace in common.
fn overlap(a: &Scope, b: &Scope) -> bool {
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

    fn release(namespace: &str, name: &str, watches: &str) -> Release {
        Release { id: Id { namespace: namespace.to_owned(), name: name.to_owned() }, scope: Scope::from_text(watches) }
    }

    /// Otherwise a user of one namespace could stop the operator in all others.
    #[test]
    fn a_lease_is_believed_about_its_own_namespace_only() {
        let table = [
            (release("a", "other", "a"), Some(true)),
            (release("a", "other", "a,b"), Some(true)),
            (release("a", "other", "*"), Some(false)),
            (release("b", "other", "a,b"), Some(false)),
            (release("b", "other", "*"), Some(false)),
            (release("a", "other", "b"), None),
            (release("b", "other", "*,!a"), None),
        ];
        for own in [release("own", "own", "*"), release("own", "own", "a"), release("a", "own", "*")] {
            for (other, expected) in &table {
                let found = overlap_at(&own, [other].into_iter(), "a").map(|overlap| overlap.serves_alone);
                assert_eq!(found, *expected, "{own:?} {other:?}");
            }
            let all = overlap_at(&own, table.iter().rev().map(|(other, _)| other), "a").unwrap();
            assert!(all.serves_alone && all.other.namespace == "a");
        }
    }

    #[test]
    fn a_release_acts_in_any_case_in_the_namespace_in_which_it_runs_and_that_it_names() {
        let (one, two) = (release("a", "one", "a,b"), release("a", "two", "a"));
        for (own, other) in [(&one, &two), (&two, &one)] {
            let overlap = overlap_at(own, [other].into_iter(), "a").unwrap();
            assert_eq!(overlap, Overlap { other: other.id.clone(), serves_alone: false });
        }
    }

    #[test]
    fn the_claims_of_a_release_count_as_one_release() {
        let own = release("own", "own", "a,b,c");
        let claims = [release("x", "other", "a"), release("x", "other", "b"), release("y", "other", "d")];
        let found = overlapping(&own, claims.iter());
        assert_eq!(found, BTreeMap::from([(claims[0].id.clone(), Scope::of(["a", "b"]))]));
    }
}
