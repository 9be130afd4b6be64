//! Creates the certificates with which plugins and the controller authenticate each other (`tls.mode: Auto`).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use operator_runtime::conditions::whole_seconds;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use time::OffsetDateTime;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    parse_x509_certificate,
    pem::parse_x509_pem,
};

/// The name in the controller's own certificate. Plugins check it, because the same authority signs the certificates of
/// other plugins, and those must not be accepted as the controller's.
pub(crate) const CLIENT_NAME: &str = "dask-operator.plugin.kubernetes.dask.org";

/// How long before its creation a certificate becomes valid, since clocks differ.
const BACKDATED: SignedDuration = SignedDuration::from_mins(5);

/// A certificate and its private key, both in PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CertificateAndKey {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// The reason why a certificate could not be created or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("failed to create a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("the certificate's times are out of range")]
    Time,
    #[error("the authority's certificate cannot be read")]
    Authority,
}

/// The period in which a certificate is used. The certificate itself is valid a little earlier, since clocks differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) begin: Timestamp,
    pub(crate) end: Timestamp,
}

impl Validity {
    /// Returns the validity period of a certificate, or `None` if it cannot be read.
    pub(crate) fn of(certificate_pem: &str) -> Option<Self> {
        read(certificate_pem, |certificate| {
            let validity = certificate.validity();
            let time = |seconds| Timestamp::from_second(seconds).ok();
            let begin = time(validity.not_before.timestamp())?.checked_add(BACKDATED).ok()?;
            Some(Self { begin, end: time(validity.not_after.timestamp())? })
        })
    }

    /// Returns the time after two thirds of the period, when the certificate is renewed.
    pub(crate) fn renewal(self) -> Timestamp {
        self.after(2, 3)
    }

    /// Returns the time after `numerator / denominator` of the period.
    pub(crate) fn after(self, numerator: i64, denominator: i64) -> Timestamp {
        let whole = (self.end.as_second() - self.begin.as_second()).max(0);
        let part = whole.saturating_mul(numerator) / denominator;
        self.begin.checked_add(SignedDuration::from_secs(part)).unwrap_or(self.end)
    }
}

