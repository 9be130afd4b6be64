//! What reconcilers share, for tests of whole passes.

use std::sync::Arc;

use axum::{http::Method, response::Response};
use kube::runtime::events::Reporter;
use operator_runtime::events::{Recorder, Wanted};
pub(crate) use operator_runtime::testing::{Writes, made, namespace_ends};

use crate::{
    context::{Caches, Context},
    test_fixtures::mk_defaults,
};

/// Returns what reconcilers share, with empty caches and an API server that answers `answer`.
pub(crate) async fn mk_context(
    answer: impl Fn(&Method, &str) -> Response + Clone + Send + Sync + 'static,
) -> (Context, Writes) {
    let (client, writes) = operator_runtime::testing::stub_api_server(answer).await;
    let reporter = Reporter { controller: "test".to_owned(), instance: None };
    let context = Context {
        recorder: Recorder::new(client.clone(), reporter, Wanted::Everything),
        client,
        caches: Caches::new(),
        creations: operator_runtime::watch::Creations::default(),
        defaults: mk_defaults("cluster.local"),
        censuses: crate::worker_group::Censuses::default(),
        pauses: crate::worker_group::Pauses::default(),
        conversations: operator_runtime::fair_share::FairShare::new(1),
        losses: crate::worker_group::Losses::default(),
        autoscaling: crate::autoscaler::Memory::default(),
        idle: crate::idle::Memory::default(),
        board: Arc::new(dask_plugin_engine::Board::new(&dask_plugin_engine::test_settings()).0),
        leadership: operator_runtime::leader::Election::new(None).1,
        metrics: Arc::default(),
        pace: operator_runtime::watch::Pace::default(),
        vitals: operator_runtime::vitals::Vitals::default(),
    };
    (context, writes)
}
