//! Deletes the children of kinds that a plugin's resource no longer lists. No response can include such children, so
//! nothing else would ever handle them.

use std::{sync::Arc, time::Duration};

use dask_operator_api::DeletionPolicy;
use kube::{ResourceExt as _, core::ApiResource};
use operator_runtime::{backoff, k8s};
use tokio::sync::watch;

use crate::{
    children::{child_ref::ChildRef, context::SyncContext, inventory::Children},
    index::registration::Registered,
    model::{child_kind::ChildKind, child_meta::Ours},
};

/// The number of attempts. They have growing pauses, because the right to delete may be removed together with the kind.
const ROUNDS: usize = 8;
/// The maximum duration of all attempts.
const LONGEST: Duration = Duration::from_mins(10);

/// Returns the kinds in `before` that are not in `now` in any version.
pub(crate) fn removed(before: &[ChildKind], now: &[ChildKind]) -> Vec<ChildKind> {
    let same = |a: &ApiResource, b: &ApiResource| (&a.group, &a.plural) == (&b.group, &b.plural);
    before.iter().filter(|kind| !now.iter().any(|now| same(&kind.resource, &now.resource))).cloned().collect()
}

/// Deletes the children of `removed` kinds, except kinds that are listed again. Stops when the plugin is deleted.
pub(crate) async fn prune(env: Arc<SyncContext>, current: watch::Receiver<Arc<Registered>>, removed: Vec<ChildKind>) {
    let mut changes = current.clone();
    let gone = async { while changes.changed().await.is_ok() {} };
    // The right to watch may have been removed together with the kind, so the initial list may never arrive.
    let pruned = tokio::time::timeout(LONGEST, prune_all(&env, &current, &removed));
    tokio::select! { _ = pruned => {}, () = gone => {} }
}

async fn prune_all(env: &SyncContext, current: &watch::Receiver<Arc<Registered>>, removed: &[ChildKind]) {
    for round in 1..=ROUNDS {
        let plugin = Arc::clone(&current.borrow());
        if plugin.spec.deletion_policy == DeletionPolicy::Orphan {
            return;
        }
        let mut failed = None;
        for kind in self::removed(removed, &plugin.kinds) {
            failed = failed.or(prune_kind(env, &plugin, &kind).await.err());
        }
        let Some(error) = failed else { return };
        let plugin = &plugin.key.name;
        tracing::warn!(plugin, %error, "failed to delete the children of a kind that is no longer listed");
        tokio::time::sleep(backoff::delay(round)).await;
    }
}

async fn prune_kind(env: &SyncContext, plugin: &Registered, kind: &ChildKind) -> Result<(), k8s::Error> {
    let ours = Ours { plugin: &plugin.identity, subject_uid: None, owner_uid: None };
    for child in env.watches.children(&plugin.writer, &kind.resource).await.all() {
        if ours.holds(&child) {
            let namespace = child.namespace().unwrap_or_default();
            if env.releases.is_served_alone(&namespace) {
                continue;
            }
            let children = Children { env, plugin, namespace: &namespace };
            children.delete(&ChildRef::of(&kind.resource, child.as_ref()), ours).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::slice;

    use dask_operator_api::testing::mk_resource;

    use super::*;

    fn kind(api_version: &str, name: &str) -> ChildKind {
        let resource = mk_resource(api_version, name);
        ChildKind { resource, namespaced: true, allow_sensitive: false, recreate: false }
    }

    #[test]
    fn a_kind_is_removed_when_no_version_of_it_is_listed() {
        let (old, new) = (kind("networking.k8s.io/v1beta1", "Ingress"), kind("networking.k8s.io/v1", "Ingress"));
        let (config, namesake) = (kind("v1", "ConfigMap"), kind("example.org/v1", "Ingress"));
        assert_eq!(removed(&[old, config.clone()], slice::from_ref(&new)), slice::from_ref(&config));
        assert_eq!(removed(slice::from_ref(&new), &[namesake]), slice::from_ref(&new));
        assert_eq!(removed(slice::from_ref(&config), &[ChildKind { recreate: true, ..config.clone() }]), []);
    }
}
