//! TLS configuration of connections to plugins: the trusted authorities and the controller's certificate.

use std::{fmt::Display, io, sync::Arc};

use jiff::Timestamp;
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
};

use crate::pki::certificates::CertificateAndKey;

/// The authorities that may have signed the plugin's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Roots {
    /// PEM certificates.
    Bundle(String),
    /// The public authorities that browsers trust.
    Public,
}

/// The reason why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the authority's certificates cannot be used: {0}")]
    Roots(String),
    #[error("the controller's certificate cannot be used: {0}")]
    TokenSubject(String),
    #[error("TLS cannot be used: {0}")]
    Protocol(#[from] rustls::Error),
}

/// Returns a configuration for TLS 1.2 or later.
pub(crate) fn config(roots: &Roots, identity: Option<&CertificateAndKey>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store(roots)?);
    let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
    let invalid = |error: &dyn Display| Error::TokenSubject(error.to_string());
    let chain = certificates(&identity.certificate).map_err(Error::TokenSubject)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(|error| invalid(&error))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| invalid(&error))
}

/// Returns the configuration for connections without TLS, because the HTTP client requires one for them too. It trusts
/// no certificate.
pub(crate) fn unused() -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn store(roots: &Roots) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::Public => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Roots::Bundle(pem) => {
            for certificate in certificates(pem).map_err(Error::Roots)? {
                store.add(certificate).map_err(|error| Error::Roots(error.to_string()))?;
            }
        }
    }
    Ok(store)
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|error| error.to_string())?;
    if found.is_empty() { Err("there is no PEM certificate".to_owned()) } else { Ok(found) }
}

/// Returns the problem with the plugin's certificate, if `error` was caused by one. The messages of rustls contain the
/// time of the attempt, and a status must not change with each attempt.
pub(crate) fn certificate_problem(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let rustls::Error::InvalidCertificate(problem) = tls_error(error)? else { return None };
    Some(match problem {
        CertificateError::Expired => "the plugin's certificate has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the plugin's certificate has expired at {}", time(*not_after))
        }
        CertificateError::NotValidYet => "the plugin's certificate is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the plugin's certificate is not valid before {}", time(*not_before))
        }
        CertificateError::UnknownIssuer => {
            "the plugin's certificate was issued by an authority that is not trusted".to_owned()
        }
        other => format!("the plugin's certificate is rejected: {other}"),
    })
}

/// Returns the TLS error inside `error`. An I/O error does not return the wrapped error as its source, and several may
/// be nested.
fn tls_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    tls_error(error.downcast_ref::<io::Error>()?.get_ref()?)
}

fn time(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pki::certificates::{make_ca, make_client};

    const LIFE: Duration = Duration::from_hours(1);

    fn unix(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn each_problem_of_a_certificate_has_its_own_message() {
        let ca = make_ca(Timestamp::now(), LIFE).unwrap();
        let client = make_client(&ca, Timestamp::now(), LIFE).unwrap();
        let bundle = Roots::Bundle(ca.certificate.clone());
        assert!(config(&bundle, Some(&client)).is_ok());
        assert!(config(&Roots::Public, None).is_ok());
        for pem in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &ca.key] {
            let error = config(&Roots::Bundle(pem.to_owned()), None).unwrap_err();
            assert!(matches!(error, Error::Roots(_)), "{pem:?}: {error}");
        }
        let other = make_client(&ca, Timestamp::now(), LIFE).unwrap();
        let no_key = CertificateAndKey { key: String::new(), ..client.clone() };
        let no_certificate = CertificateAndKey { certificate: String::new(), ..client.clone() };
        let mixed = CertificateAndKey { key: other.key, ..client };
        for identity in [no_key, no_certificate, mixed] {
            assert!(matches!(config(&bundle, Some(&identity)), Err(Error::TokenSubject(_))));
        }
    }

    #[test]
    fn what_is_wrong_with_a_certificate_reads_the_same_at_each_attempt() {
        let expired = |time| CertificateError::ExpiredContext { time: unix(time), not_after: unix(1_000_000) };
        let message_of = |problem: CertificateError| {
            let error = io::Error::other(rustls::Error::InvalidCertificate(problem));
            certificate_problem(&io::Error::other(error)).unwrap()
        };
        assert_eq!(message_of(expired(2_000_000)), "the plugin's certificate has expired at 1970-01-12T13:46:40Z");
        assert_eq!(message_of(expired(2_000_000)), message_of(expired(2_000_001)));
        let unknown = "the plugin's certificate was issued by an authority that is not trusted";
        assert_eq!(message_of(CertificateError::UnknownIssuer), unknown);
        assert_eq!(certificate_problem(&io::Error::other("connection refused")), None);
        assert_eq!(certificate_problem(&rustls::Error::DecryptError), None);
    }
}
