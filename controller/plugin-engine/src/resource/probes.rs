//! Stores the findings about plugins, and decides when a plugin is discovered again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dask_operator_api::DaskOperatorPlugin;
use jiff::Timestamp;

use super::{endpoint_change::EndpointChange, interruption, reasons, status::Findings};
use crate::model::key::PluginKey;

/// How often a plugin that answers is discovered again.
const PROBE_PERIOD: Duration = Duration::from_mins(1);
/// How often a plugin on the machine of its author is discovered, where its code changes at any time.
const DEVELOPMENT_PERIOD: Duration = Duration::from_secs(1);
/// The longest pause before a plugin that does not answer is called again.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// The longest pause before a missing object is looked up again. It is shorter because only the API server is queried.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// How long a successful permission review is trusted although a write was refused.
const CERTAIN: Duration = Duration::from_secs(5);

/// The last findings about plugins, and the plugins that have to be discovered again immediately.
#[derive(Default)]
pub(crate) struct Probes(Mutex<ProbesInner>);

#[derive(Default)]
struct ProbesInner {
    last: HashMap<PluginKey, Probe>,
    woken: HashSet<PluginKey>,
    change: HashMap<PluginKey, EndpointChange>,
    /// When certificates have to be renewed.
    renewals: HashMap<PluginKey, Timestamp>,
}

/// The result of one discovery.
#[derive(Clone)]
pub(crate) struct Probe {
    pub(crate) uid: String,
    pub(crate) generation: i64,
    pub(crate) at: Instant,
    /// When the controller's permissions were found to be sufficient.
    pub(crate) authorized_at: Option<Instant>,
    /// The number of consecutive failures.
    pub(crate) failures: usize,
    /// The time from `at` until certificates have to be renewed.
    pub(crate) renewal: Option<Duration>,
    /// Since when the plugin has been unreachable, while its readiness is kept.
    pub(crate) interrupted: Option<Instant>,
    /// Whether the plugin runs on the machine of its author.
    pub(crate) development: bool,
    /// What was found. While the plugin is interrupted, what was found before.
    pub(crate) findings: Findings,
}

/// The last findings about a plugin.
pub(crate) enum Recalled {
    /// They still hold.
    Fresh(Probe),
    /// A new discovery is due. There may be none yet.
    Stale(Option<Probe>),
}

impl Probes {
    /// Makes the next pass discover the plugin again, regardless of when that was last done.
    pub(crate) fn wake(&self, key: PluginKey) {
        self.inner().woken.insert(key);
    }

    /// Like [`Self::wake`], and records the change that caused it.
    pub(crate) fn notice(&self, key: PluginKey, change: EndpointChange) {
        self.keep(&key, change);
        self.wake(key);
    }

    /// Takes the changes since the last call.
    pub(crate) fn take_change(&self, key: &PluginKey) -> EndpointChange {
        self.inner().change.remove(key).unwrap_or_default()
    }

    /// Keeps `change` for the next discovery, because this one could not act on it.
    pub(crate) fn keep(&self, key: &PluginKey, change: EndpointChange) {
        if change == EndpointChange::default() {
            return;
        }
        let mut inner = self.inner();
        let known = inner.change.entry(key.clone()).or_default();
        known.reconnect |= change.reconnect;
        known.replaced |= change.replaced;
    }

    /// Makes the next pass review the plugin's permissions again, unless they are known to be insufficient or were
    /// reviewed moments ago (a refused write may have other causes). Returns whether a review is due.
    pub(crate) fn doubt(&self, key: &PluginKey, now: Instant) -> bool {
        let mut inner = self.inner();
        let authorized = inner.last.get_mut(key).map(|probe| &mut probe.authorized_at);
        let Some(at) = authorized.filter(|at| at.is_some_and(|at| now.duration_since(at) >= CERTAIN)) else {
            return false;
        };
        *at = None;
        inner.woken.insert(key.clone());
        true
    }

    pub(crate) fn forget(&self, key: &PluginKey) {
        let mut inner = self.inner();
        inner.last.remove(key);
        inner.woken.remove(key);
        inner.change.remove(key);
        inner.renewals.remove(key);
    }

    /// Makes the reconciler discover the plugin again at `renewal`, so that its certificates are renewed in time.
    pub(crate) fn renew_at(&self, key: PluginKey, renewal: Timestamp) {
        self.inner().renewals.insert(key, renewal);
    }

    /// Returns the time from `now` until the certificates have to be renewed. A date in the past is ignored, because it
    /// would cause endless probes.
    pub(crate) fn renewal(&self, key: &PluginKey, now: Timestamp) -> Option<Duration> {
        let renewal = self.inner().renewals.get(key).copied()?;
        Duration::try_from(renewal.duration_since(now)).ok().filter(|left| !left.is_zero())
    }

    /// Returns the last findings.
    pub(crate) fn recall(&self, key: &PluginKey, plugin: &DaskOperatorPlugin, now: Instant) -> Recalled {
        let mut inner = self.inner();
        let woken = inner.woken.remove(key);
        let last = inner.last.get(key).filter(|probe| Some(&probe.uid) == plugin.metadata.uid.as_ref()).cloned();
        let is_fresh = |probe: &Probe| {
            !woken && plugin.metadata.generation == Some(probe.generation) && now < probe.at + probe.pause()
        };
        match last {
            Some(probe) if is_fresh(&probe) => Recalled::Fresh(probe),
            last => Recalled::Stale(last),
        }
    }

