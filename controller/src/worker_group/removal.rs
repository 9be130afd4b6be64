//! The results of removals, and how long a group waits after its scheduler refused or did not answer.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use operator_runtime::rejection::Rejection;

use crate::template_version::TemplateVersion;

/// How long a group's removal waits after the scheduler refused or did not answer.
const PAUSE: Duration = Duration::from_secs(10);

/// The result of a removal.
#[derive(Clone, Debug, Default)]
pub(super) struct Removal {
    /// The reason why workers that should be removed still exist.
    pub(super) waiting: Option<Rejection>,
    /// Whether the removal should continue at once.
    pub(super) unfinished: bool,
}

/// Removals that wait, by the group's uid: events must not make the controller ask the scheduler more often.
#[derive(Debug, Default)]
pub(crate) struct RemovalBackoff(Mutex<HashMap<String, Waiting>>);

/// A removal that waits.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    occasion: Occasion,
    why: Rejection,
}

/// The state that a removal was attempted in. If it changes, the removal is retried at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Occasion {
    pub(super) replicas: usize,
    pub(super) template: TemplateVersion,
    pub(super) workers: usize,
}

impl RemovalBackoff {
    /// Returns why the group's removal waits, if it does on this occasion.
    pub(super) fn waiting(&self, uid: &str, occasion: &Occasion) -> Option<Rejection> {
        let entries = self.lock();
        let waiting = entries.get(uid)?;
        (waiting.occasion == *occasion && waiting.since.elapsed() < PAUSE).then(|| waiting.why.clone())
    }

    /// Records that the group's removal waits.
    pub(super) fn pause(&self, uid: &str, occasion: Occasion, why: &Rejection) {
        let mut entries = self.lock();
        if !entries.contains_key(uid) {
            entries.retain(|_, waiting| waiting.since.elapsed() < PAUSE);
        }
        entries.insert(uid.to_owned(), Waiting { since: Instant::now(), occasion, why: why.clone() });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
