//! Sends requests to the plugin.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use dask_plugin_protocol::{PluginRequest, headers, limits};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Client, Url, redirect};

use crate::{Error, args::Args, credentials::Credentials, tls};

/// The id in the signatures of calls without a review.
const NO_REVIEW: &str = "discovery";

/// A response of the plugin.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) code: StatusCode,
    pub(crate) location: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Returns the status and the start of the body.
    pub(crate) fn describe(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let to = self.location.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
        format!("{}{to} {}", self.code.as_u16(), limits::cut_message(text.trim())).trim_end().to_owned()
    }
}

/// The error for a call without a response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoReply {
    #[error("no response within the timeout")]
    Timeout,
    #[error("a response of more than {} bytes", limits::MAX_RESPONSE_BYTES)]
    TooLarge,
    /// The connection or the handshake failed, or the connection was closed.
    #[error("no response: {0}")]
    Broken(String),
}

/// An endpoint and the credentials for it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    client: Client,
    base: String,
    pub(crate) credentials: Credentials,
    timeout: u32,
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) content_type: Option<&'static str>,
    /// The headers of the event and of the trace.
    pub(crate) event: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Returns the headers of a call with `request`.
pub(crate) fn event_of(request: &PluginRequest) -> HeaderMap {
    let source = format!(
        "/apis/kubernetes.dask.org/v1alpha1/namespaces/{}/daskoperatorplugins/{}",
        request.plugin.namespace, request.plugin.name
    );
    let named = [
        (headers::CE_SPECVERSION, headers::CE_SPECVERSION_VALUE.to_owned()),
        (headers::CE_ID, request.uid.clone()),
        (headers::CE_TYPE, request.event.type_.clone()),
        (headers::CE_SOURCE, source),
        (headers::CE_SUBJECT, format!("{}/{}", request.subject.namespace(), request.subject.name())),
        (headers::CE_TIME, request.event.time.clone()),
        (headers::TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
    ];
    // Requests from files may contain text that is not valid in a header.
    named
        .into_iter()
        .filter_map(|(name, value)| Some((name.parse().ok()?, HeaderValue::try_from(value).ok()?)))
        .collect()
}

impl Target {
    /// Creates the endpoint of `args` with `credentials`.
    pub(crate) fn new(args: &Args, credentials: Credentials) -> Result<Self, Error> {
        let builder = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .timeout(Duration::from_secs(args.timeout.into()))
            .tls_backend_preconfigured(tls::config(args.ca.as_deref(), &credentials)?);
        let (builder, base) = if let Some(path) = args.endpoint.strip_prefix("unix:") {
            (builder.unix_socket(PathBuf::from(path)), "http://plugin".to_owned())
        } else {
            let (url, pinned) = parse(&args.endpoint, args.connect_to)?;
            let builder = match pinned {
                Some((host, address)) => builder.resolve(&host, address),
                None => builder,
            };
            (builder, url)
        };
        let client = builder.build().map_err(|error| Error::Endpoint(error.to_string()))?;
        Ok(Self { client, base, credentials, timeout: args.timeout })
    }

    /// Sends `call`.
    pub(crate) async fn send(&self, call: &Call) -> Result<Reply, NoReply> {
        let url = format!("{}{}?timeout={}s", self.base, call.path, self.timeout);
        let id = call.event.get(headers::CE_ID).and_then(|id| id.to_str().ok()).unwrap_or(NO_REVIEW);
        let credentials = self.credentials.headers(id, &call.body).map_err(NoReply::Broken)?;
        let mut request =
            self.client.request(call.method.clone(), url).headers(call.event.clone()).headers(credentials);
        if let Some(content_type) = call.content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if call.method != Method::GET {
            request = request.body(call.body.clone());
        }
        if call.body.len() > limits::MAX_REQUEST_BYTES {
            // The plugin may close this connection at any time. No later call may use it.
            request = request.header(header::CONNECTION, "close");
        }
        let mut response = request.send().await.map_err(|error| cause(&error))?;
        let code = response.status();
        let location = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| cause(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > limits::MAX_RESPONSE_BYTES {
                return Err(NoReply::TooLarge);
            }
        }
        Ok(Reply { code, location, body })
    }
}

/// The URL without a trailing slash, and the host and its address if `--connect-to` is set.
type Parsed = (String, Option<(String, SocketAddr)>);

fn parse(endpoint: &str, connect_to: Option<IpAddr>) -> Result<Parsed, Error> {
    let wrong = |cause: String| Error::Endpoint(format!("{endpoint} {cause}"));
    let url = Url::parse(endpoint).map_err(|error| wrong(format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("must start with http://, https:// or unix:/".to_owned()));
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(wrong("has no host".to_owned()));
    };
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must not have a query or a fragment".to_owned()));
    }
    let pinned = connect_to.map(|address| (host.to_owned(), SocketAddr::new(address, port)));
    Ok((endpoint.trim_end_matches('/').to_owned(), pinned))
}

/// Returns the innermost cause, which is the most specific one.
fn cause(error: &reqwest::Error) -> NoReply {
    if error.is_timeout() {
        return NoReply::Timeout;
    }
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    NoReply::Broken(cause.to_string())
}
