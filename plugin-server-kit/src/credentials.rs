//! The credentials of callers, and how they are verified.
//!
//! With `tls.mode: Auto` and on a Unix socket, the connection itself proves the identity of the controller, and nothing
//! else is needed. With `tls.mode: Custom`, the controller sends a ServiceAccount token. A plugin at a URL may require
//! signatures, too. All credentials that are configured are required.

#[cfg(feature = "signature")]
mod hmac;
#[cfg(feature = "token")]
mod keys;
#[cfg(feature = "token")]
mod token;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

#[cfg(feature = "signature")]
pub use hmac::SignatureVerifier;
#[cfg(feature = "token")]
pub use keys::{InvalidKeyUrl, KeySource};
#[cfg(feature = "token")]
pub use token::TokenVerifier;

use crate::error::Rejection;

/// The error for credentials that are not accepted.
#[cfg(any(feature = "token", feature = "signature"))]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The credentials are missing or invalid.
    #[error("{0}")]
    Unauthorized(String),
    /// The credentials cannot be verified now.
    #[error("{0}")]
    Unavailable(String),
}

/// The credentials that a plugin requires from callers.
///
/// ```
/// # #[cfg(all(feature = "signature", feature = "token"))] {
/// use dask_plugin_server::credentials::{Credentials, KeySource, SignatureVerifier, TokenVerifier};
///
/// let keys = KeySource::file("/etc/plugin-keys/jwks.json");
/// let credentials = Credentials::none()
///     .token(TokenVerifier::new(keys, "https://mine.dask-operator.svc:443"))
///     .signature(SignatureVerifier::from_file("/etc/plugin-hmac/secret"));
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Credentials {
    #[cfg(feature = "token")]
    token: Option<TokenVerifier>,
    #[cfg(feature = "signature")]
    signature: Option<SignatureVerifier>,
}

impl Credentials {
    /// Requires nothing beyond the credentials of the connection.
    pub fn none() -> Self {
        Self::default()
    }

    /// Requires a ServiceAccount token.
    #[cfg(feature = "token")]
    pub fn token(mut self, verifier: TokenVerifier) -> Self {
        self.token = Some(verifier);
        self
    }

    /// Requires a signature as defined by Standard Webhooks.
    #[cfg(feature = "signature")]
    pub fn signature(mut self, verifier: SignatureVerifier) -> Self {
        self.signature = Some(verifier);
        self
    }

    #[cfg(feature = "token")]
    async fn verify_token(&self, request: Request) -> Result<Request, Rejection> {
        if let Some(verifier) = &self.token {
            let header = request.headers().get(http::header::AUTHORIZATION);
            verifier.verify(header.and_then(|value| value.to_str().ok())).await?;
        }
        Ok(request)
    }

    #[cfg(feature = "signature")]
    async fn verify_signature(&self, request: Request) -> Result<Request, Rejection> {
        use axum::body::{Body, Bytes};
        use axum::extract::FromRequest as _;

        let Some(verifier) = &self.signature else { return Ok(request) };
        let (parts, body) = request.into_parts();
        let whole = Request::from_parts(parts.clone(), body);
        let body = Bytes::from_request(whole, &()).await.map_err(unreadable)?;
        verifier.verify(&parts.headers, &body).await?;
        Ok(Request::from_parts(parts, Body::from(body)))
    }
}

/// Passes a call on if its credentials are valid.
#[cfg_attr(
    not(any(feature = "token", feature = "signature")),
    expect(unused_variables, reason = "there is nothing to verify")
)]
pub(crate) async fn authenticate(
    State(credentials): State<Arc<Credentials>>,
    request: Request,
    next: Next,
) -> Result<Response, Rejection> {
    // The token first: a signature needs the whole body.
    #[cfg(feature = "token")]
    let request = credentials.verify_token(request).await?;
    #[cfg(feature = "signature")]
    let request = credentials.verify_signature(request).await?;
    Ok(next.run(request).await)
}

#[cfg(feature = "signature")]
fn unreadable(rejection: axum::extract::rejection::BytesRejection) -> Rejection {
    use axum::extract::rejection::{BytesRejection, FailedToBufferBody};

    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => Rejection::RequestTooLarge,
        other => Rejection::BrokenBody(other.body_text()),
    }
}

#[cfg(any(feature = "token", feature = "signature"))]
impl From<Refused> for Rejection {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unauthorized(why) => Self::Unauthorized(why),
            Refused::Unavailable(why) => Self::CannotVerify(why),
        }
    }
}

#[cfg(test)]
#[cfg(all(feature = "token", feature = "signature"))]
mod tests;
