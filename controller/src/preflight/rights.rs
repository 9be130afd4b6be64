//! The rights that the controller uses, in one table. The chart's roles grant these and no others, which a test
//! compares.

use std::collections::{BTreeMap, BTreeSet};

use super::served::{GROUP, Served};

/// What the controller is told by flags, as far as it shapes its rights.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    /// The watched namespaces; all of them if empty.
    pub namespaces: Vec<String>,
    /// The operator's own.
    pub operator_namespace: String,
    /// Whose tokens are shown to plugins.
    pub service_account: String,
    /// Whether teams may have plugins in their own namespaces.
    pub tenants: bool,
    /// Whether Events are published.
    pub events: bool,
}

/// Where a right is needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum At {
    /// In every namespace.
    Everywhere,
    /// In this one.
    Namespace(String),
    /// For a kind without namespaces.
    Cluster,
}

/// One thing that the controller does to the API server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Right {
    /// The API group, empty for the core.
    pub group: &'static str,
    /// The plural of the kind.
    pub resource: &'static str,
    /// A part of it, such as `status`.
    pub subresource: Option<&'static str>,
    /// The verb as RBAC has it.
    pub verb: &'static str,
    /// The only object that it is needed for.
    pub name: Option<String>,
    /// Where.
    pub at: At,
}

/// What the controller does without if a right is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Events.
    Events,
    /// Children where Kubernetes checks whoever blocks an owner's deletion, as `OpenShift` has it.
    BlockingOwners,
    /// Schedulers that listen with TLS.
    SchedulerSecrets,
    /// Plugins that choose by labels of namespaces.
    NamespaceLabels,
    /// Plugins.
    Plugins,
    /// What plugins need beside their resources.
    PluginWork,
    /// Noticing that the pods behind a plugin's Service have changed.
    PluginEndpoints,
}

impl Feature {
    /// Whether it is of no use without [`Feature::Plugins`].
    pub(super) fn serves_plugins(self) -> bool {
        matches!(self, Self::NamespaceLabels | Self::PluginWork | Self::PluginEndpoints)
    }
}

/// What a missing right means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// The controller cannot work.
    Essential,
    /// It works without this.
    Optional(Feature),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The namespaces whose Dask resources are looked after.
    Watched,
    /// The operator's own namespace.
    Operator,
    /// The namespaces whose plugins are accepted.
    Plugins,
    Cluster,
}

/// Each verb on each resource, which may be `plural/subresource`.
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

/// In the order of the chart's roles, where comments say what each is for.
const RULES: [Rule; 25] = {
    use Feature::{
        BlockingOwners, Events, NamespaceLabels, PluginEndpoints, PluginWork, Plugins as Plugin, SchedulerSecrets,
    };
    use Need::{Essential, Optional};
    use Place::{Cluster, Operator, Plugins, Watched};
    [
        rule(Watched, Essential, GROUP, &["daskclusters", "daskworkergroups", "daskjobs", "daskautoscalers"], READ),
        rule(Watched, Essential, GROUP, &["daskworkergroups"], &["create", "patch"]),
        rule(Watched, Essential, GROUP, &["daskclusters"], &["create", "patch", "delete"]),
        rule(Watched, Essential, GROUP, &["daskautoscalers"], &["patch"]),
        rule(Watched, Essential, GROUP, &["daskjobs"], &["patch", "delete"]),
        rule(Watched, Essential, GROUP, STATUS, &["patch"]),
        rule(Watched, Optional(BlockingOwners), GROUP, FINALIZERS, &["update"]),
        rule(Watched, Essential, "apps", &["deployments"], READ),
        rule(Watched, Essential, "apps", &["deployments"], &["create", "patch", "delete"]),
        rule(Watched, Essential, "", &["services", "pods"], READ),
        rule(Watched, Essential, "", &["services"], &["create", "patch"]),
        rule(Watched, Essential, "", &["pods"], &["create", "delete"]),
        rule(Watched, Optional(SchedulerSecrets), "", &["secrets"], &["get"]),
        rule(Cluster, Optional(NamespaceLabels), "", &["namespaces"], &["list", "watch"]),
        rule(Watched, Optional(Events), "events.k8s.io", &["events"], &["create", "patch"]),
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

/// Rights, each once, and what each is needed for.
pub type Wanted = BTreeMap<Right, BTreeSet<Need>>;

/// The rights that the controller uses under these flags. Where a definition has no status of its own, the status is
/// written with the object.
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
                let name = (plural == "serviceaccounts").then(|| questions.service_account.clone());
                let right = Right { group: rule.group, resource: plural, subresource, verb, name, at: at.clone() };
                wanted.entry(right).or_default().insert(rule.need);
            }
        }
    }
    wanted
}

/// Plugins are looked for in the operator's namespace and, if teams may have some, where they work.
fn places(place: Place, questions: &Questions) -> Vec<At> {
    let own = At::Namespace(questions.operator_namespace.clone());
    let watched = || questions.namespaces.iter().cloned().map(At::Namespace);
    match place {
        Place::Operator => vec![own],
        Place::Cluster if questions.namespaces.is_empty() => vec![At::Cluster],
        Place::Cluster => Vec::new(),
        Place::Watched if questions.namespaces.is_empty() => vec![At::Everywhere],
        Place::Watched => watched().collect(),
        Place::Plugins if !questions.tenants => vec![own],
        Place::Plugins if questions.namespaces.is_empty() => vec![At::Everywhere],
        Place::Plugins => std::iter::once(own).chain(watched()).collect(),
    }
}

#[cfg(test)]
mod tests;
