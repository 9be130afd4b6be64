//! Default names of children whose manifests have no name.
//!
//! The first default name, `{subject}-{plugin}-{key}`, is easy to read, but two children may share it: subjects of two
//! kinds may have the same name, and `a-b` with `c` reads as `a` with `b-c`. The second default name ends in a hash of
//! everything that distinguishes children. A child gets it if another child has the first one, and keeps it for as long
//! as the child exists. No child is ever recreated only because the other one was deleted.

use std::collections::HashSet;

use kube::{ResourceExt as _, api::DynamicObject, core::ApiResource};
use operator_runtime::k8s;
use sha2::{Digest as _, Sha256};

use super::{
    inventory::{Children, Found, Live},
    plan::{Known, Ownership},
    screen::Approved,
};
use crate::model::labels::{KEY_LABEL, PLUGIN_LABEL, SUBJECT_LABEL};
use crate::model::subject::SubjectKey;
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
    pub(crate) fn is_second(&self, known: &[Known], kind: &ApiResource, key: &ChildKey) -> bool {
        let exists = |name: &str| {
            let same = |child: &&Known| (&child.resource.group, &child.resource.plural) == (&kind.group, &kind.plural);
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

/// Returns `wanted`, with second default names where another child has the first one. Returns `None` if all children
/// keep their names. `namesakes` are the uids of the subjects of other kinds that have the same name as the subject.
///
/// The name does not change if the existing object is no child, because a user may want to hand it over. Nor does it
/// change if the object is the child of a former subject of the same kind and name, because that child is about to be
/// deleted.
pub(crate) fn with_second_names(
    wanted: &[(Approved, Option<DynamicObject>)],
    claim: Ownership<'_>,
    namesakes: &HashSet<String>,
) -> Option<Vec<Approved>> {
    let belongs_to_another = |child: &Approved, live: &DynamicObject| {
        let label = |key: &str| live.labels().get(key).map(String::as_str);
        label(PLUGIN_LABEL).is_some()
            && (label(PLUGIN_LABEL) != Some(claim.plugin)
                || label(KEY_LABEL) != Some(child.key().as_str())
                || label(SUBJECT_LABEL).is_some_and(|uid| namesakes.contains(uid)))
            && !claim.holds(live)
    };
    let is_free = |other: &Approved| {
        wanted.iter().all(|(child, _)| child.resource() != other.resource() || child.name() != other.name())
    };
    let mut changed = false;
    let renamed = |(child, live): &(Approved, Option<DynamicObject>)| {
        let second =
            live.as_ref().filter(|live| belongs_to_another(child, live)).and_then(|_| child.with_second_name());
        let second = second.filter(is_free);
        changed |= second.is_some();
        second.unwrap_or_else(|| child.clone())
    };
    let children = wanted.iter().map(renamed).collect();
    changed.then_some(children)
}

impl<'a> Children<'a> {
    /// Like [`Children::find`], but gives children of `subject` their second default name if another child has the
    /// first one.
    pub(crate) async fn find_named(
        &self,
        subject: &SubjectKey,
        approved: Vec<Approved>,
        live: Live,
        claim: Ownership<'_>,
    ) -> Result<Found<'a>, k8s::Error> {
        let Found { wanted, name_locks } = self.find(approved, live).await?;
        let namesakes = self.namesakes(subject).await;
        let Some(renamed) = with_second_names(&wanted, claim, &namesakes) else {
            return Ok(Found { wanted, name_locks });
        };
        // Waiting for names while holding others could cause a deadlock.
        drop(name_locks);
        let mut read = Live::default();
        read.objects = wanted
            .into_iter()
            .filter_map(|(child, live)| Some(((child.resource().clone(), child.name().to_owned()), live?)))
            .collect();
        self.find(renamed, read).await
    }

    async fn namesakes(&self, subject: &SubjectKey) -> HashSet<String> {
        let mut uids = HashSet::new();
        for rule in self.plugin.spec.subjects.iter().filter(|rule| rule.kind != subject.kind) {
            let key = SubjectKey { kind: rule.kind, ..subject.clone() };
            if let Ok(Some(namesake)) = self.env.watches.subject(&key).await {
                uids.extend(namesake.uid());
            }
        }
        uids
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_api::testing::mk_resource;
    use serde_json::{Value, json};

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
        let known = |kind: &ApiResource, name: &str, key: &str| Known {
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

    const CLAIM: Ownership<'_> = Ownership { plugin: "p", subject_uid: "u", owner_uid: "o" };

    /// Returns the object that exists under the child's name.
    fn live(plugin: &str, subject_uid: &str, key: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "demo-p-k",
            "labels": {
                "plugin.kubernetes.dask.org/plugin": plugin,
                "plugin.kubernetes.dask.org/subject-uid": subject_uid,
                "plugin.kubernetes.dask.org/key": key,
            },
            "ownerReferences": [{"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "demo",
                                 "uid": "o", "controller": true}],
        }})
    }

    /// Returns the names of children with these manifests if `live` exists under each name.
    fn settled(manifests: &[Value], live: &Value) -> Option<Vec<String>> {
        let wanted: Vec<_> = crate::children::screen::approved_for_tests(manifests)
            .into_iter()
            .map(|child| (child, serde_json::from_value(live.clone()).unwrap()))
            .collect();
        let children = with_second_names(&wanted, CLAIM, &HashSet::from(["living".to_owned()]))?;
        Some(children.iter().map(|child| child.manifest()["metadata"]["name"].as_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn a_child_without_a_name_of_its_own_gives_way_to_another_child() {
        let unnamed = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        let named = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "demo-p-k"}});
        let second = names("Service", "demo", "p", "k").second;
        let foreign = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "demo-p-k"}});
        for (live, expected) in [
            (live("p", "u", "k"), false),
            (live("p", "living", "k"), true),
            // A former subject of this kind and name.
            (live("p", "gone", "k"), false),
            (live("another", "gone", "k"), true),
            (live("p", "gone", "another"), true),
            // The plugin's own child of this subject, which had another key until now.
            (live("p", "u", "another"), false),
            (foreign, false),
            (Value::Null, false),
        ] {
            let settled_name = settled(std::slice::from_ref(&unnamed), &live).map(|mut names| names.remove(0));
            assert_eq!(settled_name, expected.then(|| second.clone()), "{live}");
            assert_eq!(settled(std::slice::from_ref(&named), &live), None, "a name of its own is kept: {live}");
        }
    }

    #[test]
    fn two_children_of_one_answer_never_get_one_name() {
        let unnamed = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        let second = names("Service", "demo", "p", "k").second;
        let thief = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": second}});
        assert_eq!(settled(&[unnamed, thief], &live("p", "living", "k")), None);
    }
}
