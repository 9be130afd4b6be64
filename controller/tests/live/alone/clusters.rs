//! Clusters whose controller is killed at any moment, and many clusters at once.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use kube::{api::DynamicObject, runtime::watcher};
use tokio::task::AbortHandle;

use crate::{
    cluster::{SCHEDULERS, WORKERS, workers_of},
    support::{TestContext, alone_with_temp_ns, cluster, condition, eventually, within},
};

/// All Deployments that ever existed in the namespace, by uid, and those that were deleted.
#[derive(Default)]
struct Deployments {
    seen: BTreeSet<String>,
    deleted: BTreeSet<String>,
}

fn record_deployments(context: &TestContext) -> (Arc<Mutex<Deployments>>, AbortHandle) {
    let deployments = Arc::new(Mutex::new(Deployments::default()));
    let (kept, api) = (Arc::clone(&deployments), context.api("Deployment"));
    let watch = tokio::spawn(async move {
        let mut events = watcher(api, watcher::Config::default()).boxed();
        while let Some(event) = events.next().await {
            let uid = |object: &DynamicObject| object.metadata.uid.clone().unwrap();
            let mut deployments = kept.lock().unwrap();
            match event.unwrap() {
                watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                    deployments.seen.insert(uid(&object))
                }
                watcher::Event::Delete(object) => deployments.deleted.insert(uid(&object)),
                _ => false,
            };
        }
    });
    (deployments, watch.abort_handle())
}

/// How far the creation of a cluster is when the controller is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    AtOnce,
    AnyPhase,
    Phase(&'static str),
    Exists(&'static str, &'static str),
    Workers(usize),
}

const MOMENTS: [Moment; 10] = [
    Moment::AtOnce,
    Moment::AnyPhase,
    Moment::Exists("Deployment", "scheduler"),
    Moment::Exists("Service", "scheduler"),
    Moment::Exists("DaskWorkerGroup", "default"),
    Moment::Workers(1),
    Moment::Workers(2),
    Moment::Workers(4),
    Moment::Workers(5),
    Moment::Phase("Running"),
];

impl Moment {
    async fn reached(self, context: &TestContext, cluster: &str) -> bool {
        match self {
            Self::AtOnce => true,
            Self::AnyPhase => context.expect("DaskCluster", cluster).await["status"]["phase"].is_string(),
            Self::Phase(phase) => context.expect("DaskCluster", cluster).await["status"]["phase"] == phase,
            Self::Exists(kind, suffix) => context.get(kind, &format!("{cluster}-{suffix}")).await.is_some(),
            Self::Workers(count) => context.count("Deployment", &workers_of(cluster)).await >= count,
        }
    }
}

/// A cluster with a worker too many costs money, one with a worker too few hangs its user's job.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_controller_that_is_killed_at_any_moment_makes_nothing_twice_and_forgets_nothing() {
    alone_with_temp_ns(|context| async move {
        let (deployments, watch) = record_deployments(&context);
        for (round, moment) in MOMENTS.into_iter().enumerate() {
            let controller = context.spawn_controller();
            let name = format!("c{round}");
            context.create(&cluster(&name, 5)).await;
            eventually(&format!("{moment:?}"), async || {
                // No longer pause: the moments are short.
                let reached = moment.reached(&context, &name).await;
                if reached { Ok(()) } else { Err("it did not come".to_owned()) }
            })
            .await;
            controller.kill().await;
        }
        let _controller = context.start_controller().await;
        for round in 0..MOMENTS.len() {
            context.settled(&format!("c{round}"), 5).await;
        }
        assert_eq!(context.count("Deployment", "").await, 60);
        assert_eq!(context.count("Service", "").await, 10);
        assert_eq!(context.count("DaskWorkerGroup", "").await, 10);
        let deployments = deployments.lock().unwrap();
        assert_eq!(
            (deployments.seen.len(), deployments.deleted.len()),
            (60, 0),
            "Deployments that ever existed, and deleted ones"
        );
        watch.abort();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_burst_of_a_hundred_clusters_ends_with_exactly_what_was_asked_for() {
    alone_with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        let names: Vec<String> = (0..100).map(|number| format!("c{number}")).collect();
        let create = |name: &String| {
            let (context, manifest) = (context.clone(), cluster(name, 5));
            async move { context.create(&manifest).await }
        };
        stream::iter(&names).map(create).buffer_unordered(16).collect::<Vec<_>>().await;
        within(Duration::from_mins(3), "100 clusters", async || {
            let clusters = context.list("DaskCluster", "").await;
            let running = clusters.iter().filter(|cluster| cluster["status"]["phase"] == "Running").count();
            let groups = context.list("DaskWorkerGroup", "").await;
            let scaled = groups.iter().filter(|group| condition(group, "Scaled").0 == "True").count();
            let counts = (running, scaled, context.count("Deployment", "").await);
            if counts == (100, 100, 600) { Ok(()) } else { Err(format!("running, scaled, Deployments: {counts:?}")) }
        })
        .await;
        // A controller that starts over finds nothing to add.
        controller.kill().await;
        let _controller = context.start_controller().await;
        context.create(&cluster("barrier", 0)).await;
        context.running("barrier").await;
        assert_eq!(context.count("Deployment", WORKERS).await, 500);
        assert_eq!(context.count("Deployment", SCHEDULERS).await, 101);
    })
    .await;
}
