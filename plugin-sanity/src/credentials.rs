//! Valid and invalid credentials for the plugin.

use std::{fs, path::PathBuf};

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jiff::Timestamp;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

use crate::{Error, args::Args};

/// A client certificate.
#[derive(Clone, Debug)]
pub(crate) enum Certificate {
    /// A certificate from files.
    Files { certificate: PathBuf, key: PathBuf },
    /// A self-signed certificate.
    Forged,
}

/// The credentials that calls have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) certificate: Option<Certificate>,
    pub(crate) token: Option<String>,
    pub(crate) secret: Option<Vec<u8>>,
    /// The age of signatures in seconds.
    pub(crate) signature_age: i64,
    /// Whether signatures are computed from a different body.
    pub(crate) signs_other_body: bool,
}

impl Credentials {
    /// Reads the credentials in `args`.
    pub(crate) fn read(args: &Args) -> Result<Self, Error> {
        let read = |path: &PathBuf| fs::read(path).map_err(|source| Error::Read { path: path.clone(), source });
        let token = args.token_file.as_ref().map(read).transpose()?;
        let files = args.cert.clone().zip(args.key.clone());
        Ok(Self {
            certificate: files.map(|(certificate, key)| Certificate::Files { certificate, key }),
            token: token.map(|token| String::from_utf8_lossy(&token).trim().to_owned()),
            secret: args.hmac_file.as_ref().map(read).transpose()?,
            ..Self::default()
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.certificate.is_none() && self.token.is_none() && self.secret.is_none()
    }

    /// Returns the headers of a call whose signature has this id.
    pub(crate) fn headers(&self, id: &str, body: &[u8]) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let text = |value: String| HeaderValue::try_from(value).map_err(|error| error.to_string());
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, text(format!("Bearer {token}"))?);
        }
        let Some(secret) = &self.secret else { return Ok(headers) };
        let at = Timestamp::now().as_second() - self.signature_age;
        let body = if self.signs_other_body { b"another body".as_slice() } else { body };
        let signature = webhook(secret)?.sign(id, at, body).map_err(|error| error.to_string())?;
        headers.insert(HEADER_WEBHOOK_ID, text(id.to_owned())?);
        headers.insert(HEADER_WEBHOOK_TIMESTAMP, text(at.to_string())?);
        headers.insert(HEADER_WEBHOOK_SIGNATURE, text(signature)?);
        Ok(headers)
    }
}

/// Reads a secret like the controller: `whsec_` and base64, or base64, or otherwise the key itself.
fn webhook(secret: &[u8]) -> Result<Webhook, String> {
    let text = std::str::from_utf8(secret).unwrap_or_default().trim();
    let decoded = Webhook::new(text).ok().filter(|_| !text.is_empty());
    decoded.map_or_else(|| Webhook::from_bytes(secret.to_vec()).map_err(|error| error.to_string()), Ok)
}
