//! Tests of the finalizer controller with a stub API server.

use std::collections::BTreeMap;

use dask_operator_api::testing::mk_cluster;
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Time};
use kube::runtime::watcher::Event as WatchEvent;
use operator_runtime::testing::{Writes, made};
use operator_runtime::watch::{Deletion, UnreadableObject};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::mk_dependencies;
use crate::{config::test_settings, engine::test_engine};

/// Returns the finalizer controller of an operator without plugins, whose API server accepts every request.
async fn controller() -> (FinalizerController, Writes) {
    let (context, writes) = mk_dependencies(made).await;
    let engine = test_engine(&context, test_settings(), &CancellationToken::new());
    let plugins = SyncStatus::listening("daskoperatorplugins", &[Instant::now()]);
    plugins.deliver();
    (FinalizerController::new(engine, context.caches, plugins), writes)
}

fn hold(
    controller: &FinalizerController,
    (namespace, name, version): (&str, &str, u32),
    finalizers: impl Iterator<Item = String>,
) {
    let mut cluster = mk_cluster(name);
    cluster.metadata.namespace = Some(namespace.to_owned());
    cluster.metadata.resource_version = Some(version.to_string());
    cluster.metadata.finalizers = Some(finalizers.collect());
    controller.caches.clusters.apply(None, WatchEvent::Apply(cluster), &mut Arc::new);
}

fn made_up(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("plugin.kubernetes.dask.org/made-up-{number}"))
}

/// Checks all objects once, and runs the removals that are due.
async fn look(controller: &mut FinalizerController, now: Instant) {
    controller.enqueue_all(now);
    let mut running = Running::new();
    loop {
        running.extend(std::iter::from_fn(|| controller.start()));
        let Some(done) = running.next().await else { return };
        controller.finish(done, now);
    }
}

#[tokio::test]
async fn unneeded_finalizers_cost_one_request_for_each_object() {
    let (mut controller, writes) = controller().await;
    let now = Instant::now();
    hold(&controller, ("team-a", "pill", 1), made_up(20_000).chain(["example.org/mine".to_owned()]));
    // An identity that no plugin can have is removed too; it would block the deletion forever.
    hold(&controller, ("team-b", "odd", 1), std::iter::once("plugin.kubernetes.dask.org/A_b..".to_owned()));
    hold(&controller, ("team-c", "other", 1), std::iter::once("example.org/mine".to_owned()));
    look(&mut controller, now).await;
    let mut paths = writes.take();
    paths.sort();
    let path =
        |namespace, name| format!("PATCH /apis/kubernetes.dask.org/v1/namespaces/{namespace}/daskclusters/{name}");
    assert_eq!(paths, [path("team-a", "pill"), path("team-b", "odd")]);

    // The watch has not reported the removals yet.
    look(&mut controller, now + PERIOD).await;
    assert_eq!(writes.take(), Vec::<String>::new());
    hold(&controller, ("team-a", "pill", 2), std::iter::once("example.org/mine".to_owned()));
    hold(&controller, ("team-b", "odd", 2), std::iter::empty());
    look(&mut controller, now + PERIOD).await;
    assert_eq!(writes.take(), Vec::<String>::new());
    assert!(controller.states.is_empty(), "{:?}", controller.states);
}

/// Returns whether the finalizer of a plugin that cannot be called is removed from a group that cannot be parsed and
/// was deleted this many seconds ago.
async fn unreadable_group_is_released_after(seconds: u64) -> bool {
    let (context, writes) = mk_dependencies(made).await;
    let watch = SyncStatus::listening("daskworkergroups", &[Instant::now()]);
    context.liveness.watch(watch.clone());
    let engine = test_engine(&context, test_settings(), &CancellationToken::new());
    let plugin = serde_saphyr::from_str(
        "{apiVersion: kubernetes.dask.org/v1, kind: DaskOperatorPlugin, metadata: {name: away, namespace: dask-operator},
        spec: {endpoint: {service: {name: away}}, subjects: [{kind: DaskWorkerGroup}], children: [],
        finalize: {enabled: true, deadlineSeconds: 60}}}",
    )
    .unwrap();
    engine.plugins.cache.apply(None, WatchEvent::Apply(plugin), &mut Arc::new);
    let plugins = SyncStatus::listening("daskoperatorplugins", &[Instant::now()]);
    plugins.deliver();
    let mut controller = FinalizerController::new(engine, context.caches, plugins);
    let since = Timestamp::now() - Duration::from_secs(seconds);
    watch.note(&mk_unreadable("DaskWorkerGroup", "group", "plugin.kubernetes.dask.org/away", since));
    look(&mut controller, Instant::now()).await;
    let patch = "PATCH /apis/kubernetes.dask.org/v1/namespaces/ns/daskworkergroups/group";
    writes.take().iter().any(|write| write == patch)
}

