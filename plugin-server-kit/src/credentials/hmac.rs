use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::HeaderMap;
use standardwebhooks::{Webhook, WebhookError};

use super::Refused;

/// How Standard Webhooks marks a secret in base64.
const PREFIX: &str = "whsec_";

/// Verifies signatures as Standard Webhooks defines them: those of `auth.hmac`.
///
/// The secret is read at each call, so that a new one in a mounted Secret counts at once. It is `whsec_…`, base64,
/// or else the key itself, as for the controller. A signature that is older than five minutes is refused.
#[derive(Debug, Clone)]
pub struct SignatureVerifier {
    secret: Arc<Path>,
}

impl SignatureVerifier {
    /// The secret is the content of a file, such as a key of a mounted Secret.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self { secret: path.into().into() }
    }

    pub(super) async fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Refused> {
        let unusable = |cause: String| Refused::Unavailable(format!("the secret in {} {cause}", self.secret.display()));
        let secret =
            tokio::fs::read(&self.secret).await.map_err(|error| unusable(format!("is unreadable: {error}")))?;
        let webhook = webhook(&secret).map_err(|cause| unusable(cause.to_owned()))?;
        webhook.verify(body, headers).map_err(|error| Refused::Unauthorized(why(&error).to_owned()))
    }
}

fn webhook(secret: &[u8]) -> Result<Webhook, &'static str> {
    let text = std::str::from_utf8(secret).unwrap_or_default().trim();
    if secret.trim_ascii().is_empty() || text == PREFIX {
        return Err("is empty");
    }
    match Webhook::new(text).ok().filter(|_| !text.is_empty()) {
        Some(webhook) => Ok(webhook),
        None if text.starts_with(PREFIX) => Err("begins with whsec_, and base64 must follow"),
        None => Webhook::from_bytes(secret.to_vec()).map_err(|_| "is empty"),
    }
}

fn why(error: &WebhookError) -> &'static str {
    match error {
        WebhookError::MissingHeader(_) => "the call has no signature",
        WebhookError::TimestampTooOldError => "the call's signature is too old",
        WebhookError::FutureTimestampError => "the call's signature is from the future",
        _ => "the call's signature is not good",
    }
}
