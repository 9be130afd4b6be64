use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dask_operator_api::DaskOperatorPlugin;
use jiff::Timestamp;

use super::{credentials, status::Findings};
use crate::model::key::PluginKey;

/// How often a plugin that answers is asked again who it is.
const PROBE_PERIOD: Duration = Duration::from_mins(1);
/// The longest pause before a plugin that does not answer is asked again.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// The longest pause before it is looked again whether a missing object is there: that asks the API server alone.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// How long rights are trusted although a write was refused.
const CERTAIN: Duration = Duration::from_secs(5);

/// What was found out about plugins, whom to ask again at once, and about what.
#[derive(Default)]
pub(crate) struct Probes(Mutex<ProbesInner>);

#[derive(Default)]
struct ProbesInner {
    last: HashMap<PluginKey, Probe>,
    woken: HashSet<PluginKey>,
    news: HashMap<PluginKey, EndpointChange>,
    /// When certificates have to be made anew.
    renewals: HashMap<PluginKey, Timestamp>,
}

/// What was noticed of a plugin since it was last discovered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndpointChange {
    /// Open connections may lead to a process that is on its way out.
    pub(crate) reconnect: bool,
    /// Another process serves it, which may answer differently: once discovered, it is asked about every subject.
    pub(crate) replaced: bool,
}

/// What one round of questions brought.
#[derive(Clone)]
pub(crate) struct Probe {
    pub(crate) uid: String,
    pub(crate) generation: i64,
    pub(crate) at: Instant,
    /// When the controller's rights were found to suffice.
    pub(crate) authorized_at: Option<Instant>,
    /// Rounds in a row that failed.
    pub(crate) failures: usize,
    /// Until certificates have to be made anew, from `at` on.
    pub(crate) renewal: Option<Duration>,
    pub(crate) findings: Findings,
}

impl Probes {
    /// Has the plugin asked again on the next pass, whenever it was asked last.
    pub(crate) fn wake(&self, key: PluginKey) {
        self.inner().woken.insert(key);
    }

    /// As [`Self::wake`], for a reason.
    pub(crate) fn notice(&self, key: PluginKey, news: EndpointChange) {
        self.keep(&key, news);
        self.wake(key);
    }

    /// What was noticed since the last call of this.
    pub(crate) fn take_news(&self, key: &PluginKey) -> EndpointChange {
        self.inner().news.remove(key).unwrap_or_default()
    }

    /// Keeps `news` for the next probe, since this one could not act on them.
    pub(crate) fn keep(&self, key: &PluginKey, news: EndpointChange) {
        if news == EndpointChange::default() {
            return;
        }
        let mut inner = self.inner();
        let known = inner.news.entry(key.clone()).or_default();
        known.reconnect |= news.reconnect;
        known.replaced |= news.replaced;
    }

    /// Has the plugin's rights looked at again on the next pass, unless they are known to be missing, or were
    /// found to suffice just now: not each refusal is one of rights. Whether it does.
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
        inner.news.remove(key);
        inner.renewals.remove(key);
    }

    /// Has the plugin asked again at `renewal`, so that its certificates are renewed in time.
    pub(crate) fn renew_at(&self, key: PluginKey, renewal: Timestamp) {
        self.inner().renewals.insert(key, renewal);
    }

    /// How long the certificates serve from `now` on. A date in the past could not be kept, and is no date.
    pub(crate) fn renewal(&self, key: &PluginKey, now: Timestamp) -> Option<Duration> {
        let renewal = self.inner().renewals.get(key).copied()?;
        Duration::try_from(renewal.duration_since(now)).ok().filter(|left| !left.is_zero())
    }

    /// The last findings, and whether they are to be used again.
    pub(crate) fn recall(&self, key: &PluginKey, plugin: &DaskOperatorPlugin, now: Instant) -> (Option<Probe>, bool) {
        let mut inner = self.inner();
        let woken = inner.woken.remove(key);
        let last = inner.last.get(key).filter(|probe| Some(&probe.uid) == plugin.metadata.uid.as_ref()).cloned();
        let fresh = last.as_ref().is_some_and(|probe| {
            !woken && plugin.metadata.generation == Some(probe.generation) && now < probe.at + probe.pause()
        });
        (last, fresh)
    }

    /// The last findings, for whatever generation.
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
    /// Until the next probe. Deterministic for a given probe, since it is asked on each pass.
    pub(crate) fn pause(&self) -> Duration {
        let refusal = self.findings.refusal.as_ref();
        let longest = match refusal {
            Some(refusal) if credentials::waits_for_an_object(refusal.reason) => LONGEST_WAIT,
            _ => LONGEST_RETRY,
        };
        let pause = match self.failures {
            0 => PROBE_PERIOD,
            failures => Duration::from_secs(1 << failures.min(5)).min(longest),
        };
        pause.min(self.renewal.unwrap_or(pause))
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

    /// A date that is kept although nothing was renewed would have the plugin probed without end.
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

    /// Else a plugin that is replaced, and does not answer at once, would never be asked again.
    #[test]
    fn news_add_up_and_stay_until_a_probe_could_act_on_them() {
        let probes = Probes::default();
        probes.notice(key(), EndpointChange { reconnect: true, replaced: false });
        probes.notice(key(), EndpointChange { reconnect: false, replaced: true });
        let both = EndpointChange { reconnect: true, replaced: true };
        assert_eq!(probes.take_news(&key()), both);
        assert_eq!(probes.take_news(&key()), EndpointChange::default());
        probes.keep(&key(), both);
        assert_eq!(probes.take_news(&key()), both);
    }

    /// What a write was refused for may be a quota, which would have rights asked for without end.
    #[test]
    fn rights_are_looked_at_again_after_a_refusal_unless_they_were_seen_just_now() {
        let key = key();
        let (probes, now) = (Probes::default(), Instant::now());
        assert!(!probes.doubt(&key, now), "nothing is known yet");
        probes.remember(key.clone(), Probe { authorized_at: Some(now), ..probe(0, None) });
        assert!(!probes.doubt(&key, now + CERTAIN / 2));
        assert!(probes.doubt(&key, now + CERTAIN));
        assert!(!probes.doubt(&key, now + CERTAIN), "that it is doubted is known already");
    }
}
