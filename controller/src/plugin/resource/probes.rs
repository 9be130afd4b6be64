use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::status::Findings;
use crate::{crd::DaskOperatorPlugin, plugin::registry::PluginKey};

/// How often a plugin that answers is asked again who it is.
const PROBE_PERIOD: Duration = Duration::from_mins(1);
/// The longest pause before a plugin that does not answer is asked again.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// How long rights are trusted although a write was refused.
const CERTAIN: Duration = Duration::from_secs(5);

/// What was found out about plugins, and whom to ask again at once.
#[derive(Default)]
pub(in crate::plugin) struct Probes(Mutex<ProbesInner>);

#[derive(Default)]
struct ProbesInner {
    last: HashMap<PluginKey, Probe>,
    woken: HashSet<PluginKey>,
}

/// What one round of questions brought.
#[derive(Clone)]
pub(super) struct Probe {
    pub(super) uid: String,
    pub(super) generation: i64,
    pub(super) at: Instant,
    /// When the controller's rights were found to suffice.
    pub(super) authorized_at: Option<Instant>,
    /// Rounds in a row that failed.
    pub(super) failures: usize,
    pub(super) findings: Findings,
}

impl Probes {
    /// Has the plugin asked again on the next pass, whenever it was asked last.
    pub(in crate::plugin) fn wake(&self, key: PluginKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).woken.insert(key);
    }

    /// Has the plugin's rights looked at again on the next pass, unless they are known to be missing, or were
    /// found to suffice just now: not each refusal is one of rights. Whether it does.
    pub(in crate::plugin) fn doubt(&self, key: &PluginKey, now: Instant) -> bool {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let authorized = inner.last.get_mut(key).map(|probe| &mut probe.authorized_at);
        let Some(at) = authorized.filter(|at| at.is_some_and(|at| now.duration_since(at) >= CERTAIN)) else {
            return false;
        };
        *at = None;
        inner.woken.insert(key.clone());
        true
    }

    pub(in crate::plugin) fn forget(&self, key: &PluginKey) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.last.remove(key);
        inner.woken.remove(key);
    }

    /// The last findings, and whether they are to be used again.
    pub(super) fn recall(&self, key: &PluginKey, plugin: &DaskOperatorPlugin, now: Instant) -> (Option<Probe>, bool) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let woken = inner.woken.remove(key);
        let last = inner.last.get(key).filter(|probe| Some(&probe.uid) == plugin.metadata.uid.as_ref()).cloned();
        let fresh = last.as_ref().is_some_and(|probe| {
            !woken && plugin.metadata.generation == Some(probe.generation) && now < probe.at + probe.pause()
        });
        (last, fresh)
    }

    pub(super) fn remember(&self, key: PluginKey, probe: Probe) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last.insert(key, probe);
    }
}

impl Probe {
    /// Until the next probe. Deterministic for a given probe, since it is asked on each pass.
    pub(super) fn pause(&self) -> Duration {
        if self.failures == 0 {
            PROBE_PERIOD
        } else {
            Duration::from_secs(1 << self.failures.min(5)).min(LONGEST_RETRY)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a write was refused for may be a quota, which would have rights asked for without end.
    #[test]
    fn rights_are_looked_at_again_after_a_refusal_unless_they_were_seen_just_now() {
        let key = PluginKey { namespace: "dask-operator".to_owned(), name: "echo".to_owned() };
        let (probes, now) = (Probes::default(), Instant::now());
        assert!(!probes.doubt(&key, now), "nothing is known yet");
        let (uid, findings) = (String::new(), Findings::default());
        let probe = Probe { uid, generation: 1, at: now, authorized_at: Some(now), failures: 0, findings };
        probes.remember(key.clone(), probe);
        assert!(!probes.doubt(&key, now + CERTAIN / 2));
        assert!(probes.doubt(&key, now + CERTAIN));
        assert!(!probes.doubt(&key, now + CERTAIN), "that it is doubted is known already");
    }
}
