//! An API server for tests of whole passes: it answers what the test says, and notes what it was asked to write.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use kube::{Client, Config, runtime::events::Reporter};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    context::{Caches, Context},
    events::{Recorder, Wanted},
    test_fixtures::{mk_defaults, namespace_terminating},
};

/// Methods and paths of the requests that write, in order.
#[derive(Clone, Default)]
pub(crate) struct Writes(Arc<Mutex<Vec<String>>>);

impl Writes {
    /// Those since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// What reconcilers share, with empty caches and an API server that says `answer`.
pub(crate) async fn mk_context(
    answer: impl Fn(&Method, &str) -> Response + Clone + Send + Sync + 'static,
) -> (Context, Writes) {
    let writes = Writes::default();
    let noted = writes.clone();
    let answer = move |method: Method, uri: Uri| {
        if method != Method::GET {
            noted.0.lock().unwrap().push(format!("{method} {}", uri.path()));
        }
        std::future::ready(answer(&method, uri.path()))
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(axum::serve(listener, Router::new().fallback(answer)).into_future());
    let client = Client::try_from(Config::new(uri)).unwrap();
    let reporter = Reporter { controller: "test".to_owned(), instance: None };
    let context = Context {
        recorder: Recorder::new(client.clone(), reporter, Wanted::Everything),
        client,
        caches: Caches::new(),
        creations: crate::watch::Creations::default(),
        defaults: mk_defaults("cluster.local"),
        censuses: crate::worker_group::Censuses::default(),
        pauses: crate::worker_group::Pauses::default(),
        conversations: crate::fair_share::FairShare::new(1),
        losses: crate::worker_group::Losses::default(),
        autoscaling: crate::autoscaler::Memory::default(),
        idle: crate::idle::Memory::default(),
        board: Arc::new(crate::plugin::Board::new(&crate::plugin::test_settings()).0),
        leadership: crate::leader::Election::new(None).1,
        metrics: Arc::default(),
        pace: crate::watch::Pace::default(),
        vitals: crate::vitals::Vitals::default(),
    };
    (context, writes)
}

/// Whatever is written is made.
pub(crate) fn made(_: &Method, _: &str) -> Response {
    (StatusCode::CREATED, Json(json!({}))).into_response()
}

/// What the API server says to whoever makes something in a namespace that is being deleted.
pub(crate) fn namespace_ends(_: &Method, _: &str) -> Response {
    (StatusCode::FORBIDDEN, Json(namespace_terminating())).into_response()
}
