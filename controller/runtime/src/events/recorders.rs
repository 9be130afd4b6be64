//! Holds a recorder for each Event that may be repeated.
//!
//! kube's recorder counts an Event as repeated if it has the same object, type, reason and action, whatever its text. A
//! new cause with the same reason would then only increase the count of the old text.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};

/// How long an Event may be repeated. It is then published again, as by kube's recorder.
const TTL: Duration = Duration::from_mins(6);
/// Up to this number of entries, none is evicted.
const ROOM: usize = 64;
/// The number of entries for the Events of one namespace. Those beyond are not recognised as repeated.
const NAMESPACE_ROOM: usize = 1_000;

/// What two Events with the same text have in common. The object is known by its uid, or by its name if it has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    namespace: String,
    object: String,
    is_warning: bool,
    reason: String,
    action: String,
}

#[derive(Debug)]
struct Entry<R> {
    note: Option<String>,
    recorder: R,
    used: Instant,
}

/// Recorders by Event.
#[derive(Debug)]
pub(super) struct Recorders<R> {
    entries: HashMap<Key, Entry<R>>,
    /// At this number of entries, old ones are evicted. It doubles, so that the cost for each Event stays low.
    room: usize,
    /// The number of entries of each namespace.
    counts: HashMap<String, usize>,
    /// When old entries were last evicted.
    evicted: Option<Instant>,
}

impl<R> Default for Recorders<R> {
    fn default() -> Self {
        Self { entries: HashMap::new(), room: ROOM, counts: HashMap::new(), evicted: None }
    }
}

impl<R: Clone> Recorders<R> {
    /// Returns the recorder that published the same text before, or else a `new` one.
    pub(super) fn recorder_of(
        &mut self,
        event: &Event,
        object: &ObjectReference,
        now: Instant,
        new: impl FnOnce() -> R,
    ) -> R {
        let key = Key {
            namespace: object.namespace.clone().unwrap_or_default(),
            object: object.uid.clone().or_else(|| object.name.clone()).unwrap_or_default(),
            is_warning: event.type_ == EventType::Warning,
            reason: event.reason.clone(),
            action: event.action.clone(),
        };
        if self.entries.len() >= self.room || self.is_full(&key.namespace) && self.is_eviction_due(now) {
            self.evict(now);
        }
        let is_full = self.is_full(&key.namespace);
        match self.entries.get_mut(&key) {
            Some(entry) if entry.note == event.note => {
                entry.used = now;
                entry.recorder.clone()
            }
            None if is_full => new(),
            found => {
                if found.is_none() {
                    *self.counts.entry(key.namespace.clone()).or_default() += 1;
                }
                let recorder = new();
                let entry = Entry { note: event.note.clone(), recorder: recorder.clone(), used: now };
                self.entries.insert(key, entry);
                recorder
            }
        }
    }

    fn is_full(&self, namespace: &str) -> bool {
        self.counts.get(namespace).is_some_and(|count| *count >= NAMESPACE_ROOM)
    }

    fn is_eviction_due(&self, now: Instant) -> bool {
        self.evicted.is_none_or(|evicted| now.duration_since(evicted) >= TTL)
    }

    /// Removes the entries that have not been used for a while.
    fn evict(&mut self, now: Instant) {
        self.evicted = Some(now);
        let counts = &mut self.counts;
        counts.clear();
        self.entries.retain(|key, entry| {
            let stays = now.duration_since(entry.used) < TTL;
            if stays {
                *counts.entry(key.namespace.clone()).or_default() += 1;
            }
            stays
        });
        self.room = (self.entries.len() * 2).max(ROOM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(note: &str) -> Event {
        Event {
            type_: EventType::Warning,
            reason: "ServerError".to_owned(),
            note: Some(note.to_owned()),
            action: "CallPlugin".to_owned(),
            secondary: None,
        }
    }

    fn object(uid: &str) -> ObjectReference {
        ObjectReference { uid: Some(uid.to_owned()), ..ObjectReference::default() }
    }

    #[test]
    fn an_event_with_another_text_is_not_counted_as_a_repetition() {
        let (mut recorders, now) = (Recorders::default(), Instant::now());
        assert_eq!(recorders.recorder_of(&event("a"), &object("1"), now, || 1), 1);
        assert_eq!(recorders.recorder_of(&event("a"), &object("1"), now, || 2), 1, "the same text");
        assert_eq!(recorders.recorder_of(&event("a"), &object("2"), now, || 3), 3, "another object");
        assert_eq!(recorders.recorder_of(&event("b"), &object("1"), now, || 4), 4, "another text");
        assert_eq!(recorders.recorder_of(&event("b"), &object("1"), now, || 5), 4);
    }

    #[test]
    fn recorders_of_old_events_are_evicted() {
        let (mut recorders, start) = (Recorders::default(), Instant::now());
        for number in 0..10_000_u32 {
            let now = start + Duration::from_secs(number.into());
            recorders.recorder_of(&event("a"), &object(&number.to_string()), now, || number);
        }
        assert!(recorders.entries.len() < 1000, "{}", recorders.entries.len());
    }
    #[test]
    fn a_namespace_of_many_events_takes_bounded_memory_and_others_are_still_recognised() {
        let (mut recorders, now) = (Recorders::default(), Instant::now());
        let in_namespace =
            |namespace: &str, uid: String| ObjectReference { namespace: Some(namespace.to_owned()), ..object(&uid) };
        for number in 0..10_000_u32 {
            recorders.recorder_of(&event("a"), &in_namespace("flood", number.to_string()), now, || number);
        }
        assert_eq!(recorders.entries.len(), NAMESPACE_ROOM);
        let quiet = in_namespace("quiet", "uid".to_owned());
        assert_eq!(recorders.recorder_of(&event("a"), &quiet, now, || 1), 1);
        assert_eq!(recorders.recorder_of(&event("a"), &quiet, now, || 2), 1);
        let (later, again) = (now + TTL, in_namespace("flood", "again".to_owned()));
        assert_eq!(recorders.recorder_of(&event("a"), &again, later, || 1), 1);
        assert_eq!(recorders.recorder_of(&event("a"), &again, later, || 2), 1, "the old ones are gone");
    }
}