fn mk_unreadable(kind: &str, name: &str, finalizer: &str, since: Timestamp) -> UnreadableObject {
    let text = |text: &str| Some(text.to_owned());
    UnreadableObject {
        reference: ObjectReference {
            api_version: text("kubernetes.dask.org/v1"),
            kind: text(kind),
            namespace: text("ns"),
            name: text(name),
            uid: text("uid"),
            resource_version: text("7"),
            field_path: None,
        },
        plural: format!("{}s", kind.to_lowercase()),
        reason: "TooDeep",
        message: String::new(),
        conditions: Vec::new(),
        generation: None,
        bytes: 1000,
        is_reconciled: true,
        deletion: Some(Deletion { since: Time(since), finalizers: vec![finalizer.to_owned()] }),
    }
}

#[tokio::test]
async fn the_finalizer_of_an_unreadable_object_is_removed_at_the_deadline() {
    assert!(!unreadable_group_is_released_after(50).await);
    assert!(unreadable_group_is_released_after(61).await);
}

/// The object may have been valid before. Then the cache holds an old version that is not being deleted.
#[tokio::test]
async fn the_known_metadata_of_an_unreadable_object_replaces_its_cached_version() {
    let (context, writes) = mk_dependencies(made).await;
    let watch = SyncStatus::listening("daskclusters", &[Instant::now()]);
    context.liveness.watch(watch.clone());
    let engine = test_engine(&context, test_settings(), &CancellationToken::new());
    let plugins = SyncStatus::listening("daskoperatorplugins", &[Instant::now()]);
    plugins.deliver();
    let mut controller = FinalizerController::new(engine, context.caches, plugins);
    hold(&controller, ("ns", "demo", 1), std::iter::empty());
    let gone = "plugin.kubernetes.dask.org/gone";
    watch.note(&mk_unreadable("DaskCluster", "demo", gone, Timestamp::now()));
    look(&mut controller, Instant::now()).await;
    assert_eq!(writes.take(), ["PATCH /apis/kubernetes.dask.org/v1/namespaces/ns/daskclusters/demo"]);
}

#[tokio::test]
async fn a_namespace_full_of_finalizers_delays_no_other() {
    let (mut controller, _writes) = controller().await;
    for number in 0..1_000 {
        hold(&controller, ("flood", &format!("pill-{number}"), 1), made_up(1));
    }
    hold(&controller, ("calm", "demo", 1), made_up(1));
    controller.enqueue_all(Instant::now());
    let mut started: BTreeMap<String, usize> = BTreeMap::new();
    let mut running = Running::new();
    running.extend(std::iter::from_fn(|| controller.start()));
    while let Some(done) = running.next().await {
        *started.entry(done.key.namespace).or_default() += 1;
    }
    assert_eq!(started.get("calm"), Some(&1));
    assert!(started["flood"] < PARALLEL, "{started:?}");
}

#[tokio::test]
async fn a_failed_removal_does_not_stop_others() {
    let refuse = |_: &axum::http::Method, path: &str| {
        if path.ends_with("/bad") {
            operator_runtime::testing::namespace_ends(&axum::http::Method::PATCH, path)
        } else {
            made(&axum::http::Method::PATCH, path)
        }
    };
    let (context, writes) = mk_dependencies(refuse).await;
    let engine = test_engine(&context, test_settings(), &CancellationToken::new());
    let plugins = SyncStatus::listening("daskoperatorplugins", &[Instant::now()]);
    plugins.deliver();
    let mut controller = FinalizerController::new(engine, context.caches, plugins);
    let now = Instant::now();
    hold(&controller, ("ns", "bad", 1), made_up(3));
    hold(&controller, ("ns", "good", 1), made_up(3));
    look(&mut controller, now).await;
    assert_eq!(writes.take().len(), 2);
    look(&mut controller, now).await;
    assert_eq!(writes.take().len(), 0);
    look(&mut controller, now + Duration::from_secs(2)).await;
    let again = writes.take();
    assert!(matches!(again.as_slice(), [path] if path.ends_with("/bad")), "{again:?}");
}
