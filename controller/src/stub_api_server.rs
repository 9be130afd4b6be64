//! The reconcilers' context with a stub API server, for tests of whole passes.

use std::sync::Arc;

use axum::{http::Method, response::Response};
use kube::runtime::events::Reporter;
use operator_runtime::events::{Recorder, Wanted};
pub(crate) use operator_runtime::testing::{Writes, made, namespace_ends};

use crate::{
    context::{Caches, Context},
    test_fixtures::mk_defaults,
};

/// Returns the reconcilers' context with empty caches and an API server that responds with `answer`.
pub(crate) async fn mk_context(
    answer: impl Fn(&Method, &str) -> Response + Clone + Send + Sync + 'static,
) -> (Context, Writes) {
    let (client, writes) = operator_runtime::testing::stub_api_server(answer).await;
    let reporter = Reporter { controller: "test".to_owned(), instance: None };
    let context = Context {
        recorder: Recorder::new(client.clone(), reporter, Wanted::Everything),
        client,
        caches: Caches::new(),
        expectations: operator_runtime::watch::Expectations::default(),
        defaults: mk_defaults("cluster.local"),
        connected_workers: crate::worker_group::ConnectedWorkersCache::default(),
        removal_backoff: crate::worker_group::RemovalBackoff::default(),
        scheduler_limiter: operator_runtime::fair_share::FairShare::new(1),
        losses: crate::worker_group::Losses::default(),
        autoscaling: crate::autoscaler::ScalingHistory::default(),
        idle: crate::idle::IdleTracker::default(),
        status_store: Arc::new(dask_plugin_engine::StatusStore::new(&dask_plugin_engine::test_settings()).0),
        releases: operator_runtime::releases::Releases::unknown(),
        leadership: operator_runtime::leader::Election::new(None).1,
        metrics: Arc::default(),
        pace: operator_runtime::watch::WatchTiming::default(),
        liveness: operator_runtime::liveness::Liveness::default(),
    };
    (context, writes)
}
