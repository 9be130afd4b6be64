use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::de::IgnoredAny;

use super::Refused;
use super::keys::{KeySource, Keys};

/// The controller's ServiceAccount, as `helm install` makes it.
const CONTROLLER: &str = "system:serviceaccount:dask-operator:dask-operator";
/// What the API server signs with. A shared secret is none of them.
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

/// Verifies the ServiceAccount token that the controller shows (`auth.serviceAccountToken`), with the public keys of
/// the Kubernetes cluster and without asking it.
///
/// A token must be in force, for this plugin (`aud`) and from the controller (`sub`). The audience is the endpoint's
/// URL, such as `https://ingress.dask-operator.svc:443/`, without a slash at its end: a plugin that is shown a
/// token cannot use it anywhere else.
#[derive(Debug, Clone)]
pub struct TokenVerifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keys: Keys,
    audience: String,
    issuer: Option<String>,
    subject: String,
}

impl TokenVerifier {
    /// Accepts tokens for `audience` that are signed with a key of `source`.
    pub fn new(source: KeySource, audience: impl Into<String>) -> Self {
        Self::with(source, audience.into(), None, None)
    }

    /// Also checks who issued the token, if given; the `subject` is that of the chart's defaults unless given.
    pub fn with(source: KeySource, audience: String, issuer: Option<String>, subject: Option<String>) -> Self {
        let subject = subject.unwrap_or_else(|| CONTROLLER.to_owned());
        Self(Arc::new(Inner { keys: Keys::new(source), audience, issuer, subject }))
    }

    /// `authorization` is the header's value.
    pub(super) async fn verify(&self, authorization: Option<&str>) -> Result<(), Refused> {
        let token = authorization
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| Refused::Unauthorized("the call has no bearer token".to_owned()))?;
        let refused = |why: String| Refused::Unauthorized(format!("the call's token {why}"));
        let header = decode_header(token).map_err(|_| refused("is no JSON Web Token".to_owned()))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(refused(format!("is signed by {:?}", header.alg)));
        }
        let key = self.0.keys.find(header.kid.as_deref()).await.map_err(Refused::Unavailable)?;
        let key = key.ok_or_else(|| refused("is signed with a key that is not the cluster's".to_owned()))?;
        let key = DecodingKey::from_jwk(&key).map_err(|_| refused("is signed with a key of no use".to_owned()))?;
        decode::<IgnoredAny>(token, &key, &self.0.validation(header.alg))
            .map_err(|error| refused(self.0.why(error.kind())))?;
        Ok(())
    }
}

impl Inner {
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

    fn why(&self, kind: &ErrorKind) -> String {
        match kind {
            ErrorKind::ExpiredSignature => "has expired".to_owned(),
            ErrorKind::ImmatureSignature => "is not in force yet".to_owned(),
            ErrorKind::InvalidAudience => format!("is not for {}", self.audience),
            ErrorKind::InvalidSubject => format!("is not that of {}", self.subject),
            ErrorKind::InvalidIssuer => "is of another issuer".to_owned(),
            ErrorKind::MissingRequiredClaim(claim) => format!("has no {claim}"),
            _ => "has no good signature".to_owned(),
        }
    }
}
