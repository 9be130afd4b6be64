//! Pauses responses that would delete most of the children of a plugin. A plugin that lost its configuration sends
//! well-formed responses, which cannot be distinguished from intended ones. Pure. [`PruneGuards`] keeps one guard for
//! each plugin and namespace, so that the subjects of one namespace do not pause deletions in another one.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

/// The annotation of a plugin resource that holds the time (RFC 3339) at which a user approved the paused deletions. It
/// is only effective around that time, so it cannot stay active by accident and need not be removed.
pub(crate) const ALLOW_ANNOTATION: &str = "plugin.kubernetes.dask.org/allow-prune";

/// The period whose dropped children are counted together.
const WINDOW: Duration = Duration::from_mins(1);
/// A plugin with fewer children than this may drop all of them.
const FEWEST: usize = 10;
/// How long the approval of a user is valid.
const LEAVE: Duration = Duration::from_mins(10);
/// How far the clock of a user may be ahead.
const SKEW: Duration = Duration::from_mins(5);

/// Returns whether a user allows the deletions at the moment. `leave` is the value of [`ALLOW_ANNOTATION`].
pub(crate) fn is_allowed(leave: Option<&str>, now: Timestamp) -> bool {
    let Some(Ok(from)) = leave.map(str::parse::<Timestamp>) else { return false };
    let passed = now.duration_since(from).as_secs_f64();
    -SKEW.as_secs_f64() <= passed && passed < LEAVE.as_secs_f64()
}

/// The reason why deletions are paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paused {
    /// The children that the responses of the last minute dropped, including the response that exceeded the limit.
    pub(crate) dropped: usize,
    /// The number of children before that.
    pub(crate) of: usize,
}

impl std::fmt::Display for Paused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { dropped, of } = self;
        write!(
            f,
            "responses within a minute omit {dropped} of the plugin's {of} children in the namespace, and no more are \
             deleted there; if this is intended, annotate the DaskOperatorPlugin {ALLOW_ANNOTATION} with the current time \
             (RFC 3339), which allows the deletions for 10 minutes"
        )
    }
}

/// The children that the plugin's responses recently dropped in one namespace.
#[derive(Debug, Default)]
pub(crate) struct PruneGuard {
    /// Uids of the dropped children, and when they were dropped.
    recent: HashMap<String, Instant>,
    /// When the last one was dropped.
    latest: Option<Instant>,
    paused: Option<Paused>,
    /// Uids of the subjects whose responses are paused.
    waiting: HashSet<String>,
}

impl PruneGuard {
    /// Admits the deletion of the children with the uids in `dropped`, which the response about a subject leaves out.
    /// Fails if deletions are paused. `existing` are all children of the plugin in the namespace.
    ///
    /// Once a response exceeds the limit, no response may drop anything until each paused one is withdrawn or approved.
    /// Otherwise all children would be deleted in portions.
    pub(crate) fn admit(
        &mut self,
        subject_uid: &str,
        dropped: &[String],
        existing: &HashSet<String>,
        now: Instant,
    ) -> Result<(), Paused> {
        if dropped.is_empty() {
            self.forget(subject_uid);
            return Ok(());
        }
        self.recent.retain(|_, at| now.duration_since(*at) < WINDOW);
        if self.paused.is_none() {
            let dropped_uids: HashSet<&str> =
                self.recent.keys().map(String::as_str).chain(dropped.iter().map(String::as_str)).collect();
            let all = existing.iter().filter(|uid| !dropped_uids.contains(uid.as_str())).count() + dropped_uids.len();
            if all >= FEWEST && dropped_uids.len() * 2 > all {
                self.paused = Some(Paused { dropped: dropped_uids.len(), of: all });
            }
        }
        if let Some(paused) = self.paused {
            self.waiting.insert(subject_uid.to_owned());
            return Err(paused);
        }
        self.recent.extend(dropped.iter().map(|uid| (uid.clone(), now)));
        self.latest = Some(now);
        Ok(())
    }

