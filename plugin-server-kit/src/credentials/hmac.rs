//! Signatures of requests, as defined by Standard Webhooks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderMap;
use standardwebhooks::{Webhook, WebhookError};

use super::Refused;

/// The prefix of a secret in base64, from Standard Webhooks.
const PREFIX: &str = "whsec_";

/// Verifies signatures as defined by Standard Webhooks (`auth.hmac`).
///
/// The secret is `whsec_` and base64, or base64, or otherwise the key itself, as in the controller. It is read at each
/// call, so that a new one in a mounted Secret takes effect immediately. Signatures older than five minutes are refused.
///
/// ```
/// use dask_plugin_server::credentials::{Credentials, SignatureVerifier};
///
/// let credentials = Credentials::none().signature(SignatureVerifier::from_file("/etc/plugin-hmac/secret"));
/// ```
#[derive(Debug, Clone)]
pub struct SignatureVerifier {
    secret: Arc<Path>,
}

impl SignatureVerifier {
    /// Reads the secret from a file, such as a key of a mounted Secret.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self { secret: path.into().into() }
    }

    pub(super) async fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Refused> {
        let unusable = |cause: String| Refused::Unavailable(format!("the secret in {} {cause}", self.secret.display()));
        let secret =
            tokio::fs::read(&self.secret).await.map_err(|error| unusable(format!("is unreadable: {error}")))?;
        let webhook = webhook(&secret).map_err(|cause| unusable(cause.to_owned()))?;
        webhook.verify(body, headers).map_err(|error| Refused::Unauthorized(describe(&error).to_owned()))
    }
}

fn webhook(secret: &[u8]) -> Result<Webhook, &'static str> {
    let text = std::str::from_utf8(secret).unwrap_or_default().trim();
    if secret.trim_ascii().is_empty() || text == PREFIX {
        return Err("is empty");
    }
    match Webhook::new(text).ok().filter(|_| !text.is_empty()) {
        Some(webhook) => Ok(webhook),
        None if text.starts_with(PREFIX) => Err("starts with whsec_, but no base64 follows"),
        None => Webhook::from_bytes(secret.to_vec()).map_err(|_| "is empty"),
    }
}

fn describe(error: &WebhookError) -> &'static str {
    match error {
        WebhookError::MissingHeader(_) => "the request has no signature",
        WebhookError::TimestampTooOldError => "the signature is too old",
        WebhookError::FutureTimestampError => "the signature is from the future",
        _ => "the signature is invalid",
    }
}
