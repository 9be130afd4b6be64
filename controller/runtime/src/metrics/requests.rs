//! Metrics of requests to the API server. A layer around the client's connections counts them. Bodies are passed on
//! untouched: a watch is one request, which ends when its response begins.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::ConstCounter, histogram::Histogram},
};
use tower::{Layer, Service};

use super::{
    family::{Described, Family, Word},
    verb::RequestInfo,
};

const REQUESTS: Family<3> = Family::counter(
    "dask_operator_api_requests",
    ["verb", "resource", "code"],
    "Requests to the API server by verb as RBAC has it, resource (`other` for those that only plugins use) and the \
     answer's code: `error` if none arrived, `cancelled` if none was awaited.",
);
const DURATION: Family<1> = Family::histogram(
    "dask_operator_api_request_duration_seconds",
    ["verb"],
    "How long it took until the API server's answer began.",
);

/// The upper bounds of the buckets, in seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 40.0];

/// The metrics of all requests so far.
#[derive(Debug, Default)]
pub struct Requests(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    ends: BTreeMap<(RequestInfo, End), u64>,
    /// The durations, by verb.
    durations: BTreeMap<Word, Histogram>,
}

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Answered(StatusCode),
    Failed,
    Cancelled,
}

impl End {
    fn code(&self) -> &str {
        match self {
            Self::Answered(code) => code.as_str(),
            Self::Failed => "error",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A layer that counts the requests of a service.
#[derive(Clone, Debug)]
pub struct CountRequests(pub Arc<Requests>);

/// A service whose requests are counted.
#[derive(Clone, Debug)]
pub struct Counted<Inner> {
    inner: Inner,
    requests: Arc<Requests>,
}

impl<Inner> Layer<Inner> for CountRequests {
    type Service = Counted<Inner>;

    fn layer(&self, inner: Inner) -> Counted<Inner> {
        Counted { inner, requests: Arc::clone(&self.0) }
    }
}

impl<Inner, Sent, Received> Service<Request<Sent>> for Counted<Inner>
where
    Inner: Service<Request<Sent>, Response = Response<Received>>,
    Inner::Future: Send + 'static,
{
    type Response = Inner::Response;
    type Error = Inner::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Sent>) -> Self::Future {
        let request_info = RequestInfo::of(request.method(), request.uri());
        let call =
            Call { requests: Arc::clone(&self.requests), request_info, begin: Instant::now(), end: End::Cancelled };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            call.ended(answer.as_ref().map_or(End::Failed, |answer| End::Answered(answer.status())));
            answer
        })
    }
}

/// A request in progress. It is counted when this is dropped.
struct Call {
    requests: Arc<Requests>,
    request_info: RequestInfo,
    begin: Instant,
    end: End,
}

impl Call {
    fn ended(mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut counts = self.requests.lock();
        *counts.ends.entry((self.request_info, self.end)).or_default() += 1;
        let histogram = counts.durations.entry(self.request_info.verb).or_insert_with(|| Histogram::new(BUCKETS));
        histogram.observe(self.begin.elapsed().as_secs_f64());
    }
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.lock();
        let ends = counts.ends.iter();
        let ends = ends.map(|((request_info, end), count)| {
            ([request_info.verb, request_info.resource, end.code()], ConstCounter::new(*count))
        });
        REQUESTS.encode(&mut encoder, ends)?;
        DURATION.encode(&mut encoder, counts.durations.iter().map(|(verb, times)| ([*verb], times.clone())))
    }
}

pub(super) fn described() -> Vec<Described> {
    vec![REQUESTS.described(), DURATION.described()]
}

#[cfg(test)]
mod tests {
    use futures::future::{pending, ready};
    use tower::{ServiceBuilder, ServiceExt as _, service_fn};

    use super::*;
    use crate::metrics::{RuntimeMetrics, tests::samples};

    const NAMES: [&str; 2] = ["dask_operator_api_requests_total", "dask_operator_api_request_duration_seconds_count"];

    fn get(path: &str) -> Request<()> {
        Request::get(path).body(()).unwrap()
    }

    #[tokio::test]
    async fn requests_are_counted_by_code_and_answers_pass_as_they_are() {
        let metrics = RuntimeMetrics::default();
        let answer = |request: Request<()>| {
            ready(if request.uri().path().ends_with("/lost") {
                Err("the connection ended")
            } else {
                Ok(Response::builder().status(429).body("slower, please").unwrap())
            })
        };
        let mut client = ServiceBuilder::new().layer(metrics.requests()).service(service_fn(answer));
        let refused = client.ready().await.unwrap().call(get("/api/v1/namespaces/ns/pods/a")).await.unwrap();
        assert_eq!((refused.status().as_u16(), *refused.body()), (429, "slower, please"));
        let lost = client.ready().await.unwrap().call(get("/api/v1/namespaces/ns/pods/lost")).await.unwrap_err();
        assert_eq!(lost, "the connection ended");
        let expected = [
            r#"dask_operator_api_requests_total{verb="get",resource="pods",code="429"} 1"#,
            r#"dask_operator_api_requests_total{verb="get",resource="pods",code="error"} 1"#,
            r#"dask_operator_api_request_duration_seconds_count{verb="get"} 2"#,
        ];
        assert_eq!(samples(&metrics, &NAMES), expected);
    }

    #[tokio::test]
    async fn a_request_that_nobody_waits_for_any_more_is_counted_too() {
        let metrics = RuntimeMetrics::default();
        let silent = service_fn(|_: Request<()>| pending::<Result<Response<()>, &str>>());
        let mut client = ServiceBuilder::new().layer(metrics.requests()).service(silent);
        drop(client.ready().await.unwrap().call(get("/api/v1/pods?watch=true")));
        let expected = r#"dask_operator_api_requests_total{verb="watch",resource="pods",code="cancelled"} 1"#;
        assert_eq!(samples(&metrics, &NAMES[..1]), [expected]);
    }
}
