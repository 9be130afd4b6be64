//! Decides which authority signs, which authorities are trusted, and when that changes. All functions are pure.
//!
//! ```text
//!            0              2/3     + overlap          1
//! old        |== signs ========|=========|              |
//!            |== trusted =======================================|
//! new                          |== trusted ================ …
//!                                        |== signs ======== …
//! ```
//!
//! An authority is trusted before it signs. Mounted Secrets take a minute or two to reach plugins, and no certificate
//! of the new authority is used until the overlap is over. All decisions follow from the content of the Secret, so
//! a controller that restarts in between, or a second replica, decides the same.

use jiff::{SignedDuration, Timestamp};

use super::certificates::{self, CertificateAndKey, Error, Validity};
use crate::config::CertificateLifetimes;

/// The maximum time that plugins have to load a new authority. It is a twelfth of the authority's lifetime if that is
/// less.
const LONGEST_OVERLAP: SignedDuration = SignedDuration::from_hours(1);
const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// The content of the authority's Secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Authorities {
    pub(crate) current: CertificateAndKey,
    /// The previous authority, as long as it still signs.
    pub(crate) previous: Option<CertificateAndKey>,
    /// Certificates of earlier authorities that are still trusted.
    pub(crate) earlier: Vec<String>,
}

/// The Secret that a plugin mounts: its certificate and the trusted authorities.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Issued {
    pub(crate) bundle: String,
    pub(crate) pair: CertificateAndKey,
}

impl Authorities {
    /// Creates the first authority of an installation.
    pub(crate) fn found(now: Timestamp, lives: CertificateLifetimes) -> Result<Self, Error> {
        let current = certificates::make_ca(now, lives.authority)?;
        Ok(Self { current, previous: None, earlier: Vec::new() })
    }

    /// Reads the values of the Secret. Returns `None` if the current authority cannot sign.
    pub(crate) fn read(current: CertificateAndKey, previous: Option<CertificateAndKey>, bundle: &str) -> Option<Self> {
        let usable =
            |pair: &CertificateAndKey| certificates::is_authority(pair) && Validity::of(&pair.certificate).is_some();
        let mut earlier = split(bundle);
        earlier.retain(|certificate| *certificate != normal(&current.certificate));
        usable(&current).then(|| Self { earlier, previous: previous.filter(usable), current })
    }

    /// Returns the new content of the Secret, or `None` if it does not have to change.
    pub(crate) fn next(&self, now: Timestamp, lives: CertificateLifetimes) -> Result<Option<Self>, Error> {
        let living = |certificate: &String| Validity::of(certificate).is_some_and(|life| now < life.end);
        let mut next = self.clone();
        if now >= self.life().renewal() {
            next.current = certificates::make_ca(now, lives.authority)?;
            next.previous = Some(self.current.clone());
            next.earlier.insert(0, normal(&self.current.certificate));
        } else if now >= self.overlap_end() {
            next.previous = None;
        }
        next.earlier.retain(living);
        next.previous = next.previous.filter(|previous| living(&previous.certificate));
        Ok((next != *self).then_some(next))
    }

    /// Returns the certificates of all authorities that both sides trust.
    pub(crate) fn bundle(&self) -> String {
        let current = normal(&self.current.certificate);
        std::iter::once(current).chain(self.earlier.iter().cloned()).collect()
    }

    /// Returns the new content of a plugin's Secret for the DNS names `names`, or `None` if `held` can still be used.
    pub(crate) fn issue(
        &self,
        held: Option<&Issued>,
        names: &[String],
        now: Timestamp,
        lives: CertificateLifetimes,
    ) -> Result<Option<Issued>, Error> {
        let bundle = self.bundle();
        let serves = |pair: &CertificateAndKey| {
            // A certificate of the current authority may exist early if clocks differ. It is trusted by then.
            let known = [self.signer(now), &self.current];
            known.iter().any(|ca| certificates::is_signed_by(&pair.certificate, &ca.certificate))
                && certificates::is_for(&pair.certificate, names)
                && !is_due(pair, now)
        };
        let kept = held.map(|held| &held.pair).filter(|pair| serves(pair));
        if kept.is_some() && held.is_some_and(|held| held.bundle == bundle) {
            return Ok(None);
        }
        let pair = match kept {
            Some(pair) => pair.clone(),
            None => certificates::make_server(self.signer(now), names, now, lives.certificate)?,
        };
        Ok(Some(Issued { bundle, pair }))
    }

    /// Returns the controller's own certificate: `held`, or a new one if `held` can no longer be used.
    pub(crate) fn client(
        &self,
        held: Option<CertificateAndKey>,
        now: Timestamp,
        lives: CertificateLifetimes,
    ) -> Result<CertificateAndKey, Error> {
        let signer = self.signer(now);
        let serves = |pair: &CertificateAndKey| {
            certificates::is_signed_by(&pair.certificate, &signer.certificate) && !is_due(pair, now)
        };
        match held.filter(serves) {
            Some(pair) => Ok(pair),
            None => certificates::make_client(signer, now, lives.certificate),
        }
    }

    /// Returns when the authorities and the certificates `in_use` have to be checked again.
    pub(crate) fn next_date(&self, in_use: &[&CertificateAndKey], now: Timestamp) -> Timestamp {
        let overlap = self.previous.as_ref().map(|_| self.overlap_end());
        let ends = self.earlier.iter().filter_map(|certificate| Some(Validity::of(certificate)?.end));
        let renewals = in_use.iter().filter_map(|pair| Some(Validity::of(&pair.certificate)?.renewal()));
        let dates = overlap.into_iter().chain(ends).chain(renewals).filter(|date| *date > now);
        dates.fold(self.life().renewal(), Timestamp::min)
    }

    fn signer(&self, now: Timestamp) -> &CertificateAndKey {
        match &self.previous {
            Some(previous) if now < self.overlap_end() && now < life_of(previous).end => previous,
            _ => &self.current,
        }
    }

    fn overlap_end(&self) -> Timestamp {
        let life = self.life();
        let longest = life.begin.checked_add(LONGEST_OVERLAP).unwrap_or(life.end);
        life.after(1, 12).min(longest)
    }

    fn life(&self) -> Validity {
        life_of(&self.current)
    }
}

fn is_due(pair: &CertificateAndKey, now: Timestamp) -> bool {
    now >= life_of(pair).renewal()
}

/// Returns the validity period of a certificate. A certificate that cannot be read counts as expired.
fn life_of(pair: &CertificateAndKey) -> Validity {
    let never = Validity { begin: Timestamp::MIN, end: Timestamp::MIN };
    Validity::of(&pair.certificate).unwrap_or(never)
}

/// Returns the certificates of a bundle, one by one.
fn split(bundle: &str) -> Vec<String> {
    let whole = |part: &str| Some(part[part.find(PEM_BEGIN)?..].to_owned()).filter(|part| part.contains(PEM_END));
    bundle.split_inclusive(PEM_END).filter_map(whole).map(|certificate| normal(&certificate)).collect()
}

fn normal(certificate: &str) -> String {
    format!("{}\n", certificate.trim())
}

#[cfg(test)]
mod tests;
