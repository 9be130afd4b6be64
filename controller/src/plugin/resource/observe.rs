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
    k8s,
    plugin::kinds::ChildKind,
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

/// Whether the controller may write all `kinds`; if not, exactly what is missing.
pub(super) async fn authorize(
    client: &Client,
    namespace: Option<&str>,
    kinds: &[ChildKind],
) -> Result<Result<(), Invalid>, k8s::Error> {
    let questions = kinds.iter().flat_map(|kind| VERBS.map(|verb| (kind, verb)));
    let answers = try_join_all(questions.map(|(kind, verb)| is_allowed(client, namespace, kind, verb))).await?;
    let missing: Vec<String> = answers.into_iter().flatten().collect();
    if missing.is_empty() {
        return Ok(Ok(()));
    }
    let message = format!(
        "the controller may not {}; grant it with a ClusterRole labelled \
         kubernetes.dask.org/aggregate-to-operator: \"true\"",
        missing.join(", ")
    );
    Ok(Err(Invalid { reason: "Forbidden", message }))
}

/// `None` if allowed, else what is missing.
async fn is_allowed(
    client: &Client,
    namespace: Option<&str>,
    kind: &ChildKind,
    verb: &'static str,
) -> Result<Option<String>, k8s::Error> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(kind.resource.group.clone()),
                resource: Some(kind.resource.plural.clone()),
                verb: Some(verb.to_owned()),
                namespace: namespace.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = k8s::timed("review", "the controller's rights", api.create(&PostParams::default(), &review)).await?;
    let allowed = answer.status.is_some_and(|status| status.allowed);
    Ok((!allowed).then(|| format!("{verb} {}", kind.resource.plural)))
}
