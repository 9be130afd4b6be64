//! The permissions that the controller uses, in one table. A test checks that the chart's roles grant these and no
//! others.

use std::collections::{BTreeMap, BTreeSet};

use super::served::{GROUP, Served};

/// The flags that affect the required permissions.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    /// The watched namespaces; all of them if empty.
    pub namespaces: Vec<String>,
    /// The namespace of the operator.
    pub operator_namespace: String,
    /// The ServiceAccount whose tokens are sent to plugins.
    pub service_account: String,
    /// Whether teams may have plugins in their own namespaces.
    pub tenants: bool,
    /// Whether Events are published.
    pub events: bool,
    /// The name of the Leases that tell other releases which namespaces are watched, if releases look for each other.
    pub claim: Option<String>,
}

/// The scope of a permission.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum At {
    /// All namespaces.
    Everywhere,
    /// This namespace.
    Namespace(String),
    /// The cluster, for a kind that is not namespaced.
    Cluster,
}

/// One permission: a verb on a resource of the API server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Right {
    /// The API group, empty for the core.
    pub group: &'static str,
    /// The plural of the kind.
    pub resource: &'static str,
    /// A subresource, such as `status`.
    pub subresource: Option<&'static str>,
    /// The verb, as in RBAC.
    pub verb: &'static str,
    /// The only object that it is needed for.
    pub name: Option<String>,
    /// The scope.
    pub at: At,
}

/// A feature that is off if a permission is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Events.
    Events,
    /// Children in clusters that check the permission to block an owner's deletion, as `OpenShift` does.
    BlockingOwners,
    /// Schedulers that listen with TLS.
    SchedulerSecrets,
    /// Plugins that select by labels of namespaces.
    NamespaceLabels,
    /// Plugins.
    Plugins,
    /// Resources that plugins need besides their own.
    PluginWork,
    /// Detecting that the pods behind a plugin's Service have changed.
    PluginEndpoints,
    /// Reporting plugin resources in namespaces whose plugins are not accepted.
    StrayPlugins,
    /// Noticing other releases that watch the same namespaces.
    Releases,
}

impl Feature {
    /// Returns whether the feature is useless without [`Feature::Plugins`].
    pub(super) fn serves_plugins(self) -> bool {
        matches!(self, Self::NamespaceLabels | Self::PluginWork | Self::PluginEndpoints | Self::StrayPlugins)
    }
}

/// The consequence of a missing permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// The controller cannot work.
    Essential,
    /// The controller works without this feature.
    Optional(Feature),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The namespaces whose Dask resources are reconciled.
    Watched,
    /// The operator's own namespace.
    Operator,
    /// The namespaces whose plugins are accepted.
    Plugins,
    /// The watched namespaces whose plugins are not accepted.
    Strays,
    /// All namespaces, whose Leases show other releases, or those that are named.
    Releases,
    /// The namespaces that are named.
    Named,
    Cluster,
}

/// Permissions: each of the verbs on each of the resources, which may be `plural/subresource`.
struct Rule {
    place: Place,
    need: Need,
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
}

const fn rule(
    place: Place,
    need: Need,
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule { place, need, group, resources, verbs }
}

const READ: &[&str] = &["get", "list", "watch"];
const STATUS: &[&str] =
    &["daskclusters/status", "daskworkergroups/status", "daskjobs/status", "daskautoscalers/status"];
const FINALIZERS: &[&str] = &["daskclusters/finalizers", "daskworkergroups/finalizers", "daskjobs/finalizers"];

