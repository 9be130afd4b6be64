//! Describes permissions and features in messages for users.

use std::collections::{BTreeMap, BTreeSet};

use super::rights::{At, Feature, Right};

type Words = BTreeSet<String>;

/// Describes permissions, such as `list, watch pods, services in namespace a; create deployments.apps in all
/// namespaces`.
pub(super) fn describe<'a>(rights: impl IntoIterator<Item = &'a Right>) -> String {
    let mut verbs: BTreeMap<(String, &At), Words> = BTreeMap::new();
    for right in rights {
        verbs.entry((target(right), &right.at)).or_default().insert(right.verb.to_owned());
    }
    let mut places: BTreeMap<(Words, String), BTreeSet<&At>> = BTreeMap::new();
    for ((target, at), verbs) in verbs {
        places.entry((verbs, target)).or_default().insert(at);
    }
    let mut targets: BTreeMap<(Words, BTreeSet<&At>), Words> = BTreeMap::new();
    for ((verbs, target), places) in places {
        targets.entry((verbs, places)).or_default().insert(target);
    }
    let phrases = targets
        .iter()
        .map(|((verbs, places), targets)| format!("{} {}{}", joined(verbs), joined(targets), place(places)));
    phrases.collect::<Vec<_>>().join("; ")
}

fn joined(words: &Words) -> String {
    words.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn target(right: &Right) -> String {
    let mut target = right.resource.to_owned();
    if !right.group.is_empty() {
        target = format!("{target}.{}", right.group);
    }
    if let Some(subresource) = right.subresource {
        target = format!("{target}/{subresource}");
    }
    match &right.name {
        Some(name) => format!("{target} of {name}"),
        None => target,
    }
}

fn place(places: &BTreeSet<&At>) -> String {
    if places.contains(&At::Everywhere) {
        return " in all namespaces".to_owned();
    }
    let names = places.iter().filter_map(|at| match at {
        At::Namespace(name) => Some(name.as_str()),
        At::Everywhere | At::Cluster => None,
    });
    match names.collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        [one] => format!(" in namespace {one}"),
        many => format!(" in namespaces {}", many.join(", ")),
    }
}

/// Describes what does not work, or only in part, without the permissions for `feature`.
pub(super) fn without(feature: Feature) -> &'static str {
    match feature {
        Feature::Events => "no Events are published",
        Feature::BlockingOwners => "children are refused where Kubernetes checks who blocks their owner's deletion",
        Feature::SchedulerSecrets => "schedulers that listen with TLS cannot be talked to",
        Feature::NamespaceLabels => "plugins that choose by labels of namespaces are refused",
        Feature::Plugins => "plugins are off",
        Feature::PluginWork => "plugins may fail",
        Feature::StrayPlugins => "plugins in namespaces where none are accepted get no condition that says so",
        Feature::Releases => "other releases that watch the same namespaces are not noticed",
        Feature::PluginEndpoints => "it is not noticed when the pods of a plugin change",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(verb: &'static str, resource: &'static str, namespace: &str) -> Right {
        let at = At::Namespace(namespace.to_owned());
        Right { group: "", resource, subresource: None, verb, name: None, at }
    }

    #[test]
    fn rights_with_the_same_verbs_and_places_are_listed_together() {
        let mut rights = Vec::new();
        for namespace in ["a", "b"] {
            for resource in ["pods", "services"] {
                rights.extend(["watch", "list"].map(|verb| right(verb, resource, namespace)));
            }
        }
        assert_eq!(describe(&rights), "list, watch pods, services in namespaces a, b");
        rights.push(right("create", "pods", "a"));
        assert_eq!(
            describe(&rights),
            "create, list, watch pods in namespace a; list, watch services in namespaces a, b; list, watch pods in \
             namespace b"
        );
    }

    #[test]
    fn a_right_is_described_with_its_group_subresource_object_and_place() {
        let of_cluster = Right {
            group: "kubernetes.dask.org",
            resource: "daskjobs",
            subresource: Some("status"),
            verb: "patch",
            name: None,
            at: At::Everywhere,
        };
        assert_eq!(describe([&of_cluster]), "patch daskjobs.kubernetes.dask.org/status in all namespaces");
        let name = Some("operator".to_owned());
        let token = Right { subresource: Some("token"), name, ..right("create", "serviceaccounts", "a") };
        assert_eq!(describe([&token]), "create serviceaccounts/token of operator in namespace a");
        let namespaces = Right { at: At::Cluster, ..right("list", "namespaces", "") };
        assert_eq!(describe([&namespaces]), "list namespaces");
    }
}