    /// Removes a subject that is gone or whose response no longer drops anything.
    pub(crate) fn forget(&mut self, subject_uid: &str) {
        if self.waiting.remove(subject_uid) && self.waiting.is_empty() {
            self.paused = None;
        }
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.paused.is_none() && self.latest.is_none_or(|at| now.duration_since(at) >= WINDOW)
    }
}

/// The plugin and namespace that a guard protects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guarded<'a> {
    /// The uid of the plugin resource.
    pub(crate) plugin_uid: &'a str,
    pub(crate) namespace: &'a str,
}

impl Guarded<'_> {
    fn key(&self) -> GuardKey {
        GuardKey { plugin_uid: self.plugin_uid.to_owned(), namespace: self.namespace.to_owned() }
    }
}

/// The owned form of [`Guarded`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GuardKey {
    plugin_uid: String,
    namespace: String,
}

/// The guards of all plugins and namespaces.
#[derive(Default)]
pub(crate) struct PruneGuards(Mutex<HashMap<GuardKey, PruneGuard>>);

impl PruneGuards {
    /// Like [`PruneGuard::admit`], for the guard of `guarded`.
    pub(crate) fn admit(
        &self,
        guarded: Guarded<'_>,
        subject_uid: &str,
        dropped: &[String],
        existing: &HashSet<String>,
    ) -> Result<(), Paused> {
        let now = Instant::now();
        let mut prune_guards = self.lock();
        if dropped.is_empty() {
            forget(&mut prune_guards, guarded, subject_uid, now);
            return Ok(());
        }
        // Nothing else would remove the guards of deleted namespaces.
        prune_guards.retain(|_, guard| !guard.is_idle(now));
        prune_guards.entry(guarded.key()).or_default().admit(subject_uid, dropped, existing, now)
    }

    /// Like [`PruneGuard::forget`], for the guard of `guarded`.
    pub(crate) fn forget(&self, guarded: Guarded<'_>, subject_uid: &str) {
        forget(&mut self.lock(), guarded, subject_uid, Instant::now());
    }

