//! Tests of the rotation of authorities and certificates.

use std::{collections::HashSet, sync::Arc, time::Duration};

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

use super::*;

/// The next authority follows after 160 s, and plugins have 20 s to load it.
const LIVES: CertificateLifetimes =
    CertificateLifetimes { authority: Duration::from_mins(4), certificate: Duration::from_mins(1) };
const ROTATION: i64 = 160;
const OVERLAP: i64 = 20;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn names() -> Vec<String> {
    vec!["ingress.dask-operator.svc".to_owned()]
}

fn found() -> Authorities {
    Authorities::found(at(0), LIVES).unwrap()
}

fn next(authorities: &Authorities, second: i64) -> Option<Authorities> {
    authorities.next(at(second), LIVES).unwrap()
}

fn rotated() -> (Authorities, Authorities) {
    let old = found();
    let new = next(&old, ROTATION).unwrap();
    (old, new)
}

/// Returns the authorities as read from their Secret, which contains nothing but its values.
fn reread(authorities: &Authorities) -> Authorities {
    let bundle = authorities.bundle();
    Authorities::read(authorities.current.clone(), authorities.previous.clone(), &bundle).unwrap()
}

/// Returns the trusted roots of the strictest reader. Like some TLS libraries, it does not trust an expired authority.
fn roots(bundle: &str, now: Timestamp) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in split(bundle) {
        let life = Validity::of(&certificate).unwrap();
        assert!(now < life.end, "an authority that is over must not be in the bundle");
        roots.add(der(&certificate)).unwrap();
    }
    Arc::new(roots)
}

fn der(certificate: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn clock(now: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().unsigned_abs()))
}

/// Verifies both certificates of a handshake, as the two sides do.
fn handshake(controller: (&str, &CertificateAndKey), plugin: &Issued, now: Timestamp) -> Result<(), String> {
    let (trusted, client) = controller;
    let server = WebPkiServerVerifier::builder_with_provider(roots(trusted, now), provider()).build().unwrap();
    let name = ServerName::try_from(names().remove(0)).unwrap();
    server
        .verify_server_cert(&der(&plugin.pair.certificate), &[], &name, &[], clock(now))
        .map_err(|error| format!("the controller refuses the plugin: {error}"))?;
    // The plugin may not have noticed yet that an authority in its files has expired. That authority is no longer
    // needed.
    let living: String =
        split(&plugin.bundle).into_iter().filter(|certificate| now < Validity::of(certificate).unwrap().end).collect();
    let clients = WebPkiClientVerifier::builder_with_provider(roots(&living, now), provider()).build().unwrap();
    clients
        .verify_client_cert(&der(&client.certificate), &[], clock(now))
        .map(|_| ())
        .map_err(|error| format!("the plugin refuses the controller: {error}"))
}

/// A plugin whose mounted Secret is `delay` seconds behind.
struct Plugin {
    delay: i64,
    secret: Issued,
    /// The contents of the Secret, each with the second since which it is there.
    history: Vec<(i64, Issued)>,
}

impl Plugin {
    fn new(delay: i64, secret: Issued) -> Self {
        Self { delay, history: vec![(-delay, secret.clone())], secret }
    }

    fn ensure(&mut self, authorities: &Authorities, second: i64) {
        if let Some(issued) = authorities.issue(Some(&self.secret), &names(), at(second), LIVES).unwrap() {
            self.secret = issued.clone();
            self.history.push((second, issued));
        }
    }

    fn loaded(&self, second: i64) -> &Issued {
        &self.history.iter().rfind(|(since, _)| since + self.delay <= second).unwrap().1
    }
}

/// Between two probes, the controller connects with the trust and the certificate of the earlier probe.
#[test]
fn no_handshake_fails_while_authorities_and_certificates_rotate() {
    let mut authorities = found();
    let secret = authorities.issue(None, &names(), at(0), LIVES).unwrap().unwrap();
    let mut plugins: Vec<Plugin> =
        [0, 1, 7, OVERLAP - 1, OVERLAP].map(|delay| Plugin::new(delay, secret.clone())).into();
    let mut client = authorities.client(None, at(0), LIVES).unwrap();
    let (mut seen, mut before) = (HashSet::new(), (authorities.bundle(), client.clone()));
    for second in 0..2 * ROTATION + 4 * OVERLAP {
        let now = at(second);
        authorities = reread(&next(&authorities, second).unwrap_or(authorities));
        seen.insert(authorities.current.certificate.clone());
        client = authorities.client(Some(client), now, LIVES).unwrap();
        let restarted = authorities.client(None, now, LIVES).unwrap();
        let bundle = authorities.bundle();
        for plugin in &mut plugins {
            plugin.ensure(&authorities, second);
            for (trusted, client) in [(&bundle, &client), (&bundle, &restarted), (&before.0, &before.1)] {
                let loaded = plugin.loaded(second);
                let living = split(trusted).into_iter().filter(|one| now < Validity::of(one).unwrap().end);
                let result = handshake((&living.collect::<String>(), client), loaded, now);
                assert_eq!(result, Ok(()), "at second {second} with a delay of {} s", plugin.delay);
            }
        }
        before = (bundle, client.clone());
    }
    assert_eq!(seen.len(), 3, "two rotations");
    assert!(plugins.iter().all(|plugin| plugin.history.len() > 12), "many certificates");
}

