//! Queries the API server about the kinds that a plugin may write, and about the permissions to do so.

use std::collections::BTreeMap;

use dask_operator_api::{ChildRule, DaskOperatorPlugin};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use kube::{
    Client,
    core::{GroupVersionKind, TypeMeta},
    discovery::{self, pinned_kind},
};
use operator_runtime::{
    k8s::{self, Class},
    rejection::Rejection,
    scope::Scope,
};

use super::context::PluginContext;
use crate::{
    config::Settings,
    model::{
        child_kind::ChildKind,
        writer::{Account, Writer},
    },
};

/// How many requests are sent for one plugin at the same time. A plugin may list dozens of kinds, each with several
/// permissions.
const PARALLEL: usize = 8;
/// The verbs that the engine uses on children.
const VERBS: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];

/// Returns the kinds of the allow-list as the API server serves them, or which of them is not served.
pub(crate) async fn resolve_kinds(client: &Client, plugin: &DaskOperatorPlugin) -> Result<Vec<ChildKind>, Rejection> {
    let resolved: Vec<_> = plugin.spec.children.iter().map(|rule| resolve(client, rule).boxed()).collect();
    stream::iter(resolved).buffered(PARALLEL).try_collect().await
}

async fn resolve(client: &Client, rule: &ChildRule) -> Result<ChildKind, Rejection> {
    let what = format!("{} {}", rule.api_version, rule.kind);
    let unknown = |message: String| Rejection { reason: "UnknownKind", message };
    let types = TypeMeta { api_version: rule.api_version.clone(), kind: rule.kind.clone() };
    let kind = GroupVersionKind::try_from(&types)
        .map_err(|error| unknown(format!("children: {what} is not a kind: {error}")))?;
    let found = k8s::timed("discover", &what, pinned_kind(client, &kind)).await;
    let (resource, capabilities) = found
        .map_err(|error| unknown(format!("children: the API server does not serve {what}: {}", error.message())))?;
    let namespaced = capabilities.scope == discovery::Scope::Namespaced;
    if !namespaced {
        let message = format!("children: {what} is cluster-scoped, and children live in their owner's namespace");
        return Err(Rejection { reason: "ClusterScoped", message });
    }
    Ok(ChildKind { resource, namespaced, allow_sensitive: rule.allow_sensitive, recreate: rule.recreate_on_immutable })
}

/// The permissions that a plugin needs.
#[derive(Clone, Copy)]
pub(crate) struct Rights<'a> {
    pub(crate) writer: &'a Writer,
    pub(crate) kinds: &'a [ChildKind],
    /// Whether the labels of namespaces have to be read. The controller does that with its own account.
    pub(crate) namespaces: bool,
}

/// One permission: verb, group and plural.
type Right<'a> = (&'static str, &'a str, &'a str);

/// The missing permissions, with the namespaces in which they are missing; `None` means all namespaces.
type Gaps = BTreeMap<Vec<String>, Vec<Option<String>>>;

/// Returns whether all required permissions are granted. If not, the rejection lists what is missing and how to grant
/// it.
pub(crate) async fn authorize(
    context: &PluginContext,
    rights: Rights<'_>,
) -> Result<Result<(), Rejection>, k8s::Error> {
    let Rights { writer, kinds, namespaces } = rights;
    let scope = writer.scope(&context.settings.watched);
    let of_kind = |kind: &'_ ChildKind| VERBS.map(|verb| (verb, kind.resource.clone()));
    let needed: Vec<_> = kinds.iter().flat_map(of_kind).collect();
    let needed = needed.iter().map(|(verb, resource)| (*verb, resource.group.as_str(), resource.plural.as_str()));
    let missing = match missing(&writer.client, &scope, &needed.collect::<Vec<_>>()).await {
        Ok(missing) => missing,
        // Every authenticated account may review its own permissions, so the impersonation was refused.
        Err(error) if error.class() == Class::Forbidden => {
            return match &writer.account {
                Some(account) => Ok(Err(impersonation_forbidden(context, account, &error))),
                None => Err(error),
            };
        }
        Err(error) => return Err(error),
    };
    if !missing.is_empty() {
        return Ok(Err(forbidden(writer.account.as_ref(), &context.settings, &missing)));
    }
    if namespaces {
        let needed = ["list", "watch"].map(|verb| (verb, "", "namespaces"));
        let missing = self::missing(&context.client, &Scope::all(), &needed).await?;
        if !missing.is_empty() {
            let mut refusal = forbidden(None, &context.settings, &missing);
            refusal.message.push_str("; match.namespaceSelector needs it");
            return Ok(Err(refusal));
        }
    }
    Ok(Ok(()))
}

fn forbidden(account: Option<&Account>, settings: &Settings, missing: &Gaps) -> Rejection {
    let everywhere = missing.values().flatten().any(Option::is_none);
    let wheres: Vec<String> = missing
        .iter()
        .map(|(rights, namespaces)| match (account, everywhere) {
            (None, true) => folded(rights),
            _ => format!("{} in {}", folded(rights), Scope::of(namespaces.iter().flatten())),
        })
        .collect();
    let (what, many) = (wheres.join(", nor "), missing.values().flatten().count() > 1);
    let role = if many { "a Role in each of these namespaces" } else { "a Role there" };
    let message = match (account, everywhere) {
        (None, true) => format!(
            "the controller may not {what}; grant it with a ClusterRole labelled \
             kubernetes.dask.org/aggregate-to-operator: \"true\""
        ),
        (None, false) => format!(
            "the controller may not {what}; grant it with {role} that is bound to the ServiceAccount {}/{}",
            settings.namespace, settings.identity.service_account
        ),
        (Some(account), false) => format!(
            "the ServiceAccount {account} may not {what}; grant it with {role} that is bound to this ServiceAccount"
        ),
        (Some(account), true) => format!(
            "the ServiceAccount {account} may not {what}; grant it with a ClusterRole that is bound to this \
             ServiceAccount"
        ),
    };
    Rejection::new("Forbidden", message)
}

