//! Tests of whole passes, before and after the watches have delivered the created objects.

use kube::runtime::watcher::Event;
use operator_runtime::watch::Cache;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;
use crate::{
    controllers::contexts,
    stub_api_server::{made, mk_shared, namespace_ends},
    test_fixtures::mk_cluster,
};

const STATUS: &str = "PATCH /apis/kubernetes.dask.org/v1/namespaces/ns/daskclusters/demo/status";
const COMPONENTS: [&str; 3] = [
    "POST /api/v1/namespaces/ns/services",
    "POST /apis/apps/v1/namespaces/ns/deployments",
    "POST /apis/kubernetes.dask.org/v1/namespaces/ns/daskworkergroups",
];

fn deliver<K>(cache: &Cache<K>, manifest: Value)
where
    K: kube::Resource + Clone + DeserializeOwned,
{
    cache.apply(None, Event::Apply(serde_json::from_value(manifest).unwrap()), &mut Arc::new);
}

async fn pass(cluster: &DaskCluster, context: &Arc<Context>) -> Action {
    reconcile(Arc::new(cluster.clone()), Arc::clone(context)).await.unwrap()
}

/// Status writes compete with the creations that other clusters wait for.
#[tokio::test]
async fn components_are_created_once_and_reported_when_all_caches_contain_them() {
    let (shared, writes) = mk_shared(made).await;
    let (context, demo) = (Arc::new(contexts::cluster(&shared)), mk_cluster("demo"));
    pass(&demo, &context).await;
    let mut components = writes.take();
    components.sort_unstable();
    assert_eq!(components, COMPONENTS, "at the same time, so in any order");
    let [mut scheduler, service, group] = manifests(&demo).unwrap();
    scheduler["status"] = json!({"observedGeneration": 1});
    deliver(&context.caches.schedulers, scheduler);
    deliver(&context.caches.services, service);
    pass(&demo, &context).await;
    assert_eq!(writes.take(), [""; 0], "of the group no watch has told yet");
    deliver(&context.caches.groups, group);
    pass(&demo, &context).await;
    assert_eq!(writes.take(), [STATUS, STATUS], "Created first, as clients expect, then all there is to say");
}

#[tokio::test]
async fn a_namespace_that_ends_is_no_failure_of_a_cluster() {
    let (shared, writes) = mk_shared(namespace_ends).await;
    let action = pass(&mk_cluster("demo"), &Arc::new(contexts::cluster(&shared))).await;
    assert_eq!(action, Action::await_change());
    let mut tried = writes.take();
    tried.sort_unstable();
    assert_eq!(tried, COMPONENTS, "and neither status nor Events");
}
