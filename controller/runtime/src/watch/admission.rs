//! Decides which objects of one watch are held, if there are more than the memory budget allows.
//!
//! Whatever is held stays held until it is deleted: nothing that another object does removes it. An object that does not
//! fit waits, and is admitted as soon as there is room for it. So two objects never take turns, and no object waits
//! while there is room. After a start, the order of a list would decide. There, an older object replaces younger ones
//! of the same list, so that what worked before the start works after it. It replaces those of its own namespace and,
//! if all namespaces together have too much, those of other namespaces that are not small.

mod younger;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use self::younger::Younger;
use super::{
    memory_budget::{Charges, MemoryBudget},
    memory_limits::{MemoryLimits, Shortage},
};

/// The number of objects that one object of a list may replace. A pod takes a hundredth of what the largest object may.
const REPLACED: usize = 200;

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
type List = HashMap<String, Objects>;
type Objects = BTreeMap<Rank, Listed>;

/// The decision about an object of a list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is held. These younger objects of the same list are not held any more.
    Held(Vec<Replaced>),
    /// It is not held.
    LeftOut(Shortage),
}

/// An object of a list in progress that an older one replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) shortage: Shortage,
    bytes: usize,
    rank: Rank,
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

    /// Returns the limits of the budget.
    pub(crate) fn limits(&self) -> &MemoryLimits {
        self.charges.limits()
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
        let replaced = match self.replaced(part, object, old) {
            Ok(replaced) => replaced,
            Err(shortage) => return Decision::LeftOut(shortage),
        };
        let list = self.lists.entry(part.map(str::to_owned)).or_default();
        for Replaced { namespace, bytes, rank, .. } in &replaced {
            if list.get_mut(namespace).is_some_and(|objects| objects.remove(rank).is_some()) {
                self.charges.set(namespace, *bytes, 0);
            }
        }
        self.charges.set(&object.namespace, old, object.bytes);
        let objects = list.entry(object.namespace.clone()).or_default();
        objects.insert(object.rank(), Listed { old, bytes: object.bytes });
        Decision::Held(replaced)
    }

    /// Returns the objects of the same list that have to be replaced so that there is room for `object`, the youngest
    /// first. There must be none among them that is older, or that the cache holds.
    fn replaced(&self, part: Option<&str>, object: &Candidate, old: usize) -> Result<Vec<Replaced>, Shortage> {
        let (limits, mut usage) = (self.charges.limits(), self.charges.usage(&object.namespace));
        let Err(mut shortage) = limits.check(usage, old, object.bytes) else { return Ok(Vec::new()) };
        let list = self.lists.get(&part.map(str::to_owned)).ok_or(shortage)?;
        let large = self.charges.large();
        let (mut own, mut all) = (Younger::own(list, object), Younger::all(list, object, &large));
        let mut replaced: Vec<Replaced> = Vec::new();
        while replaced.len() < REPLACED {
            let next = match shortage {
                Shortage::Namespace => own.next(),
                Shortage::Total => all.next(),
            };
            let (namespace, rank, bytes) = next.ok_or(shortage)?;
            let is_known = replaced.iter().any(|other| (&other.namespace, &other.rank) == (namespace, rank));
            if is_known {
                continue;
            }
            usage.total = usage.total.saturating_sub(bytes);
            if *namespace == object.namespace {
                usage.namespace = usage.namespace.saturating_sub(bytes);
            }
            let (namespace, name) = (namespace.clone(), rank.1.clone());
            replaced.push(Replaced { namespace, name, shortage, bytes, rank: rank.clone() });
            match limits.check(usage, old, object.bytes) {
                Ok(()) => return Ok(replaced),
                Err(other) => shortage = other,
            }
        }
        Err(shortage)
    }

    /// Ends a list. What it has charged stays charged.
    pub(crate) fn end_list(&mut self, part: Option<&str>) {
        self.lists.remove(&part.map(str::to_owned));
    }

    /// Returns whether a list of `part` is in progress.
    pub(crate) fn is_listing(&self, part: Option<&str>) -> bool {
        self.lists.contains_key(&part.map(str::to_owned))
    }

    /// Decides about an object that was created or changed. The version in the cache takes `old` bytes. The object is
    /// held unless there is a shortage.
    pub(crate) fn apply(&mut self, object: &Candidate, old: usize) -> Result<(), Shortage> {
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
    /// version in the cache. Namespaces take turns, those that use the least first.
    pub(crate) fn fitting(&self, count: usize, old: impl Fn(&Candidate) -> usize) -> Vec<Candidate> {
        let limits = self.charges.limits();
        let mut found: Vec<(usize, usize, &Candidate)> = Vec::new();
        for (namespace, objects) in &self.waiting {
            let mut usage = self.charges.usage(namespace);
            let before = usage.namespace;
            let fits = |object: &&Candidate| limits.check(usage, old(object), object.bytes).is_ok();
            let mut fitting: Vec<&Candidate> = objects.values().filter(fits).collect();
            fitting.sort_by_cached_key(|object| object.rank());
            for (turn, object) in fitting.into_iter().enumerate().take(count) {
                let old = old(object);
                if limits.check(usage, old, object.bytes).is_ok() {
                    usage = usage.replace(old, object.bytes);
                    found.push((turn, before, object));
                }
            }
        }
        found.sort_by_key(|(turn, used, _)| (*turn, *used));
        found.into_iter().take(count).map(|(_, _, object)| object.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
