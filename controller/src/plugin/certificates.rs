//! Makes the certificates by which plugins and the controller know each other (`tls.mode: Auto`).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::OffsetDateTime;
use x509_parser::{parse_x509_certificate, pem::parse_x509_pem};

/// Name in the controller's own certificate. Plugins check it: certificates of other plugins come from the
/// same authority and must not open their doors.
pub(super) const CLIENT_NAME: &str = "dask-operator.plugin.kubernetes.dask.org";

const CA_LIFE: Duration = Duration::from_hours(24 * 3650);
const LEAF_LIFE: Duration = Duration::from_hours(24 * 90);
/// Clocks differ.
const BACKDATED: Duration = Duration::from_mins(5);

/// A certificate and its key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("failed to make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("the certificate's times are out of range")]
    Time,
}

/// A new authority.
pub(super) fn make_ca(now: Timestamp) -> Result<Pair, Error> {
    let mut params = params("dask-operator plugins", now, CA_LIFE)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    Ok(Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

/// A plugin's certificate, for each of `names`.
pub(super) fn make_server(ca: &Pair, names: &[String], now: Timestamp) -> Result<Pair, Error> {
    make_leaf(ca, names, ExtendedKeyUsagePurpose::ServerAuth, now)
}

/// The controller's own certificate.
pub(super) fn make_client(ca: &Pair, now: Timestamp) -> Result<Pair, Error> {
    make_leaf(ca, &[CLIENT_NAME.to_owned()], ExtendedKeyUsagePurpose::ClientAuth, now)
}

/// Whether two thirds of the certificate's life are over, or it cannot be read.
pub(super) fn needs_renewal(certificate_pem: &str, now: Timestamp) -> bool {
    let Some((from, until)) = validity(certificate_pem) else { return true };
    now.as_second() >= from + (until - from) / 3 * 2
}

/// Whether the certificate is for exactly these names.
pub(super) fn is_for(certificate_pem: &str, names: &[String]) -> bool {
    let Ok((_, pem)) = parse_x509_pem(certificate_pem.as_bytes()) else { return false };
    let Ok((_, certificate)) = parse_x509_certificate(&pem.contents) else { return false };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return false };
    let found = extension.value.general_names.iter().filter_map(|name| match name {
        x509_parser::extensions::GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    found.eq(names.iter().map(String::as_str))
}

fn validity(certificate_pem: &str) -> Option<(i64, i64)> {
    let (_, pem) = parse_x509_pem(certificate_pem.as_bytes()).ok()?;
    let (_, certificate) = parse_x509_certificate(&pem.contents).ok()?;
    let validity = certificate.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

fn make_leaf(ca: &Pair, names: &[String], usage: ExtendedKeyUsagePurpose, now: Timestamp) -> Result<Pair, Error> {
    let mut params = params(names.first().map_or("", String::as_str), now, LEAF_LIFE)?;
    params.subject_alt_names = CertificateParams::new(names.to_vec()).map(|named| named.subject_alt_names)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::from_ca_cert_pem(&ca.certificate, KeyPair::from_pem(&ca.key)?)?;
    let key = KeyPair::generate()?;
    Ok(Pair { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
}

fn params(name: &str, now: Timestamp, life: Duration) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    // 64 is X.520's limit for a common name; who reads it is a person.
    subject.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    params.distinguished_name = subject;
    params.not_before = offset(now, -signed(BACKDATED))?;
    params.not_after = offset(now, signed(life))?;
    Ok(params)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn offset(now: Timestamp, by: SignedDuration) -> Result<OffsetDateTime, Error> {
    let time = now.checked_add(by).map_err(|_| Error::Time)?;
    OffsetDateTime::from_unix_timestamp(time.as_second()).map_err(|_| Error::Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-23T09:00:00Z".parse().unwrap()
    }

    fn after(days: i64) -> Timestamp {
        now().checked_add(SignedDuration::from_hours(24 * days)).unwrap()
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
        let ca = make_ca(now()).unwrap();
        let pair = make_server(&ca, &["ingress.dask-operator.svc".to_owned()], now()).unwrap();
        assert!(!needs_renewal(&pair.certificate, after(59)));
        assert!(needs_renewal(&pair.certificate, after(61)));
        assert!(needs_renewal("not a certificate", now()));
    }

    #[test]
    fn a_certificate_is_for_its_names_only() {
        let ca = make_ca(now()).unwrap();
        let names = ["a.ns.svc".to_owned(), "a.ns.svc.cluster.local".to_owned()];
        let pair = make_server(&ca, &names, now()).unwrap();
        assert!(is_for(&pair.certificate, &names));
        assert!(!is_for(&pair.certificate, &names[..1]));
    }
}
