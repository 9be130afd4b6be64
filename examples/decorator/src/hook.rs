//! Calls the hook.

use std::time::Duration;

use dask_plugin_server::PluginError;
use dask_plugin_server::protocol::limits::MAX_RESPONSE_BYTES;
use reqwest::{Client, Response, StatusCode, Url, redirect};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use crate::verdict::Verdict;

/// A little less than the plugin resource's default `timeoutSeconds` leaves, so that the user reads what was late.
const TIMEOUT: Duration = Duration::from_secs(9);

/// A hook that is reached by HTTP.
pub(crate) struct WebHook {
    client: Client,
    url: Url,
}

impl WebHook {
    /// The hook at this address; or what is wrong with it.
    pub(crate) fn new(url: &str) -> Result<Self, String> {
        Self::with_timeout(url, TIMEOUT)
    }

    pub(crate) fn with_timeout(url: &str, timeout: Duration) -> Result<Self, String> {
        let parsed = Url::parse(url).ok().filter(|parsed| parsed.scheme() == "http");
        let parsed = parsed.ok_or_else(|| format!("is {url:?}; give it an address such as {}", crate::DEFAULT_URL))?;
        let client = Client::builder()
            // A hook cannot send the plugin elsewhere, and neither can the pod's environment.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(timeout)
            .tls_backend_preconfigured(no_tls()?)
            .build()
            .map_err(|error| format!("cannot be used: {error}"))?;
        Ok(Self { client, url: parsed })
    }

    /// What the hook says.
    ///
    /// Trouble that may pass is "not yet"; an answer that will be the same next time is "no".
    pub(crate) async fn call(&self, question: &Value) -> Result<Verdict, PluginError> {
        let answer = self.client.post(self.url.clone()).json(question).send().await.map_err(unreachable_hook)?;
        let status = answer.status();
        if status != StatusCode::OK {
            let message = format!("the hook answered with {status}; its log says why");
            let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            return Err(if passing {
                PluginError::pending(message)
            } else {
                PluginError::failure("HookFailed", message)
            });
        }
        Verdict::read(&body_of(answer).await?)
    }
}

/// reqwest is built with TLS for others, and wants to be told that nothing is trusted.
fn no_tls() -> Result<ClientConfig, String> {
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

async fn body_of(mut answer: Response) -> Result<Vec<u8>, PluginError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unreachable_hook)? {
        if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
            let message = format!("the hook's answer is larger than {MAX_RESPONSE_BYTES} bytes; make it smaller");
            return Err(PluginError::failure("AnswerTooLarge", message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// In the same words each time: what the operating system says holds addresses.
#[expect(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn unreachable_hook(error: reqwest::Error) -> PluginError {
    PluginError::pending(if error.is_timeout() {
        "the hook did not answer in time; its log may say why"
    } else if error.is_connect() {
        "the hook cannot be reached; see whether it runs, and where HOOK_URL leads"
    } else {
        "the hook broke off its answer; its log may say why"
    })
}