    /// Returns the last findings, regardless of their generation.
    pub(crate) fn last(&self, key: &PluginKey, plugin: &DaskOperatorPlugin) -> Option<Probe> {
        let inner = self.inner();
        inner.last.get(key).filter(|probe| Some(&probe.uid) == plugin.metadata.uid.as_ref()).cloned()
    }

    pub(crate) fn remember(&self, key: PluginKey, probe: Probe) {
        self.inner().last.insert(key, probe);
    }

    fn inner(&self) -> MutexGuard<'_, ProbesInner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe {
    /// Returns the time until the next probe. The result is deterministic for a given probe, because it is recomputed
    /// on each pass.
    pub(crate) fn pause(&self) -> Duration {
        if self.development {
            return DEVELOPMENT_PERIOD;
        }
        if let Some(since) = self.interrupted {
            return interruption::pause(since, self.at, self.failures);
        }
        let refusal = self.findings.refusal.as_ref();
        let longest = match refusal {
            Some(refusal) if reasons::waits_for_an_object(refusal.reason) => LONGEST_WAIT,
            _ => LONGEST_RETRY,
        };
        let pause = match self.failures {
            0 => PROBE_PERIOD,
            failures => Duration::from_secs(1 << failures.min(5)).min(longest),
        };
        pause.min(self.renewal.unwrap_or(pause))
    }

    /// Returns whether the status has to show the findings. It stays as it is while a plugin is interrupted about which
    /// this process has not found anything else yet.
    pub(crate) fn is_shown(&self) -> bool {
        self.interrupted.is_none() || self.findings.is_ready()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PluginKey {
        PluginKey { namespace: "ns".to_owned(), name: "ingress".to_owned() }
    }

    fn probe(failures: usize, renewal: Option<u64>) -> Probe {
        Probe {
            uid: String::new(),
            generation: 1,
            at: Instant::now(),
            authorized_at: None,
            failures,
            renewal: renewal.map(Duration::from_secs),
            interrupted: None,
            development: false,
            findings: Findings::default(),
        }
    }

    #[test]
    fn the_next_probe_comes_in_time_for_the_certificates() {
        let table = [
            (0, None, 60),
            (0, Some(3600), 60),
            (0, Some(7), 7),
            (1, None, 2),
            (5, None, 30),
            (60, None, 30),
            (5, Some(7), 7),
        ];
        for (failures, renewal, pause) in table {
            let found = probe(failures, renewal).pause();
            assert_eq!(found, Duration::from_secs(pause), "{failures} failures, renewal in {renewal:?}");
        }
    }

    #[test]
    fn a_plugin_that_is_interrupted_is_asked_again_soon() {
        let interrupted = |failures| Probe { interrupted: Some(Instant::now()), ..probe(failures, None) };
        assert_eq!(interrupted(1).pause(), Duration::from_millis(500));
        assert_eq!(interrupted(2).pause(), Duration::from_secs(1));
    }

    #[test]
    fn a_plugin_on_the_machine_of_its_author_is_discovered_each_second() {
        for failures in [0, 1, 60] {
            let probe = Probe { development: true, ..probe(failures, None) };
            assert_eq!(probe.pause(), Duration::from_secs(1), "{failures} failures");
        }
    }

    /// If an expired date were kept although nothing was renewed, the plugin would be probed endlessly.
    #[test]
    fn a_renewal_that_is_over_is_no_date() {
        let (probes, at) = (Probes::default(), |second| Timestamp::from_second(second).unwrap());
        probes.renew_at(key(), at(100));
        assert_eq!(probes.renewal(&key(), at(90)), Some(Duration::from_secs(10)));
        assert_eq!(probes.renewal(&key(), at(100)), None);
        assert_eq!(probes.renewal(&key(), at(101)), None);
        probes.renew_at(key(), at(200));
        probes.forget(&key());
        assert_eq!(probes.renewal(&key(), at(90)), None);
    }

    /// Otherwise a plugin that is replaced and does not answer immediately would never be called about all subjects
    /// again.
    #[test]
    fn changes_add_up_until_a_probe_acts_on_them() {
        let probes = Probes::default();
        probes.notice(key(), EndpointChange { reconnect: true, replaced: false });
        probes.notice(key(), EndpointChange { reconnect: false, replaced: true });
        let both = EndpointChange { reconnect: true, replaced: true };
        assert_eq!(probes.take_change(&key()), both);
        assert_eq!(probes.take_change(&key()), EndpointChange::default());
        probes.keep(&key(), both);
        assert_eq!(probes.take_change(&key()), both);
    }

    /// A write may be refused because of a quota, which would otherwise cause endless permission reviews.
    #[test]
    fn rights_are_reviewed_again_after_a_refusal_unless_they_just_were() {
        let key = key();
        let (probes, now) = (Probes::default(), Instant::now());
        assert!(!probes.doubt(&key, now), "nothing is known yet");
        probes.remember(key.clone(), Probe { authorized_at: Some(now), ..probe(0, None) });
        assert!(!probes.doubt(&key, now + CERTAIN / 2));
        assert!(probes.doubt(&key, now + CERTAIN));
        assert!(!probes.doubt(&key, now + CERTAIN), "that it is doubted is known already");
    }
}
