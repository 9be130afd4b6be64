//! ServiceAccount tokens of the controller.

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::de::IgnoredAny;

use super::Refused;
use super::keys::{KeySource, Keys};

/// The ServiceAccount of the controller, as the chart creates it by default.
const CONTROLLER: &str = "system:serviceaccount:dask-operator:dask-operator";
/// The algorithms that an API server may sign with. Algorithms with a shared secret are not among them.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::EdDSA,
];

/// Verifies the ServiceAccount token of the controller (`auth.serviceAccountToken`) with the public keys of the cluster.
///
/// It makes no call to the API server except for the keys. A token must be valid now, for this plugin (`aud`) and from
/// the controller (`sub`). The audience is the URL of the endpoint without a slash at its end, such as
/// `https://ingress.dask-operator.svc:443`. So a plugin cannot use the token that it receives anywhere else.
///
/// ```
/// use dask_plugin_server::credentials::{Credentials, KeySource, TokenVerifier};
///
/// let keys = KeySource::url("https://kubernetes.default.svc/openid/v1/jwks", None)?;
/// let verifier = TokenVerifier::new(keys, "https://mine.dask-operator.svc:443")
///     .issuer("https://kubernetes.default.svc.cluster.local")
///     .subject("system:serviceaccount:dask:dask-operator");
/// let credentials = Credentials::none().token(verifier);
/// # Ok::<(), dask_plugin_server::credentials::InvalidKeyUrl>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct TokenVerifier {
    keys: Arc<Keys>,
    audience: String,
    issuer: Option<String>,
    subject: String,
}

impl TokenVerifier {
    /// Accepts tokens for `audience` that are signed with a key of `source`, from the ServiceAccount that the chart
    /// creates by default.
    pub fn new(source: KeySource, audience: impl Into<String>) -> Self {
        let (audience, subject) = (audience.into(), CONTROLLER.to_owned());
        Self { keys: Arc::new(Keys::new(source)), audience, issuer: None, subject }
    }

    /// Accepts only tokens of this issuer.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Accepts only tokens of this subject, instead of the default ServiceAccount.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Verifies the value of the `Authorization` header.
    pub(super) async fn verify(&self, authorization: Option<&str>) -> Result<(), Refused> {
        let token = authorization
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| Refused::Unauthorized("the request has no bearer token".to_owned()))?;
        let refused = |why: String| Refused::Unauthorized(format!("the token {why}"));
        let header = decode_header(token).map_err(|_| refused("is not a JSON Web Token".to_owned()))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(refused(format!("is signed with the algorithm {:?}, which is not accepted", header.alg)));
        }
        let key = self.keys.find(header.kid.as_deref()).await.map_err(Refused::Unavailable)?;
        let key = key.ok_or_else(|| refused("is signed with a key that is not a key of the cluster".to_owned()))?;
        let key = DecodingKey::from_jwk(&key).map_err(|_| refused("is signed with an unusable key".to_owned()))?;
        decode::<IgnoredAny>(token, &key, &self.validation(header.alg))
            .map_err(|error| refused(self.describe(error.kind())))?;
        Ok(())
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&[&self.audience]);
        validation.sub = Some(self.subject.clone());
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        validation
    }

    fn describe(&self, kind: &ErrorKind) -> String {
        match kind {
            ErrorKind::ExpiredSignature => "has expired".to_owned(),
            ErrorKind::ImmatureSignature => "is not valid yet".to_owned(),
            ErrorKind::InvalidAudience => format!("is not for the audience {}", self.audience),
            ErrorKind::InvalidSubject => format!("is not from the subject {}", self.subject),
            ErrorKind::InvalidIssuer => "is from a different issuer".to_owned(),
            ErrorKind::MissingRequiredClaim(claim) => format!("has no claim {claim}"),
            _ => "has an invalid signature".to_owned(),
        }
    }
}
