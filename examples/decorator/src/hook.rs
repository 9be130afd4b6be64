//! The HTTP client of the hook.

use std::time::Duration;

use dask_plugin_server::PluginError;
use dask_plugin_server::protocol::limits::MAX_RESPONSE_BYTES;
use reqwest::{Client, Response, StatusCode, Url, redirect};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use crate::hook_response::HookResponse;

/// Slightly less than the default `timeoutSeconds` of the plugin resource, so that the plugin can report the timeout.
const TIMEOUT: Duration = Duration::from_secs(9);

/// A hook that is called over HTTP.
pub(crate) struct WebHook {
    client: Client,
    url: Url,
}

impl WebHook {
    /// Creates the hook at this URL. The error says what is wrong with it.
    pub(crate) fn new(url: &str) -> Result<Self, String> {
        Self::with_timeout(url, TIMEOUT)
    }

    pub(crate) fn with_timeout(url: &str, timeout: Duration) -> Result<Self, String> {
        let parsed = Url::parse(url).ok().filter(|parsed| parsed.scheme() == "http");
        let parsed = parsed.ok_or_else(|| format!("is {url:?}; set a URL such as {}", crate::DEFAULT_URL))?;
        let client = Client::builder()
            // Neither the hook nor the environment of the pod may redirect the plugin to another server.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(timeout)
            .tls_backend_preconfigured(no_tls()?)
            .build()
            .map_err(|error| format!("is not usable: {error}"))?;
        Ok(Self { client, url: parsed })
    }

    /// Calls the hook.
    ///
    /// A temporary error is pending. An error that a retry would repeat is a failure.
    pub(crate) async fn call(&self, request: &Value) -> Result<HookResponse, PluginError> {
        let response = self.client.post(self.url.clone()).json(request).send().await.map_err(unreachable_hook)?;
        let status = response.status();
        if status != StatusCode::OK {
            let message = format!("the hook returned {status}; see its log");
            let is_temporary = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            return Err(if is_temporary {
                PluginError::pending(message)
            } else {
                PluginError::failure("HookFailed", message)
            });
        }
        HookResponse::read(&body_of(response).await?)
    }
}

/// Returns a TLS configuration without trusted certificates. reqwest needs one, because other crates enable its TLS.
fn no_tls() -> Result<ClientConfig, String> {
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

async fn body_of(mut response: Response) -> Result<Vec<u8>, PluginError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable_hook)? {
        if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
            let message =
                format!("the response of the hook is larger than {MAX_RESPONSE_BYTES} bytes; make it smaller");
            return Err(PluginError::failure("AnswerTooLarge", message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Returns a message that is always the same. The error of the operating system contains addresses.
#[expect(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn unreachable_hook(error: reqwest::Error) -> PluginError {
    PluginError::pending(if error.is_timeout() {
        "the hook did not respond in time; see its log"
    } else if error.is_connect() {
        "the hook cannot be reached; check that it runs, and check HOOK_URL"
    } else {
        "the hook closed the connection during its response; see its log"
    })
}
