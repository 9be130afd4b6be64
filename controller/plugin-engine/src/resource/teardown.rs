//! Cleans up after a deleted plugin resource.

use std::{sync::Arc, time::Duration};

use dask_operator_api::{
    DaskOperatorPlugin, DeletionPolicy, Endpoint, MatchRules, PluginAuth, PluginTls, Settings, meta,
};
use futures::future::join_all;
use kube::{
    Api, ResourceExt as _,
    api::{DynamicObject, ListParams, ObjectMeta},
};
use operator_runtime::{backoff, k8s};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::context::PluginContext;
use crate::{
    model::{
        child_kind::ChildKind,
        key::{PluginKey, key_of},
        labels::{PLUGIN_LABEL, SUBJECT_LABEL},
        writer::Writer,
    },
    resource,
};

/// How often the deletion of a deleted plugin's children is attempted, with growing pauses.
const ROUNDS: usize = 8;

/// How long a standby remembers a deleted plugin. The leader may end before it has deleted the children.
const REMEMBERED: Duration = Duration::from_mins(10);

/// Returns the part of a plugin resource that is needed to delete its children. Many may be remembered at the same
/// time, and the other fields may be of any size.
pub(crate) fn remains(plugin: &DaskOperatorPlugin) -> Arc<DaskOperatorPlugin> {
    let mut spec = plugin.spec.clone();
    spec.endpoint = Endpoint { socket: spec.endpoint.socket, ..Endpoint::default() };
    spec.tls = PluginTls::default();
    spec.auth = PluginAuth::default();
    spec.subjects = Vec::new();
    spec.match_ = MatchRules::default();
    spec.settings = Settings::default();
    let metadata = ObjectMeta {
        name: plugin.metadata.name.clone(),
        namespace: plugin.metadata.namespace.clone(),
        uid: plugin.metadata.uid.clone(),
        ..ObjectMeta::default()
    };
    Arc::new(DaskOperatorPlugin { metadata, spec, status: None })
}

/// Stops a plugin whose resource was deleted, and applies its deletion policy to its children. The finalizer controller
/// removes its finalizers from all Dask resources, even if the children cannot be deleted.
///
/// A standby gets `came_back` from `DeletedPlugins`. If it becomes the leader soon, it repeats the work, or does it
/// in place of the former leader. If no process that saw the deletion completes it, the remaining children stay until
/// their Dask resource is deleted: only the plugin resource listed the kinds.
pub(crate) async fn retire(
    context: Arc<PluginContext>,
    plugin: Arc<DaskOperatorPlugin>,
    came_back: Option<CancellationToken>,
) {
    let key = key_of(&plugin);
    let identity = key.identity(&context.settings.namespace);
    context.probes.forget(&key);
    context.inquiries.forget(&key);
    let registered = context.registry.remove(&key);
    context.env.finalize_progress.forget_plugin(&identity);
    context.env.status_store.forget(&identity);
    context.env.metrics.forget(&identity);
    if plugin.spec.deletion_policy == DeletionPolicy::Orphan {
        return;
    }
    if let Some(came_back) = came_back
        && !leads_soon(&context, &key, came_back).await
    {
        return;
    }
    // A plugin that was refused has no children.
    let Ok(writer) = resource::writer_of(&context, &plugin) else { return };
    let slot = context.retirements.acquire(&key.namespace).await;
    // A plugin that is suspended, or has not answered since the controller started, may have children too.
    let kinds = match registered {
        Some(registered) => registered.kinds.clone(),
        None => resource::kinds_of(&context, &plugin).await,
    };
    drop(slot);
    for round in 1..=ROUNDS {
        let slot = context.retirements.acquire(&key.namespace).await;
        let results = join_all(kinds.iter().map(|kind| delete_children(&context, &writer, &identity, kind))).await;
        drop(slot);
        let Some(error) = results.into_iter().find_map(Result::err) else { return };
        tracing::warn!(plugin = key.name, %error, "failed to delete the children of a deleted plugin");
        tokio::time::sleep(backoff::delay(round)).await;
        // A new plugin of the same name exists, and the remaining children belong to it.
        if context.plugins.get(&key).is_some() {
            return;
        }
    }
}

/// Waits on a standby. Returns whether this process becomes the leader before its knowledge of the plugin is too old.
async fn leads_soon(context: &PluginContext, key: &PluginKey, came_back: CancellationToken) -> bool {
    let leads = tokio::select! {
        leads = timeout(REMEMBERED, context.leadership.begun()) => leads.is_ok(),
        () = came_back.cancelled() => return false,
    };
    context.deleted_plugins.came_back(key);
    leads
}

/// Lists the children by the plugin's labels in the API server, and deletes those that a Dask resource controls. A
/// namespace that cannot be read does not prevent deletions in others.
async fn delete_children(
    context: &PluginContext,
    writer: &Writer,
    identity: &str,
    kind: &ChildKind,
) -> Result<(), k8s::Error> {
    let scope = writer.scope(&context.settings.watched);
    let apis = scope.parts().into_iter().map(|namespace| match namespace {
        Some(namespace) => Api::namespaced_with(writer.client.clone(), namespace, &kind.resource),
        None => Api::all_with(writer.client.clone(), &kind.resource),
    });
    let labels = format!("{PLUGIN_LABEL}={identity},{SUBJECT_LABEL}");
    // Children in excluded namespaces may belong to a plugin of the same name of another release.
    let params = ListParams { field_selector: scope.field_selector(), ..ListParams::default().labels(&labels) };
    let is_ours = |namespace: &str| !context.env.releases.is_served_alone(namespace);
    join_all(apis.map(|api| delete_in(api, &params, kind, is_ours))).await.into_iter().collect()
}

/// Deletes the children that `params` selects, as far as a Dask resource controls them and their namespace `is_ours`.
async fn delete_in(
    all: Api<DynamicObject>,
    params: &ListParams,
    kind: &ChildKind,
    is_ours: impl Fn(&str) -> bool,
) -> Result<(), k8s::Error> {
    let children = k8s::timed("list", &kind.resource.plural, all.list_metadata(params)).await?;
    let client = all.into_client();
    for child in children.items.iter().filter(|child| meta::is_controlled_by_dask(*child)) {
        let namespace = child.namespace().unwrap_or_default();
        if !is_ours(&namespace) {
            continue;
        }
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind.resource);
        k8s::delete(&api, &child.name_any(), &child.uid().unwrap_or_default()).await?;
    }
    Ok(())
}