/// Creates a new certificate authority.
pub(crate) fn make_ca(now: Timestamp, life: Duration) -> Result<CertificateAndKey, Error> {
    // Two authorities may be trusted at a time. Users need different names, and so do programs that look up issuers by
    // name.
    let name = format!("dask-operator plugins {}", whole_seconds(now));
    let mut params = params(&name, now, end_of(now, life)?)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    Ok(CertificateAndKey { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

/// Creates a plugin's certificate for all of `names`.
pub(crate) fn make_server(
    ca: &CertificateAndKey,
    names: &[String],
    now: Timestamp,
    life: Duration,
) -> Result<CertificateAndKey, Error> {
    make_leaf(ca, names, ExtendedKeyUsagePurpose::ServerAuth, now, life)
}

/// Creates the controller's own certificate.
pub(crate) fn make_client(ca: &CertificateAndKey, now: Timestamp, life: Duration) -> Result<CertificateAndKey, Error> {
    make_leaf(ca, &[CLIENT_NAME.to_owned()], ExtendedKeyUsagePurpose::ClientAuth, now, life)
}

/// Returns whether the certificate is for exactly these names.
pub(crate) fn is_for(certificate_pem: &str, names: &[String]) -> bool {
    let found = read(certificate_pem, |certificate| {
        let extension = certificate.subject_alternative_name().ok()??;
        let names = extension.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        Some(names.collect::<Vec<_>>())
    });
    found.as_deref() == Some(names)
}

/// Returns whether the certificate names the key of `ca_pem` as the key that signed it.
pub(crate) fn is_signed_by(certificate_pem: &str, ca_pem: &str) -> bool {
    let signer = read(certificate_pem, |certificate| {
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => Some(id.key_identifier.as_ref()?.0.to_vec()),
            _ => None,
        })
    });
    let key = read(ca_pem, |certificate| {
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
    });
    signer.is_some() && signer == key
}

/// Returns whether certificates can be signed with `pair`.
pub(crate) fn is_authority(pair: &CertificateAndKey) -> bool {
    let key = KeyPair::from_pem(&pair.key).ok().map(|key| key.subject_public_key_info());
    let of_key =
        read(&pair.certificate, |certificate| certificate.is_ca().then(|| certificate.public_key().raw.to_vec()));
    key.is_some() && key == of_key
}

fn read<T>(certificate_pem: &str, what: impl FnOnce(&X509Certificate<'_>) -> Option<T>) -> Option<T> {
    let (_, pem) = parse_x509_pem(certificate_pem.as_bytes()).ok()?;
    let (_, certificate) = parse_x509_certificate(&pem.contents).ok()?;
    what(&certificate)
}

fn make_leaf(
    ca: &CertificateAndKey,
    names: &[String],
    usage: ExtendedKeyUsagePurpose,
    now: Timestamp,
    life: Duration,
) -> Result<CertificateAndKey, Error> {
    // No peer would accept the certificate after the end of its authority.
    let end = end_of(now, life)?.min(Validity::of(&ca.certificate).ok_or(Error::Authority)?.end);
    let mut params = params(names.first().map_or("", String::as_str), now, end)?;
    params.subject_alt_names = CertificateParams::new(names.to_vec()).map(|named| named.subject_alt_names)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::from_ca_cert_pem(&ca.certificate, KeyPair::from_pem(&ca.key)?)?;
    let key = KeyPair::generate()?;
    Ok(CertificateAndKey { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
}

fn params(name: &str, now: Timestamp, end: Timestamp) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    // X.520 limits a common name to 64 characters. Only users read this name.
    subject.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    params.distinguished_name = subject;
    params.not_before = x509_time(now.checked_sub(BACKDATED).map_err(|_| Error::Time)?)?;
    params.not_after = x509_time(end)?;
    Ok(params)
}

fn end_of(now: Timestamp, life: Duration) -> Result<Timestamp, Error> {
    let life = SignedDuration::try_from(life).map_err(|_| Error::Time)?;
    now.checked_add(life).map_err(|_| Error::Time)
}

fn x509_time(time: Timestamp) -> Result<OffsetDateTime, Error> {
    OffsetDateTime::from_unix_timestamp(time.as_second()).map_err(|_| Error::Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn now() -> Timestamp {
        "2026-11-23T09:00:00Z".parse().unwrap()
    }

    fn after(days: u32) -> Timestamp {
        end_of(now(), days * DAY).unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
        let ca = make_ca(now(), 3650 * DAY).unwrap();
        let pair = make_server(&ca, &names(&["ingress.dask-operator.svc"]), now(), 90 * DAY).unwrap();
        let life = Validity::of(&pair.certificate).unwrap();
        assert_eq!(life, Validity { begin: now(), end: after(90) });
        assert_eq!(life.renewal(), after(60));
        assert_eq!(Validity::of("not a certificate"), None);
    }

    #[test]
    fn a_certificate_ends_with_its_authority() {
        let ca = make_ca(now(), 90 * DAY).unwrap();
        let pair = make_client(&ca, after(30), 90 * DAY).unwrap();
        assert_eq!(Validity::of(&pair.certificate).unwrap(), Validity { begin: after(30), end: after(90) });
    }

    #[test]
    fn a_certificate_is_for_its_names_only() {
        let ca = make_ca(now(), DAY).unwrap();
        let wanted = names(&["a.ns.svc", "a.ns.svc.cluster.local"]);
        let pair = make_server(&ca, &wanted, now(), DAY).unwrap();
        assert!(is_for(&pair.certificate, &wanted));
        assert!(!is_for(&pair.certificate, &wanted[..1]));
    }

    #[test]
    fn a_certificate_tells_which_authority_signed_it() {
        let (ca, other) = (make_ca(now(), DAY).unwrap(), make_ca(now(), DAY).unwrap());
        let pair = make_client(&ca, now(), DAY).unwrap();
        assert!(is_signed_by(&pair.certificate, &ca.certificate));
        assert!(!is_signed_by(&pair.certificate, &other.certificate));
        assert!(!is_signed_by("not a certificate", "nor this"));
    }

    #[test]
    fn only_a_certificate_for_signing_with_its_own_key_is_an_authority() {
        let (ca, other) = (make_ca(now(), DAY).unwrap(), make_ca(now(), DAY).unwrap());
        assert!(is_authority(&ca));
        assert!(!is_authority(&CertificateAndKey { key: other.key, ..ca.clone() }));
        assert!(!is_authority(&make_client(&ca, now(), DAY).unwrap()));
        assert!(!is_authority(&CertificateAndKey { certificate: "not a certificate".to_owned(), ..ca }));
    }
}
