//! What many clusters of one user cost another user: next to nothing. Run it with `make live`.

use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use serde_json::json;

use crate::support::{TestContext, alone_with_temp_ns, cluster, controller::EVERYWHERE};

/// Clusters of one user that are made at once, unless the variable `FLOOD` says another number.
const FLOOD: usize = 150;
/// What a flood of another user may add to what the API server needs.
const DELAY: Duration = Duration::from_secs(1);
/// The number of attempts. Their median counts.
const ATTEMPTS: usize = 5;

/// Returns how long the API server takes for what a cluster without workers consists of, beside all else that it does.
async fn floor(context: &TestContext, name: &str) -> Duration {
    let begin = Instant::now();
    let metadata = json!({"name": name});
    let template =
        json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    context
        .create(&json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template},
        }))
        .await;
    let ports = json!([{"port": 8786}]);
    context
        .create(&json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}}))
        .await;
    let worker = json!({"replicas": 0, "spec": {"containers": [{"name": "a"}]}});
    context
        .create(&json!({
            "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup", "metadata": metadata,
            "spec": {"cluster": "none", "worker": worker},
        }))
        .await;
    begin.elapsed()
}

/// Returns how long a cluster takes until its components are there.
async fn single(context: &TestContext, name: &str) -> Duration {
    let begin = Instant::now();
    context.create(&cluster(name, 0)).await;
    for (kind, component) in [("Deployment", "scheduler"), ("Service", "scheduler"), ("DaskWorkerGroup", "default")] {
        context.appears(kind, &format!("{name}-{component}")).await;
    }
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_user_who_makes_many_clusters_at_once_does_not_delay_anothers() {
    alone_with_temp_ns(async |flooding_user| {
        let other_user = TestContext::of(flooding_user.client.clone(), &format!("{}-other", flooding_user.namespace));
        other_user.create_namespace().await;
        let _controller = flooding_user.start_controller_with(&[EVERYWHERE]).await;
        let flood = std::env::var("FLOOD").map_or(FLOOD, |number| number.parse().expect("it is a number"));
        let names: Vec<String> = (0..flood).map(|number| format!("flood-{number}")).collect();
        join_all(names.iter().map(|name| async { flooding_user.create(&cluster(name, 2)).await })).await;
        let mut delays = Vec::new();
        for attempt in 0..ATTEMPTS {
            // At the same time, because how soon the API server serves a request changes from second to second.
            let (single_name, floor_name) = (format!("single-{attempt}"), format!("floor-{attempt}"));
            let (took, least) = join(single(&other_user, &single_name), floor(&other_user, &floor_name)).await;
            let made = flooding_user.count("Service", "dask.org/component=scheduler").await;
            println!(
                "beside a flood of which {made} of {flood} are made: {took:?}, and the API server alone {least:?}"
            );
            delays.push(took.saturating_sub(least));
        }
        delays.sort_unstable();
        let median = delays[ATTEMPTS / 2];
        assert!(median <= DELAY, "the other user's clusters took {delays:?} longer than the API server needs");
        other_user.delete_namespace().await;
    })
    .await;
}