    /// Resumes the paused deletions, because a user approved them.
    pub(crate) fn release(&self, guarded: Guarded<'_>) {
        self.lock().remove(&guarded.key());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GuardKey, PruneGuard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget(prune_guards: &mut HashMap<GuardKey, PruneGuard>, guarded: Guarded<'_>, subject_uid: &str, now: Instant) {
    let key = guarded.key();
    if let Some(guard) = prune_guards.get_mut(&key) {
        guard.forget(subject_uid);
        if guard.is_idle(now) {
            prune_guards.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uids(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|number| format!("child-{number}")).collect()
    }

    fn existing(range: std::ops::Range<usize>) -> HashSet<String> {
        uids(range).into_iter().collect()
    }

    #[test]
    fn a_response_that_drops_more_than_half_of_ten_or_more_children_is_paused() {
        let table = [(9, 9, true), (10, 5, true), (10, 6, false), (10, 10, false), (100, 50, true), (100, 51, false)];
        for (all, dropped, goes) in table {
            let verdict = PruneGuard::default().admit("s", &uids(0..dropped), &existing(0..all), Instant::now());
            let paused = Paused { dropped, of: all };
            assert_eq!(verdict, if goes { Ok(()) } else { Err(paused) }, "{dropped} of {all}");
        }
    }

    /// Otherwise a plugin with one child per subject would lose all children, one by one.
    #[test]
    fn dropped_children_of_many_subjects_add_up_even_if_the_watch_lags() {
        for watch_lags in [true, false] {
            let (mut guard, now) = (PruneGuard::default(), Instant::now());
            let went = (0..20)
                .take_while(|gone| {
                    let existing_now = if watch_lags { existing(0..20) } else { existing(*gone..20) };
                    guard.admit(&format!("subject-{gone}"), &uids(*gone..gone + 1), &existing_now, now).is_ok()
                })
                .count();
            assert_eq!(went, 10, "the watch lags: {watch_lags}");
        }
    }

    #[test]
    fn children_dropped_more_than_a_minute_ago_do_not_count() {
        let (mut guard, now) = (PruneGuard::default(), Instant::now());
        assert_eq!(guard.admit("a", &uids(0..8), &existing(0..20), now), Ok(()));
        let soon = now + Duration::from_secs(59);
        assert!(guard.admit("b", &uids(8..14), &existing(8..20), soon).is_err());
        let mut guard = PruneGuard::default();
        assert_eq!(guard.admit("a", &uids(0..8), &existing(0..20), now), Ok(()));
        assert_eq!(guard.admit("b", &uids(8..14), &existing(8..20), now + WINDOW), Ok(()));
    }

    /// Time alone must not resume paused deletions.
    #[test]
    fn deletions_stay_paused_until_each_paused_response_is_withdrawn() {
        let (mut guard, now) = (PruneGuard::default(), Instant::now());
        let paused = Paused { dropped: 11, of: 20 };
        assert_eq!(guard.admit("a", &uids(0..11), &existing(0..20), now), Err(paused));
        let later = now + Duration::from_hours(1);
        assert_eq!(guard.admit("a", &uids(0..11), &existing(0..20), later), Err(paused));
        assert_eq!(guard.admit("b", &uids(19..20), &existing(0..20), later), Err(paused), "a single child");
        assert_eq!(guard.admit("a", &[], &existing(0..20), later), Ok(()), "the answer has all its children again");
        assert_eq!(guard.admit("c", &uids(18..19), &existing(0..20), later), Err(paused), "b still waits");
        guard.forget("b");
        guard.forget("c");
        assert_eq!(guard.admit("c", &uids(18..19), &existing(0..20), later), Ok(()));
    }

    #[test]
    fn a_pause_in_one_namespace_does_not_affect_another() {
        let prune_guards = PruneGuards::default();
        let guarded = |namespace| Guarded { plugin_uid: "plugin", namespace };
        assert!(prune_guards.admit(guarded("a"), "s", &uids(0..12), &existing(0..12)).is_err());
        assert_eq!(prune_guards.admit(guarded("b"), "t", &uids(12..13), &existing(12..20)), Ok(()));
        prune_guards.release(guarded("b"));
        assert!(prune_guards.admit(guarded("a"), "s", &uids(0..1), &existing(0..12)).is_err(), "a is still held");
        prune_guards.forget(guarded("a"), "s");
        assert_eq!(prune_guards.admit(guarded("a"), "s", &uids(0..1), &existing(0..12)), Ok(()));
    }

    #[test]
    fn brakes_of_namespaces_with_nothing_to_remember_are_dropped() {
        let prune_guards = PruneGuards::default();
        let guarded = |namespace| Guarded { plugin_uid: "plugin", namespace };
        assert_eq!(prune_guards.admit(guarded("a"), "s", &[], &existing(0..12)), Ok(()));
        assert!(prune_guards.lock().is_empty());
        assert!(prune_guards.admit(guarded("a"), "s", &uids(0..12), &existing(0..12)).is_err());
        prune_guards.forget(guarded("a"), "s");
        assert!(prune_guards.lock().is_empty());
    }

    #[test]
    fn an_approval_is_valid_for_ten_minutes() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let table = [
            (None, false),
            (Some("true"), false),
            (Some(""), false),
            (Some("2026-11-23T12:00:00Z"), true),
            (Some("2026-11-23T13:00:00+01:00"), true),
            (Some("2026-11-23T11:50:01Z"), true),
            (Some("2026-11-23T11:50:00Z"), false),
            (Some("2026-11-23T12:05:00Z"), true),
            (Some("2026-11-23T12:05:01Z"), false),
            (Some("2999-01-01T00:00:00Z"), false),
        ];
        for (leave, allowed) in table {
            assert_eq!(is_allowed(leave, now), allowed, "{leave:?}");
        }
    }
}
