//! The parts of a process with a stub API server, for tests of whole passes.

use std::sync::Arc;

use axum::{http::Method, response::Response};
use kube::runtime::events::Reporter;
use operator_runtime::events::{Recorder, Wanted};
pub(crate) use operator_runtime::testing::{Writes, made, namespace_ends};

use crate::{caches::Caches, shared::Shared, test_fixtures::mk_defaults};

/// Returns the parts of a process with empty caches and an API server that responds with `answer`.
pub(crate) async fn mk_shared(
    answer: impl Fn(&Method, &str) -> Response + Clone + Send + Sync + 'static,
) -> (Shared, Writes) {
    let (client, writes) = operator_runtime::testing::stub_api_server(answer).await;
    let reporter = Reporter { controller: "test".to_owned(), instance: None };
    let shared = Shared {
        recorder: Recorder::new(client.clone(), reporter, Wanted::Everything),
        client,
        caches: Caches::new(),
        expectations: operator_runtime::watch::Expectations::default(),
        defaults: mk_defaults("cluster.local"),
        old_definitions: operator_runtime::k8s::OldDefinitions::default(),
        status_store: Arc::new(dask_plugin_engine::test_status_store()),
        releases: operator_runtime::releases::Releases::unknown(),
        leadership: operator_runtime::leader::Election::alone().leadership(),
        metrics: Arc::default(),
        watch_timing: operator_runtime::watch::WatchTiming::default(),
        liveness: operator_runtime::liveness::Liveness::default(),
        memory_budget: operator_runtime::watch::MemoryBudget::unlimited(),
    };
    (shared, writes)
}
