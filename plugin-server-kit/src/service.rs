//! The service of a plugin and its body, without types of the web framework in their interface.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The HTTP service of a plugin, created by [`router`](crate::router()).
///
/// It is a [`tower_service::Service`] for requests of the crate `http`, and never fails. Serve it with
/// [`serve`](crate::serve::serve), or mount it in the web framework of your choice.
///
/// ```
/// use dask_plugin_server::{Body, router};
/// use http::Request;
/// use tower_service::Service as _;
/// # use dask_plugin_server::{Answer, Plugin, PluginError, protocol::{Discovery, PluginRequest}};
/// # struct MyPlugin;
/// # impl Plugin for MyPlugin {
/// #     fn discovery(&self) -> Discovery { Discovery::new("mine", "1.0.0") }
/// #     async fn sync(&self, _: &PluginRequest) -> Result<Answer, PluginError> { Ok(Answer::none()) }
/// # }
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let request = Request::get("/healthz").body(Body::empty()).unwrap();
/// let Ok(response) = router(MyPlugin).call(request).await;
/// assert_eq!(response.status(), 200);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Router(pub(crate) axum::Router);

impl<B> Service<Request<B>> for Router
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The inner service is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async move { Ok(response.await?.map(Body)) })
    }
}

/// The body of a request or of a response.
///
/// ```
/// use dask_plugin_server::Body;
/// use http_body_util::BodyExt as _;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dask_plugin_server::BodyError> {
/// let body = Body::new("hello".to_owned());
/// assert_eq!(body.collect().await?.to_bytes(), "hello");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Body(pub(crate) axum::body::Body);

impl Body {
    /// Wraps another body.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(axum::body::Body::new(body))
    }

    /// Creates a body without content.
    pub fn empty() -> Self {
        Self(axum::body::Body::empty())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.0).poll_frame(context);
        frame.map(|frame| frame.map(|result| result.map_err(BodyError)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.size_hint()
    }
}

/// The error for a body that could not be read.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BodyError(axum::Error);