/// The permissions, in the order of the chart's roles, where comments explain the purpose of each.
const RULES: [Rule; 29] = {
    use Feature::{
        BlockingOwners, Events, NamespaceLabels, PluginEndpoints, PluginWork, Plugins as Plugin, SchedulerSecrets,
        StrayPlugins,
    };
    use Need::{Essential, Optional};
    use Place::{Cluster, Named, Operator, Plugins, Releases, Strays, Watched};
    [
        rule(Watched, Essential, GROUP, &["daskclusters", "daskworkergroups", "daskjobs", "daskautoscalers"], READ),
        rule(Watched, Essential, GROUP, &["daskworkergroups"], &["create", "patch"]),
        rule(Watched, Essential, GROUP, &["daskclusters"], &["create", "patch", "delete"]),
        rule(Watched, Essential, GROUP, &["daskautoscalers"], &["create", "patch", "delete"]),
        rule(Watched, Essential, GROUP, &["daskjobs"], &["patch", "delete"]),
        rule(Watched, Essential, GROUP, STATUS, &["patch"]),
        rule(Watched, Optional(BlockingOwners), GROUP, FINALIZERS, &["update"]),
        rule(Watched, Essential, "apps", &["deployments"], READ),
        rule(Watched, Essential, "apps", &["deployments"], &["create", "patch", "delete"]),
        rule(Watched, Essential, "", &["services", "pods"], READ),
        rule(Watched, Essential, "", &["services"], &["create", "patch"]),
        rule(Watched, Essential, "", &["pods"], &["create", "patch", "delete"]),
        rule(Watched, Optional(SchedulerSecrets), "", &["secrets"], &["get"]),
        rule(Cluster, Optional(NamespaceLabels), "", &["namespaces"], &["list", "watch"]),
        rule(Watched, Optional(Events), "events.k8s.io", &["events"], &["create", "patch"]),
        rule(Releases, Optional(Feature::Releases), "coordination.k8s.io", &["leases"], &["list", "watch"]),
        rule(Named, Optional(Feature::Releases), "coordination.k8s.io", &["leases"], &["create", "patch"]),
        rule(Strays, Optional(StrayPlugins), GROUP, &["daskoperatorplugins"], &["list", "watch"]),
        rule(Strays, Optional(StrayPlugins), GROUP, &["daskoperatorplugins/status"], &["patch"]),
        rule(Plugins, Optional(Plugin), GROUP, &["daskoperatorplugins"], READ),
        rule(Plugins, Optional(PluginWork), GROUP, &["daskoperatorplugins/status"], &["patch"]),
        rule(Plugins, Optional(BlockingOwners), GROUP, &["daskoperatorplugins/finalizers"], &["update"]),
        rule(Plugins, Optional(PluginWork), "", &["secrets"], &["get", "create", "patch"]),
        rule(Plugins, Optional(PluginWork), "", &["configmaps"], &["get"]),
        rule(Operator, Optional(PluginWork), "", &["secrets"], &["get", "create", "patch"]),
        rule(Plugins, Optional(PluginWork), "", &["services"], &["get"]),
        rule(Operator, Optional(Events), "events.k8s.io", &["events"], &["create", "patch"]),
        rule(Operator, Optional(PluginWork), "", &["serviceaccounts/token"], &["create"]),
        rule(Plugins, Optional(PluginEndpoints), "discovery.k8s.io", &["endpointslices"], READ),
    ]
};

/// The required permissions, each with its needs.
pub type Wanted = BTreeMap<Right, BTreeSet<Need>>;

/// Returns the permissions that the controller uses under these flags. If a definition has no status subresource, the
/// status is written with the object.
pub fn wanted(questions: &Questions, served: &Served) -> Wanted {
    let mut wanted = Wanted::new();
    for rule in &RULES {
        if rule.need == Need::Optional(Feature::Events) && !questions.events {
            continue;
        }
        for at in places(rule.place, questions) {
            for (resource, verb) in
                rule.resources.iter().flat_map(|resource| rule.verbs.iter().map(move |verb| (resource, verb)))
            {
                let (plural, subresource) = match resource.split_once('/') {
                    Some((plural, subresource)) => (plural, Some(subresource)),
                    None => (*resource, None),
                };
                if rule.group == GROUP && subresource == Some("status") && !served.has_status(plural) {
                    continue;
                }
                let name = match (plural, rule.place) {
                    ("serviceaccounts", _) => Some(questions.service_account.clone()),
                    (_, Place::Named) => questions.claim.clone(),
                    _ => None,
                };
                let right = Right { group: rule.group, resource: plural, subresource, verb, name, at: at.clone() };
                wanted.entry(right).or_default().insert(rule.need);
            }
        }
    }
    wanted
}

/// Returns the scopes of `place`. Plugins are watched in the operator's namespace and, if teams may have plugins, in
/// the watched namespaces.
fn places(place: Place, questions: &Questions) -> Vec<At> {
    let own = At::Namespace(questions.operator_namespace.clone());
    let watched = || questions.namespaces.iter().cloned().map(At::Namespace);
    match place {
        Place::Operator => vec![own],
        Place::Cluster if questions.namespaces.is_empty() => vec![At::Cluster],
        Place::Releases | Place::Named if questions.claim.is_none() => Vec::new(),
        Place::Cluster => Vec::new(),
        Place::Strays if questions.tenants => Vec::new(),
        Place::Plugins if !questions.tenants => vec![own],
        Place::Watched | Place::Releases | Place::Strays | Place::Plugins if questions.namespaces.is_empty() => {
            vec![At::Everywhere]
        }
        Place::Watched | Place::Releases | Place::Named => watched().collect(),
        Place::Strays => watched().filter(|at| *at != own).collect(),
        Place::Plugins => std::iter::once(own).chain(watched()).collect(),
    }
}

#[cfg(test)]
mod tests;
