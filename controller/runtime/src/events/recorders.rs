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

/// What two Events with the same text have in common. The object is known by its uid, or by its name if it has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
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
}

impl<R> Default for Recorders<R> {
    fn default() -> Self {
        Self { entries: HashMap::new(), room: ROOM }
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
        if self.entries.len() >= self.room {
            self.entries.retain(|_, entry| now.duration_since(entry.used) < TTL);
            self.room = (self.entries.len() * 2).max(ROOM);
        }
        let key = Key {
            object: object.uid.clone().or_else(|| object.name.clone()).unwrap_or_default(),
            is_warning: event.type_ == EventType::Warning,
            reason: event.reason.clone(),
            action: event.action.clone(),
        };
        match self.entries.get_mut(&key) {
            Some(entry) if entry.note == event.note => {
                entry.used = now;
                entry.recorder.clone()
            }
            _ => {
                let recorder = new();
                let entry = Entry { note: event.note.clone(), recorder: recorder.clone(), used: now };
                self.entries.insert(key, entry);
                recorder
            }
        }
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
}
