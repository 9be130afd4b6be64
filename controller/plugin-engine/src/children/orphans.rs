//! Finds and deletes the children whose subjects were deleted while no worker was running.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt as _, stream};
use kube::ResourceExt as _;

use super::{
    child_ref::ChildRef,
    context::SyncContext,
    inventory::{Children, PARALLEL},
};
use crate::{
    index::registration::Registered,
    model::{child_meta::Ours, labels::SUBJECT_LABEL},
};

/// A child whose subject is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orphan {
    namespace: String,
    subject_uid: String,
    child: ChildRef,
}

/// Returns the children of `plugin` whose subject is not in the result of `existing_subjects`. Namespaces take turns.
/// `existing_subjects` is called last, because a child is only created after its subject is known.
pub(crate) async fn orphans(
    env: &SyncContext,
    plugin: &Registered,
    existing_subjects: impl AsyncFnOnce() -> HashSet<String>,
) -> Vec<Orphan> {
    let ours = Ours { plugin: &plugin.identity, subject_uid: None, owner_uid: None };
    let mut found = Vec::new();
    for kind in &plugin.kinds {
        let cache = env.watches.children(&plugin.writer, &kind.resource).await;
        cache.for_each(|child| {
            let (Some(subject), true) = (child.labels().get(SUBJECT_LABEL), ours.holds(child)) else { return };
            found.push(Orphan {
                namespace: child.namespace().unwrap_or_default(),
                subject_uid: subject.clone(),
                child: ChildRef::of(&kind.resource, child),
            });
        });
    }
    let existing_subjects = existing_subjects().await;
    found.retain(|orphan| !existing_subjects.contains(&orphan.subject_uid));
    interleaved_by_namespace(found)
}

/// Orders orphans so that namespaces take turns: the first one of each namespace, then the second one of each, and so
/// on.
fn interleaved_by_namespace(orphans: Vec<Orphan>) -> Vec<Orphan> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut numbered: Vec<(usize, Orphan)> = Vec::with_capacity(orphans.len());
    for orphan in orphans {
        let count = counts.entry(orphan.namespace.clone()).or_default();
        numbered.push((*count, orphan));
        *count += 1;
    }
    numbered.sort_by(|(a, one), (b, other)| (a, &one.namespace).cmp(&(b, &other.namespace)));
    numbered.into_iter().map(|(_, orphan)| orphan).collect()
}

/// Deletes `orphans`. Deletes nothing in namespaces whose subjects are not known yet, or that another release
/// serves. Returns whether every deletion succeeded.
pub(crate) async fn prune_orphans(env: &SyncContext, plugin: &Registered, orphans: Vec<Orphan>) -> bool {
    let prune = async |orphan: Orphan| {
        let is_known = plugin.spec.subjects.iter().all(|rule| env.watches.knows(rule.kind, &orphan.namespace));
        if !is_known || env.releases.is_served_alone(&orphan.namespace) {
            return false;
        }
        let children = Children { env, plugin, namespace: &orphan.namespace };
        let ours = Ours { plugin: &plugin.identity, subject_uid: Some(&orphan.subject_uid), owner_uid: None };
        let result = children.delete(&orphan.child, ours).await;
        if let Err(error) = &result {
            tracing::warn!(plugin = plugin.key.name, %error, "failed to delete a child whose subject is gone");
        }
        result.is_ok()
    };
    let mut all_gone = true;
    let deletions: Vec<_> = orphans.into_iter().map(prune).collect();
    let mut deletions = stream::iter(deletions).buffered(PARALLEL);
    while let Some(is_gone) = deletions.next().await {
        all_gone &= is_gone;
    }
    all_gone
}

#[cfg(test)]
mod tests {
    use dask_operator_api::testing::mk_resource;

    use super::*;

    #[test]
    fn orphans_of_one_namespace_do_not_come_before_those_of_another() {
        let orphan = |namespace: &str, name: &str| Orphan {
            namespace: namespace.to_owned(),
            subject_uid: "gone".to_owned(),
            child: ChildRef {
                resource: mk_resource("v1", "ConfigMap"),
                name: name.to_owned(),
                uid: format!("{name}-uid"),
                key: name.to_owned(),
            },
        };
        let flood = (0..1000).map(|number| orphan("flood", &number.to_string()));
        let orphans =
            interleaved_by_namespace(flood.chain([orphan("a", "0"), orphan("b", "0"), orphan("a", "1")]).collect());
        let order: Vec<&str> = orphans.iter().take(5).map(|orphan| orphan.namespace.as_str()).collect();
        assert_eq!(order, ["a", "b", "flood", "a", "flood"]);
        assert_eq!(orphans.len(), 1003);
    }
}