#[test]
fn the_secret_changes_at_these_seconds_and_at_no_others() {
    let table: [(i64, usize, bool); 8] = [
        (0, 1, false),
        (ROTATION - 1, 1, false),
        (ROTATION, 2, true),
        (ROTATION + OVERLAP - 1, 2, true),
        (ROTATION + OVERLAP, 2, false),
        (239, 2, false),
        (240, 1, false),
        (2 * ROTATION, 2, true),
    ];
    let mut authorities = found();
    for (second, trusted, signs_with_previous) in table {
        authorities = next(&authorities, second).unwrap_or(authorities);
        assert!(next(&authorities, second).is_none(), "one write is enough at second {second}");
        assert!(reread(&authorities) == authorities, "nothing is lost in the Secret at second {second}");
        assert_eq!(split(&authorities.bundle()).len(), trusted, "trusted at second {second}");
        assert_eq!(authorities.previous.is_some(), signs_with_previous, "second {second}");
    }
}

#[test]
fn the_previous_authority_signs_until_plugins_know_the_new_one() {
    let (old, new) = rotated();
    assert!(*new.signer(at(ROTATION)) == old.current);
    assert!(*new.signer(at(ROTATION + OVERLAP - 1)) == old.current);
    assert!(*new.signer(at(ROTATION + OVERLAP)) == new.current);
}

#[test]
fn the_overlap_is_an_hour_at_most() {
    let lives = CertificateLifetimes { authority: Duration::from_hours(24 * 3650), ..LIVES };
    let authorities = Authorities::found(at(0), lives).unwrap();
    assert_eq!(authorities.overlap_end(), at(3600));
    assert_eq!(found().overlap_end(), at(OVERLAP));
}

#[test]
fn an_expired_authority_is_neither_used_nor_trusted() {
    let new = next(&found(), 240).unwrap();
    assert!(new.previous.is_none());
    assert_eq!(split(&new.bundle()).len(), 1);
    // The old authority has nearly expired. It signs until it expires, although the overlap would last longer.
    let late = next(&found(), 230).unwrap();
    assert!(*late.signer(at(239)) != late.current);
    assert!(*late.signer(at(240)) == late.current);
}

#[test]
fn the_next_date_is_the_first_at_which_anything_changes() {
    let old = found();
    let client = old.client(None, at(0), LIVES).unwrap();
    assert_eq!(old.next_date(&[&client], at(0)), at(40), "the certificate's renewal");
    assert_eq!(old.next_date(&[], at(0)), at(ROTATION), "the rotation");
    let (_, new) = rotated();
    assert_eq!(new.next_date(&[], at(ROTATION)), at(ROTATION + OVERLAP), "the end of the overlap");
    let trimmed = next(&new, ROTATION + OVERLAP).unwrap();
    assert_eq!(trimmed.next_date(&[], at(ROTATION + OVERLAP)), at(240), "the end of the old one");
}

#[test]
fn a_plugin_keeps_its_certificate_when_only_the_bundle_changes() {
    let (old, new) = rotated();
    let held = old.issue(None, &names(), at(ROTATION - 1), LIVES).unwrap().unwrap();
    assert!(old.issue(Some(&held), &names(), at(ROTATION - 1), LIVES).unwrap().is_none());
    let issued = new.issue(Some(&held), &names(), at(ROTATION), LIVES).unwrap().unwrap();
    assert!(issued.pair == held.pair);
    assert_eq!(issued.bundle, new.bundle());
    let renamed = new.issue(Some(&issued), &["other.svc".to_owned()], at(ROTATION), LIVES).unwrap().unwrap();
    assert!(renamed.pair != held.pair);
}

#[test]
fn a_secret_without_a_usable_authority_is_not_read() {
    let authorities = found();
    let broken = |certificate: &str, key: &str| {
        let pair = CertificateAndKey { certificate: certificate.to_owned(), key: key.to_owned() };
        Authorities::read(pair, None, &authorities.bundle()).is_none()
    };
    let current = &authorities.current;
    assert!(!broken(&current.certificate, &current.key));
    assert!(broken("not a certificate", &current.key));
    assert!(broken(&current.certificate, "not a key"));
    assert!(broken(&current.certificate, &found().current.key), "another one's key");
    // The previous authority is optional. Without it the current one signs at once.
    let previous = CertificateAndKey { certificate: "x".to_owned(), key: "y".to_owned() };
    let read = Authorities::read(current.clone(), Some(previous), "").unwrap();
    assert!(read.previous.is_none() && read.earlier.is_empty());
}
