//! Gives children their second default name if another child has the first one.

use std::collections::HashSet;

use kube::{ResourceExt as _, api::DynamicObject};
use operator_runtime::k8s;

use super::{
    child_ref::Ownership,
    inventory::{Children, Found},
    live::{Live, ObjectName},
    plan::WantedChild,
    screen::Approved,
};
use crate::model::{
    labels::{KEY_LABEL, PLUGIN_LABEL, SUBJECT_LABEL},
    subject::SubjectKey,
};

/// Returns `wanted`, with second default names where another child has the first one. Returns `None` if all children
/// keep their names. `namesakes` are the uids of the subjects of other kinds that have the same name as the subject.
///
/// The name does not change if the existing object is no child, because a user may want to hand it over. Nor does it
/// change if the object is the child of a former subject of the same kind and name, because that child is about to be
/// deleted.
pub(crate) fn with_second_names(
    wanted: &[WantedChild],
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
        wanted
            .iter()
            .all(|WantedChild { child, .. }| child.resource() != other.resource() || child.name() != other.name())
    };
    let mut changed = false;
    let renamed = |WantedChild { child, live }: &WantedChild| {
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
        read.objects = wanted.into_iter().filter_map(with_name).collect();
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

/// Returns the object that exists under the name of a child, with that name.
fn with_name(WantedChild { child, live }: WantedChild) -> Option<(ObjectName, DynamicObject)> {
    Some((ObjectName { resource: child.resource().clone(), name: child.name().to_owned() }, live?))
}

#[cfg(test)]
mod tests {
    use plugin_protocol::ChildKey;
    use serde_json::{Value, json};

    use super::*;
    use crate::children::names::{DefaultNames, Role};

    fn second_name() -> String {
        let key = ChildKey::new("k").unwrap();
        DefaultNames::of(Role { subject_kind: "Service", subject_name: "demo", plugin: "p", key: &key }).second
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
            .map(|child| WantedChild { child, live: serde_json::from_value(live.clone()).unwrap() })
            .collect();
        let children = with_second_names(&wanted, CLAIM, &HashSet::from(["living".to_owned()]))?;
        Some(children.iter().map(|child| child.manifest()["metadata"]["name"].as_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn a_child_without_a_name_of_its_own_gives_way_to_another_child() {
        let unnamed = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        let named = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "demo-p-k"}});
        let second = second_name();
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
    fn two_children_of_one_response_never_get_the_same_name() {
        let unnamed = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        let second = second_name();
        let thief = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": second}});
        assert_eq!(settled(&[unnamed, thief], &live("p", "living", "k")), None);
    }
}
