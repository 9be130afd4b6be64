//! Decides which objects of one watch are held, if a namespace has more than its memory budget allows.
//!
//! Whatever is held stays held until it is deleted: nothing that another object does removes it. An object that does not
//! fit waits, and is admitted as soon as there is room for it. So two objects never take turns, and no object waits
//! while there is room. After a start, the order of a list would decide. There, an older object replaces younger ones
//! of the same list, so that what worked before the start works after it.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::memory_budget::{Charges, MemoryBudget};

/// An object that asks for memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) resource_version: Option<String>,
    /// When the object was created.
    pub(crate) created: Option<Timestamp>,
    /// The bytes that it takes.
    pub(crate) bytes: usize,
}

impl Candidate {
    fn rank(&self) -> Rank {
        (self.created, self.name.clone())
    }
}

/// The order of objects in a namespace: the oldest first.
type Rank = (Option<Timestamp>, String);

/// What a list has charged for one of its objects.
#[derive(Debug)]
struct Listed {
    /// The bytes that the version in the cache takes, or 0 if there is none.
    old: usize,
    bytes: usize,
}

/// The objects of a list in progress that have been admitted, by namespace.
type List = HashMap<String, BTreeMap<Rank, Listed>>;

/// The decision about an object of a list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is held. The younger objects of the same list with these names are not held any more.
    Held(Vec<String>),
    /// It is not held.
    LeftOut,
}

/// The objects of one watch that are held, and those that wait for room.
#[derive(Debug)]
pub(crate) struct Admission {
    charges: Charges,
    /// The lists in progress, each of one namespace or of all.
    lists: HashMap<Option<String>, List>,
    waiting: HashMap<String, HashMap<String, Candidate>>,
}

impl Admission {
    pub(crate) fn new(budget: MemoryBudget) -> Self {
        Self { charges: Charges::new(budget), lists: HashMap::new(), waiting: HashMap::new() }
    }

    /// Returns the number of bytes that each namespace may use.
    pub(crate) fn limit(&self) -> usize {
        self.charges.limit()
    }

    /// Begins a list of the namespace `part`, or of all. The list in progress, if any, was abandoned.
    pub(crate) fn begin_list(&mut self, part: Option<&str>) {
        let abandoned = self.lists.insert(part.map(str::to_owned), List::new()).unwrap_or_default();
        for (namespace, objects) in &abandoned {
            for Listed { old, bytes } in objects.values() {
                self.charges.set(namespace, *bytes, *old);
            }
        }
        self.waiting.retain(|namespace, _| part.is_some_and(|part| part != namespace));
    }

    /// Decides about an object of a list in progress. The version in the cache takes `old` bytes.
    pub(crate) fn list(&mut self, part: Option<&str>, object: &Candidate, old: usize) -> Decision {
        let (namespace, bytes) = (object.namespace.as_str(), object.bytes);
        let list = self.lists.entry(part.map(str::to_owned)).or_default();
        let objects = list.entry(namespace.to_owned()).or_default();
        let mut missing = bytes.saturating_sub(old).saturating_sub(self.charges.room(namespace));
        let mut replaced = Vec::new();
        for (rank, listed) in objects.range(object.rank()..).rev().filter(|(_, listed)| listed.old == 0) {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(listed.bytes);
            replaced.push(rank.clone());
        }
        if missing > 0 {
            return Decision::LeftOut;
        }
        for rank in &replaced {
            if let Some(listed) = objects.remove(rank) {
                self.charges.set(namespace, listed.bytes, 0);
            }
        }
        self.charges.set(namespace, old, bytes);
        objects.insert(object.rank(), Listed { old, bytes });
        Decision::Held(replaced.into_iter().map(|(_, name)| name).collect())
    }

    /// Ends a list. What it has charged stays charged.
    pub(crate) fn end_list(&mut self, part: Option<&str>) {
        self.lists.remove(&part.map(str::to_owned));
    }

    /// Returns whether a list of `part` is in progress.
    pub(crate) fn is_listing(&self, part: Option<&str>) -> bool {
        self.lists.contains_key(&part.map(str::to_owned))
    }

    /// Decides about an object that was created or changed. The version in the cache takes `old` bytes. Returns whether
    /// the object is held.
    pub(crate) fn apply(&mut self, object: &Candidate, old: usize) -> bool {
        self.charges.replace(&object.namespace, old, object.bytes)
    }

    /// Gives back the bytes of an object that the cache does not hold any more.
    pub(crate) fn release(&mut self, namespace: &str, bytes: usize) {
        self.charges.set(namespace, bytes, 0);
    }

    /// Records that an object waits for room.
    pub(crate) fn wait(&mut self, object: Candidate) {
        self.waiting.entry(object.namespace.clone()).or_default().insert(object.name.clone(), object);
    }

    /// Forgets an object that does not wait any more.
    pub(crate) fn forget(&mut self, namespace: &str, name: &str) {
        if let Some(objects) = self.waiting.get_mut(namespace) {
            objects.remove(name);
            if objects.is_empty() {
                self.waiting.remove(namespace);
            }
        }
    }

    /// Returns whether any object waits.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns whether this version of the object waits.
    pub(crate) fn is_waiting(&self, object: &Candidate) -> bool {
        self.waiting.get(&object.namespace).and_then(|objects| objects.get(&object.name)) == Some(object)
    }

