//! Signs requests according to Standard Webhooks, so that a plugin outside the cluster can verify the caller.

use std::sync::Arc;

use jiff::Timestamp;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

/// The message id of a signed discovery, which has no uid. The body of a discovery is empty, so its signature cannot be
/// reused for another request.
pub(crate) const DISCOVERY_ID: &str = "discovery";

/// The prefix of a base64 secret in Standard Webhooks.
const PREFIX: &str = "whsec_";

/// The reason why requests cannot be signed. No message contains the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("it is empty")]
    Empty,
    #[error("it begins with {PREFIX}, and base64 must follow")]
    NotBase64,
    #[error("the body is not text")]
    Body,
}

/// A secret that a plugin shares with the controller.
#[derive(Clone)]
pub(crate) struct Signer {
    secret: Arc<[u8]>,
    webhook: Arc<Webhook>,
}

impl PartialEq for Signer {
    fn eq(&self, other: &Self) -> bool {
        self.secret == other.secret
    }
}

impl Eq for Signer {}

impl Signer {
    /// Returns a signer for `secret`, which is either `whsec_…` in base64 or the key itself.
    pub(crate) fn new(secret: &[u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(secret).unwrap_or_default().trim();
        let decoded = Webhook::new(text).ok().filter(|_| !text.is_empty());
        let webhook = match decoded {
            _ if secret.trim_ascii().is_empty() || text == PREFIX => return Err(Error::Empty),
            Some(webhook) => webhook,
            None if text.starts_with(PREFIX) => return Err(Error::NotBase64),
            None => Webhook::from_bytes(secret.to_vec()).map_err(|_| Error::Empty)?,
        };
        Ok(Self { secret: secret.into(), webhook: Arc::new(webhook) })
    }

    /// Returns the headers of one attempt to send `body`.
    pub(crate) fn headers(&self, id: &str, now: Timestamp, body: &[u8]) -> Result<[(&'static str, String); 3], Error> {
        let signature = self.webhook.sign(id, now.as_second(), body).map_err(|_| Error::Body)?;
        Ok([
            (HEADER_WEBHOOK_ID, id.to_owned()),
            (HEADER_WEBHOOK_TIMESTAMP, now.as_second().to_string()),
            (HEADER_WEBHOOK_SIGNATURE, signature),
        ])
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    const ENCODED: &str = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn signed(secret: &[u8], now: Timestamp) -> HeaderMap {
        let headers = Signer::new(secret).unwrap().headers("sha256:00", now, b"{}").unwrap();
        headers
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::try_from(value).unwrap()))
            .collect()
    }

    #[test]
    fn receivers_that_hold_the_secret_accept_the_signature() {
        let prefixed = format!("whsec_{ENCODED}");
        let with_newline = format!("{ENCODED}\n");
        let encoded = Webhook::new(ENCODED).unwrap();
        for secret in [ENCODED.as_bytes(), prefixed.as_bytes(), with_newline.as_bytes()] {
            encoded.verify(b"{}", &signed(secret, Timestamp::now())).unwrap();
        }
        for raw in [b"no base64, plain words".as_slice(), &[0xff, 0x00, 0x10]] {
            let verifier = Webhook::from_bytes(raw.to_vec()).unwrap();
            verifier.verify(b"{}", &signed(raw, Timestamp::now())).unwrap();
            assert!(encoded.verify(b"{}", &signed(raw, Timestamp::now())).is_err());
        }
    }

    #[test]
    fn the_signature_of_another_body_is_not_accepted() {
        let headers = signed(ENCODED.as_bytes(), Timestamp::now());
        assert!(Webhook::new(ENCODED).unwrap().verify(b"{ }", &headers).is_err());
    }

    #[test]
    fn an_old_signature_is_not_accepted() {
        let verifier = Webhook::new(ENCODED).unwrap();
        let old = Timestamp::now() - jiff::SignedDuration::from_mins(6);
        assert!(verifier.verify(b"{}", &signed(ENCODED.as_bytes(), old)).is_err());
    }

    /// The example comes from the standard's own libraries.
    #[test]
    fn headers_are_those_of_the_standard() {
        let (id, body) = ("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", br#"{"email":"test@example.com","username":"test_user"}"#);
        let now = Timestamp::from_second(1_649_367_553).unwrap();
        let expected = [
            ("webhook-id", id),
            ("webhook-timestamp", "1649367553"),
            ("webhook-signature", "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="),
        ];
        let headers = Signer::new(ENCODED.as_bytes()).unwrap().headers(id, now, body).unwrap();
        assert_eq!(headers, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn secrets_that_sign_nothing_are_refused() {
        for (secret, error) in
            [("", Error::Empty), (" \n", Error::Empty), ("whsec_", Error::Empty), ("whsec_no base64", Error::NotBase64)]
        {
            assert_eq!(Signer::new(secret.as_bytes()).err(), Some(error), "{secret:?}");
        }
    }
}
