//! The HTTP client of the hook.

use std::time::{Duration, SystemTime};

use dask_plugin_server::protocol::limits::MAX_RESPONSE_BYTES;
use dask_plugin_server::{PluginError, time_left};
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;

use crate::authorization::Authorization;
use crate::call_error::CallError;
use crate::config::{Config, ResponseMode};
use crate::connection::Connections;
use crate::hook_response::HookResponse;

/// The time that the plugin needs to report that the hook was too slow.
const MARGIN: Duration = Duration::from_millis(100);
/// The timeout of calls outside of a request of the controller: the maximum of `timeoutSeconds`.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The number of bytes of an error's body that are read. Messages show the beginning of it.
const MAX_ERROR_BYTES: usize = 4096;

/// A hook that is called over HTTP or HTTPS.
#[derive(Debug)]
pub(crate) struct WebHook {
    url: Url,
    connections: Connections,
    authorization: Authorization,
    mode: ResponseMode,
}

impl WebHook {
    /// Creates the hook at `url`.
    pub(crate) fn new(url: Url, config: &Config) -> Self {
        let connections = Connections::new(&url, config.tls.clone());
        Self { url, connections, authorization: config.authorization.clone(), mode: config.mode }
    }

    /// Calls the hook, and waits as long as the controller waits for the plugin.
    pub(crate) async fn call(&self, request: &Value) -> Result<HookResponse, PluginError> {
        let timeout = time_left().unwrap_or(LONGEST_TIMEOUT).saturating_sub(MARGIN);
        let exchange = tokio::time::timeout(timeout, self.exchange(request)).await;
        HookResponse::read(&exchange.unwrap_or(Err(CallError::TimedOut))?, self.mode)
    }

    async fn exchange(&self, request: &Value) -> Result<Vec<u8>, CallError> {
        let client = self.connections.client().await?;
        // A compressed body could be larger than the limit.
        let call = client.post(self.url.clone()).header(ACCEPT_ENCODING, "identity").json(request);
        let response = self.authorization.add_to(call).await?.send().await?;
        // Metacontroller accepts no other status.
        if response.status() == StatusCode::OK { body_of(response).await } else { Err(rejection(response).await) }
    }
}

async fn body_of(mut response: Response) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
            return Err(CallError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

async fn rejection(mut response: Response) -> CallError {
    let status = response.status();
    let retry_after = retry_after(response.headers(), SystemTime::now());
    let location = response.headers().get(LOCATION).filter(|_| status.is_redirection());
    if let Some(location) = location {
        return CallError::Redirect { status, location: String::from_utf8_lossy(location.as_bytes()).into_owned() };
    }
    let mut body = Vec::new();
    while body.len() < MAX_ERROR_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    CallError::Status { status, body: String::from_utf8_lossy(&body).into_owned(), retry_after }
}

/// Returns the seconds in `Retry-After`, which may be a date. Returns 0 if there are none.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> u32 {
    let seconds = |text: &str| {
        let date = || httpdate::parse_http_date(text).ok()?.duration_since(now).ok().map(|left| left.as_secs());
        text.parse().ok().or_else(date)
    };
    let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    header.and_then(|text| seconds(text.trim())).map_or(0, |seconds| u32::try_from(seconds).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let now = SystemTime::UNIX_EPOCH;
        let seconds = |text| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]), now);
        assert_eq!((seconds("7"), seconds("Thu, 01 Jan 1970 00:02:00 GMT")), (7, 120));
        assert_eq!((seconds("soon"), seconds("-5"), seconds("99999999999")), (0, 0, u32::MAX));
        assert_eq!(retry_after(&HeaderMap::new(), now), 0);
    }
}
