//! What the API server says about the kinds that a plugin may write.

use futures::future::{join_all, try_join_all};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{
    Api, Client,
    api::PostParams,
    core::{GroupVersionKind, TypeMeta},
    discovery::{Scope, pinned_kind},
};

use crate::{
    crd::{ChildRule, DaskOperatorPlugin},
    invalid::Invalid,
    k8s::{self, Class},
    plugin::{
        kinds::ChildKind,
        resource::PluginContext,
        wiring::Settings,
        writer::{Account, Writer},
    },
};

/// What the engine does with children.
const VERBS: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];

/// The kinds of the allow-list as the API server serves them, or which of them it does not.
pub(super) async fn resolve_kinds(client: &Client, plugin: &DaskOperatorPlugin) -> Result<Vec<ChildKind>, Invalid> {
    join_all(plugin.spec.children.iter().map(|rule| resolve(client, rule))).await.into_iter().collect()
}

async fn resolve(client: &Client, rule: &ChildRule) -> Result<ChildKind, Invalid> {
    let what = format!("{} {}", rule.api_version, rule.kind);
    let unknown = |message: String| Invalid { reason: "UnknownKind", message };
    let types = TypeMeta { api_version: rule.api_version.clone(), kind: rule.kind.clone() };
    let kind = GroupVersionKind::try_from(&types)
        .map_err(|error| unknown(format!("children: {what} is not a kind: {error}")))?;
    let found = k8s::timed("discover", &what, pinned_kind(client, &kind)).await;
    let (resource, capabilities) = found
        .map_err(|error| unknown(format!("children: the API server does not serve {what}: {}", error.message())))?;
    let namespaced = capabilities.scope == Scope::Namespaced;
    if !namespaced {
        let message = format!("children: {what} is cluster-scoped, and children live in their owner's namespace");
        return Err(Invalid { reason: "ClusterScoped", message });
    }
    Ok(ChildKind { resource, namespaced, allow_sensitive: rule.allow_sensitive, recreate: rule.recreate_on_immutable })
}

/// What a plugin needs to be allowed.
#[derive(Clone, Copy)]
pub(super) struct Rights<'a> {
    pub(super) writer: &'a Writer,
    pub(super) kinds: &'a [ChildKind],
    /// Whether labels of namespaces have to be read, which is the controller's own doing.
    pub(super) namespaces: bool,
}

/// One thing that somebody may or may not do.
type Right<'a> = (&'static str, &'a str, &'a str);

/// Whether everything that is needed is allowed; if not, exactly what is missing, and how to grant it.
pub(super) async fn authorize(context: &PluginContext, rights: Rights<'_>) -> Result<Result<(), Invalid>, k8s::Error> {
    let Rights { writer, kinds, namespaces } = rights;
    let scope = writer.namespace.as_deref().or(context.settings.watched.as_deref());
    let needed = |kind: &'_ ChildKind| VERBS.map(|verb| (verb, kind.resource.clone()));
    let needed: Vec<_> = kinds.iter().flat_map(needed).collect();
    let needed = needed.iter().map(|(verb, resource)| (*verb, resource.group.as_str(), resource.plural.as_str()));
    let missing = match missing(&writer.client, scope, needed).await {
        Ok(missing) => missing,
        // Everybody who is somebody may ask what he may do.
        Err(error) if error.class() == Class::Forbidden => {
            return match &writer.account {
                Some(account) => Ok(Err(impersonation_forbidden(context, account, &error))),
                None => Err(error),
            };
        }
        Err(error) => return Err(error),
    };
    if !missing.is_empty() {
        return Ok(Err(forbidden(writer.account.as_ref(), scope, &missing)));
    }
    if namespaces {
        let needed = ["list", "watch"].map(|verb| (verb, "", "namespaces"));
        let missing = self::missing(&context.client, None, needed.into_iter()).await?;
        if !missing.is_empty() {
            let mut refusal = forbidden(None, None, &missing);
            refusal.message.push_str("; match.namespaceSelector needs it");
            return Ok(Err(refusal));
        }
    }
    Ok(Ok(()))
}

fn forbidden(account: Option<&Account>, scope: Option<&str>, missing: &[String]) -> Invalid {
    let missing = missing.join(", ");
    let message = match (account, scope) {
        (None, _) => format!(
            "the controller may not {missing}; grant it with a ClusterRole labelled \
             kubernetes.dask.org/aggregate-to-operator: \"true\""
        ),
        (Some(account), Some(scope)) => format!(
            "the ServiceAccount {account} may not {missing} in the namespace {scope}; grant it with a Role there \
             that is bound to this ServiceAccount"
        ),
        (Some(account), None) => format!(
            "the ServiceAccount {account} may not {missing} in all namespaces; grant it with a ClusterRole that is \
             bound to this ServiceAccount"
        ),
    };
    Invalid::new("Forbidden", message)
}

fn impersonation_forbidden(context: &PluginContext, account: &Account, error: &k8s::Error) -> Invalid {
    let Account { namespace, name } = account;
    let Settings { namespace: own, identity, .. } = &context.settings;
    let message = format!(
        "the controller may not act as the ServiceAccount {account}; grant it with a Role in the namespace {namespace} \
         with the rule apiGroups: [\"\"], resources: [serviceaccounts], resourceNames: [{name}], verbs: [impersonate] \
         that is bound to the ServiceAccount {own}/{} ({})",
        identity.service_account,
        error.message()
    );
    Invalid::new("ImpersonationForbidden", message)
}

/// What of `needed` is not allowed to `client`.
async fn missing<'a>(
    client: &Client,
    namespace: Option<&str>,
    needed: impl Iterator<Item = Right<'a>>,
) -> Result<Vec<String>, k8s::Error> {
    let answers = try_join_all(needed.map(|right| is_allowed(client, namespace, right))).await?;
    Ok(answers.into_iter().flatten().collect())
}

/// `None` if allowed, else what is missing.
async fn is_allowed(
    client: &Client,
    namespace: Option<&str>,
    (verb, group, plural): Right<'_>,
) -> Result<Option<String>, k8s::Error> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(plural.to_owned()),
                verb: Some(verb.to_owned()),
                namespace: namespace.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = k8s::timed("review", "rights", api.create(&PostParams::default(), &review)).await?;
    let allowed = answer.status.is_some_and(|status| status.allowed);
    Ok((!allowed).then(|| format!("{verb} {plural}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_told_with_whom_to_grant_it_to() {
        let account = Account { namespace: "team-a".to_owned(), name: "writer".to_owned() };
        let missing = ["create ingresses".to_owned(), "patch ingresses".to_owned()];
        let table = [
            (
                None,
                Some("team-a"),
                "the controller may not create ingresses, patch ingresses; grant it with a ClusterRole labelled",
            ),
            (
                Some(&account),
                Some("team-a"),
                "the ServiceAccount team-a/writer may not create ingresses, patch ingresses in the namespace team-a; grant it with a Role there",
            ),
            (
                Some(&account),
                None,
                "the ServiceAccount team-a/writer may not create ingresses, patch ingresses in all namespaces; grant it with a ClusterRole",
            ),
        ];
        for (account, scope, expected) in table {
            let refusal = forbidden(account, scope, &missing);
            assert_eq!(refusal.reason, "Forbidden");
            assert!(refusal.message.starts_with(expected), "{}", refusal.message);
        }
    }
}
