//! Who may call: what the controller shows, besides its client certificate, and how it is verified.
//!
//! With `tls.mode: Auto` and on a Unix socket nothing of this is needed: there the connection itself proves who
//! calls. With `tls.mode: Custom` the controller shows a ServiceAccount token, and a plugin at a URL may ask for
//! signatures as well. Each one that is configured is required.

mod hmac;
mod keys;
mod token;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest as _, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;

pub use hmac::SignatureVerifier;
pub use keys::KeySource;
pub use token::TokenVerifier;

use crate::error::Rejection;

/// Why a caller is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The caller shows nothing, or something that is not good.
    #[error("{0}")]
    Unauthorized(String),
    /// What it shows cannot be judged now.
    #[error("{0}")]
    Unavailable(String),
}

/// What a caller must show.
///
/// ```no_run
/// use dask_plugin_server::credentials::{Credentials, SignatureVerifier};
/// let credentials = Credentials::none().signature(SignatureVerifier::from_file("/etc/plugin-hmac/secret"));
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Credentials {
    token: Option<TokenVerifier>,
    signature: Option<SignatureVerifier>,
}

impl Credentials {
    /// Nothing but what the connection proves.
    pub fn none() -> Self {
        Self::default()
    }

    /// A ServiceAccount token.
    pub fn token(mut self, verifier: TokenVerifier) -> Self {
        self.token = Some(verifier);
        self
    }

    /// A signature as Standard Webhooks defines it.
    pub fn signature(mut self, verifier: SignatureVerifier) -> Self {
        self.signature = Some(verifier);
        self
    }
}

/// Lets a call through if it shows what it must.
pub(crate) async fn authenticate(
    State(credentials): State<Credentials>,
    request: Request,
    next: Next,
) -> Result<Response, Rejection> {
    if let Some(verifier) = &credentials.token {
        let header = request.headers().get(AUTHORIZATION);
        verifier.verify(header.and_then(|value| value.to_str().ok())).await.map_err(Rejection::from)?;
    }
    let Some(verifier) = &credentials.signature else { return Ok(next.run(request).await) };
    let (parts, body) = request.into_parts();
    let whole = Request::from_parts(parts.clone(), body);
    let body = Bytes::from_request(whole, &()).await.map_err(unreadable)?;
    verifier.verify(&parts.headers, &body).await.map_err(Rejection::from)?;
    Ok(next.run(Request::from_parts(parts, Body::from(body))).await)
}

fn unreadable(rejection: BytesRejection) -> Rejection {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => Rejection::RequestTooLarge,
        other => Rejection::BrokenBody(other.body_text()),
    }
}

impl From<Refused> for Rejection {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unauthorized(why) => Self::Unauthorized(why),
            Refused::Unavailable(why) => Self::CannotVerify(why),
        }
    }
}

#[cfg(test)]
mod tests;