    /// Returns at most `count` waiting objects for which there is room, the oldest first. `old` returns the bytes of the
    /// version in the cache. Namespaces take turns.
    pub(crate) fn fitting(&self, count: usize, old: impl Fn(&Candidate) -> usize) -> Vec<Candidate> {
        let mut found: Vec<(usize, &Candidate)> = Vec::new();
        for (namespace, objects) in &self.waiting {
            let mut room = self.charges.room(namespace);
            let needed = |object: &Candidate| object.bytes.saturating_sub(old(object));
            let mut fitting: Vec<&Candidate> = objects.values().filter(|object| needed(object) <= room).collect();
            fitting.sort_by_cached_key(|object| object.rank());
            for (turn, object) in fitting.into_iter().enumerate().take(count) {
                if let Some(rest) = room.checked_sub(needed(object)) {
                    room = rest;
                    found.push((turn, object));
                }
            }
        }
        found.sort_by_key(|(turn, _)| *turn);
        found.into_iter().take(count).map(|(_, object)| object.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 100;

    fn admission() -> Admission {
        Admission::new(MemoryBudget::new(LIMIT))
    }

    fn object(name: &str, created: i64, bytes: usize) -> Candidate {
        Candidate {
            namespace: "ns".to_owned(),
            name: name.to_owned(),
            resource_version: Some("1".to_owned()),
            created: Some(Timestamp::from_second(created).unwrap()),
            bytes,
        }
    }

    /// Returns the names of the objects that a list in this order leaves in the cache.
    fn listed(admission: &mut Admission, objects: &[Candidate]) -> Vec<String> {
        let mut held: Vec<String> = Vec::new();
        admission.begin_list(None);
        for object in objects {
            if let Decision::Held(replaced) = admission.list(None, object, 0) {
                held.retain(|name| !replaced.contains(name));
                held.push(object.name.clone());
            }
        }
        admission.end_list(None);
        held.sort();
        held
    }

    fn fitting(admission: &Admission) -> Vec<String> {
        admission.fitting(10, |_| 0).into_iter().map(|object| object.name).collect()
    }

    #[test]
    fn whatever_the_order_of_a_list_the_oldest_objects_are_held() {
        let objects = [object("a", 9, 40), object("b", 1, 30), object("c", 3, 30), object("d", 2, 30)];
        let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]];
        for order in orders {
            let mut admission = admission();
            let objects = order.map(|index| objects[index].clone());
            assert_eq!(listed(&mut admission, &objects), ["b", "c", "d"], "{order:?}");
            assert_eq!(admission.charges.room("ns"), 10);
        }
    }

    #[test]
    fn an_object_that_cannot_fit_replaces_nothing() {
        let mut admission = admission();
        let objects = [object("young", 9, 60), object("huge", 1, 101)];
        assert_eq!(listed(&mut admission, &objects), ["young"]);
        assert_eq!(admission.charges.room("ns"), 40);
    }

    /// Otherwise two objects could replace each other for ever.
    #[test]
    fn what_is_held_stays_when_an_older_object_is_changed_or_listed_again() {
        let mut admission = admission();
        assert!(admission.apply(&object("young", 9, 60), 0));
        assert!(!admission.apply(&object("old", 1, 60), 0));
        admission.begin_list(None);
        assert_eq!(admission.list(None, &object("young", 9, 60), 60), Decision::Held(vec![]));
        assert_eq!(admission.list(None, &object("old", 1, 60), 0), Decision::LeftOut);
    }

    #[test]
    fn a_list_that_is_abandoned_charges_nothing() {
        let mut admission = admission();
        assert!(admission.apply(&object("known", 1, 50), 0));
        admission.begin_list(None);
        assert_eq!(admission.list(None, &object("known", 1, 70), 50), Decision::Held(vec![]));
        assert_eq!(admission.list(None, &object("new", 2, 30), 0), Decision::Held(vec![]));
        assert_eq!(admission.charges.room("ns"), 0);
        admission.begin_list(None);
        assert_eq!(admission.charges.room("ns"), 50);
    }

    #[test]
    fn an_object_that_waits_gets_the_room_that_others_give_back() {
        let mut admission = admission();
        assert!(admission.apply(&object("held", 1, 60), 0));
        for waiting in [object("large", 2, 60), object("small", 3, 50), object("tiny", 4, 40)] {
            admission.wait(waiting);
        }
        assert_eq!(fitting(&admission), ["tiny"]);
        admission.release("ns", 60);
        assert_eq!(fitting(&admission), ["large", "tiny"], "the oldest first, and what fits beside it");
        admission.forget("ns", "large");
        assert_eq!(fitting(&admission), ["small", "tiny"]);
        admission.forget("ns", "small");
        admission.forget("ns", "tiny");
        assert!(!admission.has_waiting());
    }

    #[test]
    fn namespaces_take_turns_when_there_is_room() {
        let mut admission = admission();
        let in_other = |name: &str| Candidate { namespace: "other".to_owned(), ..object(name, 5, 10) };
        for number in 0..5 {
            admission.wait(object(&format!("a{number}"), number, 10));
        }
        admission.wait(in_other("b"));
        let first: Vec<String> = admission.fitting(2, |_| 0).into_iter().map(|object| object.namespace).collect();
        assert!(first.contains(&"other".to_owned()), "{first:?}");
    }

    #[test]
    fn a_list_of_one_namespace_forgets_what_waits_there_only() {
        let mut admission = admission();
        admission.wait(object("a", 1, 200));
        admission.wait(Candidate { namespace: "other".to_owned(), ..object("b", 1, 200) });
        admission.begin_list(Some("ns"));
        let waiting: Vec<&String> = admission.waiting.keys().collect();
        assert_eq!(waiting, ["other"]);
        assert!(admission.is_listing(Some("ns")) && !admission.is_listing(Some("other")));
    }
}