/// Returns rights such as `get pods` and `list pods` as words, with the verbs of each resource together.
fn folded(rights: &[String]) -> String {
    let mut resources: Vec<(&str, Vec<&str>)> = Vec::new();
    for right in rights {
        let (verb, resource) = right.split_once(' ').unwrap_or((right, ""));
        match resources.iter_mut().find(|(known, _)| *known == resource) {
            Some((_, verbs)) => verbs.push(verb),
            None => resources.push((resource, vec![verb])),
        }
    }
    let of_resource = |(resource, verbs): &(&str, Vec<&str>)| match verbs.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last} {resource}", first.join(", ")),
        verbs => format!("{} {resource}", verbs.concat()),
    };
    resources.iter().map(of_resource).collect::<Vec<_>>().join(", nor ")
}

fn impersonation_forbidden(context: &PluginContext, account: &Account, error: &k8s::Error) -> Rejection {
    let Account { namespace, name } = account;
    let Settings { namespace: own, identity, .. } = &context.settings;
    let message = format!(
        "the controller may not act as the ServiceAccount {account}; grant it with a Role in the namespace {namespace} \
         with the rule apiGroups: [\"\"], resources: [serviceaccounts], resourceNames: [{name}], verbs: [impersonate] \
         that is bound to the ServiceAccount {own}/{} ({})",
        identity.service_account,
        error.message()
    );
    Rejection::new("ImpersonationForbidden", message)
}

/// Returns the permissions in `needed` that `client` lacks in each part of `scope`.
async fn missing(client: &Client, scope: &Scope, needed: &[Right<'_>]) -> Result<Gaps, k8s::Error> {
    let mut gaps = Gaps::new();
    for namespace in scope.parts() {
        let asked: Vec<_> = needed.iter().map(|right| is_allowed(client, namespace, *right).boxed()).collect();
        let rights: Vec<Option<String>> = stream::iter(asked).buffered(PARALLEL).try_collect().await?;
        let rights: Vec<String> = rights.into_iter().flatten().collect();
        if !rights.is_empty() {
            gaps.entry(rights).or_default().push(namespace.map(str::to_owned));
        }
    }
    Ok(gaps)
}

/// Returns `None` if the permission is granted, otherwise its description.
async fn is_allowed(
    client: &Client,
    namespace: Option<&str>,
    (verb, group, plural): Right<'_>,
) -> Result<Option<String>, k8s::Error> {
    let attributes = ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(plural.to_owned()),
        verb: Some(verb.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let allowed = k8s::may(client, attributes).await?;
    Ok((!allowed).then(|| format!("{verb} {plural}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::test_settings;

    fn gaps(missing: &[(&[&str], &[Option<&str>])]) -> Gaps {
        let rights = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let namespaces = |names: &[Option<&str>]| names.iter().map(|name| name.map(str::to_owned)).collect();
        missing.iter().map(|(words, names)| (rights(words), namespaces(names))).collect()
    }

    #[test]
    fn the_verbs_of_a_resource_are_listed_together() {
        let verbs = ["get pods", "list pods", "watch pods", "get nodes"].map(str::to_owned);
        assert_eq!(folded(&verbs[..1]), "get pods");
        assert_eq!(folded(&verbs), "get, list or watch pods, nor get nodes");
    }

    #[test]
    fn the_message_about_a_missing_right_says_where_and_how_to_grant_it() {
        let account = Account { namespace: "team-a".to_owned(), name: "writer".to_owned() };
        let both = ["create ingresses", "patch ingresses"].as_slice();
        let table = [
            (
                None,
                gaps(&[(both, &[None])]),
                "the controller may not create or patch ingresses; grant it with a ClusterRole labelled",
            ),
            (
                None,
                gaps(&[(both, &[Some("team-a")])]),
                "the controller may not create or patch ingresses in the namespace team-a; grant it with a \
                 Role there that is bound to the ServiceAccount dask-operator/dask-operator",
            ),
            (
                None,
                gaps(&[(&["get pods"], &[Some("team-c")]), (both, &[Some("team-a"), Some("team-b")])]),
                "the controller may not create or patch ingresses in the namespaces team-a, team-b, nor get \
                 pods in the namespace team-c; grant it with a Role in each of these namespaces that is bound to",
            ),
            (
                Some(&account),
                gaps(&[(both, &[Some("team-a")])]),
                "the ServiceAccount team-a/writer may not create or patch ingresses in the namespace team-a; \
                 grant it with a Role there that is bound to this ServiceAccount",
            ),
            (
                Some(&account),
                gaps(&[(both, &[None])]),
                "the ServiceAccount team-a/writer may not create or patch ingresses in all namespaces; grant \
                 it with a ClusterRole",
            ),
        ];
        for (account, missing, expected) in table {
            let refusal = forbidden(account, &test_settings(), &missing);
            assert_eq!(refusal.reason, "Forbidden");
            assert!(refusal.message.starts_with(expected), "{}", refusal.message);
        }
    }
}
