//! The engine's dependencies with a stub API server, for tests of whole passes.

use std::sync::Arc;

use axum::{http::Method, response::Response};
use dask_operator_api::conditions::PROGRESS;
use kube::{Config, runtime::events::Reporter};
use operator_runtime::{
    events::{Recorder, Wanted},
    k8s::OldDefinitions,
    leader::Election,
    liveness::Liveness,
    metrics::RuntimeMetrics,
    releases::Releases,
    report::StatusReporter,
    testing::{Writes, stub_api_server},
    watch::{Cache, MemoryBudget, WatchTiming},
};

use super::{
    engine::Dependencies, metrics::PluginMetrics, model::owner_caches::OwnerCaches, status::store::test_status_store,
};

/// Returns dependencies with empty caches and an API server that responds with `answer`.
pub(crate) async fn mk_dependencies(
    answer: impl Fn(&Method, &str) -> Response + Clone + Send + Sync + 'static,
) -> (Dependencies, Writes) {
    let (client, writes) = stub_api_server(answer).await;
    let reporter = Reporter { controller: "test".to_owned(), instance: None };
    let recorder = Recorder::new(client.clone(), reporter, Wanted::Everything);
    let metrics = RuntimeMetrics::default();
    let dependencies = Dependencies {
        reporter: StatusReporter::new(client.clone(), recorder, OldDefinitions::default(), PROGRESS),
        client,
        config: Config::new("http://127.0.0.1:1".parse().unwrap()),
        caches: OwnerCaches {
            clusters: Cache::new(|_| None),
            groups: Cache::new(|_| None),
            jobs: Cache::new(|_| None),
            autoscalers: Cache::new(|_| None),
        },
        watches: Vec::new(),
        watch_timing: WatchTiming::default(),
        status_store: Arc::new(test_status_store()),
        metrics: PluginMetrics::default(),
        count_requests: metrics.requests(),
        passes: metrics.passes("DaskOperatorPlugin"),
        releases: Releases::unknown(),
        leadership: Election::alone().leadership(),
        liveness: Liveness::default(),
        memory_budget: MemoryBudget::unlimited(),
        cluster_domain: "cluster.local".to_owned(),
    };
    (dependencies, writes)
}
