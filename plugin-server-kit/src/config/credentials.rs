//! The variables for credentials.
//!
//! A variable of a feature that the crate is built without is an error. Ignoring it would let every caller in.

#[cfg(feature = "token")]
use std::path::PathBuf;

use super::ConfigError;
use crate::credentials::Credentials;
#[cfg(feature = "signature")]
use crate::credentials::SignatureVerifier;
#[cfg(feature = "token")]
use crate::credentials::{KeySource, TokenVerifier};

/// Returns the value of a variable, if it is set.
type Lookup<'a> = &'a dyn Fn(&'static str) -> Result<Option<String>, ConfigError>;

/// Reads the credentials that callers need.
pub(super) fn read(text: Lookup<'_>) -> Result<Credentials, ConfigError> {
    let credentials = signature(Credentials::none(), text)?;
    token(credentials, text)
}

/// Adds the verifier of signatures, if there is a secret.
#[cfg(feature = "signature")]
fn signature(credentials: Credentials, text: Lookup<'_>) -> Result<Credentials, ConfigError> {
    Ok(match text("PLUGIN_HMAC_FILE")? {
        Some(file) => credentials.signature(SignatureVerifier::from_file(file)),
        None => credentials,
    })
}

/// Refuses a secret, which would have no effect.
#[cfg(not(feature = "signature"))]
fn signature(credentials: Credentials, text: Lookup<'_>) -> Result<Credentials, ConfigError> {
    match text("PLUGIN_HMAC_FILE")? {
        Some(_) => Err(ConfigError::MissingFeature { variable: "PLUGIN_HMAC_FILE", feature: "signature" }),
        None => Ok(credentials),
    }
}

/// The variables that have no effect without `PLUGIN_TOKEN_AUDIENCE`.
const TOKEN_DETAILS: [&str; 4] =
    ["PLUGIN_TOKEN_JWKS", "PLUGIN_TOKEN_JWKS_CA", "PLUGIN_TOKEN_ISSUER", "PLUGIN_TOKEN_SUBJECT"];

/// Adds the verifier of tokens, if there is an audience.
#[cfg(feature = "token")]
fn token(credentials: Credentials, text: Lookup<'_>) -> Result<Credentials, ConfigError> {
    /// The URL of the API server's public keys within the cluster.
    const JWKS: &str = "https://kubernetes.default.svc/openid/v1/jwks";

    let Some(audience) = text("PLUGIN_TOKEN_AUDIENCE")? else {
        // An incomplete configuration must not let every caller in.
        for variable in TOKEN_DETAILS {
            if text(variable)?.is_some() {
                return Err(ConfigError::NoAudience { variable });
            }
        }
        return Ok(credentials);
    };
    let value = text("PLUGIN_TOKEN_JWKS")?.unwrap_or_else(|| JWKS.to_owned());
    let source = if value.starts_with('/') {
        KeySource::file(value)
    } else {
        let source = KeySource::url(&value, text("PLUGIN_TOKEN_JWKS_CA")?.map(PathBuf::from));
        let expected = "the path of a file or an https URL";
        source.map_err(|_invalid| ConfigError::Invalid { variable: "PLUGIN_TOKEN_JWKS", value, expected })?
    };
    let mut verifier = TokenVerifier::new(source, audience);
    if let Some(issuer) = text("PLUGIN_TOKEN_ISSUER")? {
        verifier = verifier.issuer(issuer);
    }
    if let Some(subject) = text("PLUGIN_TOKEN_SUBJECT")? {
        verifier = verifier.subject(subject);
    }
    Ok(credentials.token(verifier))
}

/// Refuses all variables of tokens, which would have no effect.
#[cfg(not(feature = "token"))]
fn token(credentials: Credentials, text: Lookup<'_>) -> Result<Credentials, ConfigError> {
    for variable in ["PLUGIN_TOKEN_AUDIENCE"].into_iter().chain(TOKEN_DETAILS) {
        if text(variable)?.is_some() {
            return Err(ConfigError::MissingFeature { variable, feature: "token" });
        }
    }
    Ok(credentials)
}
