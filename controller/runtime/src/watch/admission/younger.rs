//! Finds the objects of a list in progress that an older one may replace, the youngest first.

use std::{collections::HashSet, iter::Peekable, ops::Bound};

use super::{Candidate, List, Listed, Rank};

/// An object that may be replaced: its namespace, its rank and the bytes that it takes.
type Item<'a> = (&'a String, &'a Rank, usize);

type Items<'a> = Peekable<Box<dyn Iterator<Item = Item<'a>> + 'a>>;

/// Objects that are younger than another one and that no cache holds.
pub(super) struct Younger<'a> {
    /// Those of each namespace.
    namespaces: Vec<Items<'a>>,
}

impl<'a> Younger<'a> {
    /// Returns those of the namespace of `object`.
    pub(super) fn own(list: &'a List, object: &Candidate) -> Self {
        Self::of(list, object, |namespace| *namespace == object.namespace)
    }

    /// Returns those of the namespace of `object` and of the namespaces in `large`.
    pub(super) fn all(list: &'a List, object: &Candidate, large: &HashSet<String>) -> Self {
        Self::of(list, object, |namespace| *namespace == object.namespace || large.contains(namespace))
    }

    fn of(list: &'a List, object: &Candidate, wanted: impl Fn(&String) -> bool) -> Self {
        let rank = object.rank();
        let younger = |(namespace, objects): (&'a String, &'a super::Objects)| {
            // Of two objects that are equally old and have the same name, the namespace decides.
            let after = if *namespace > object.namespace { Bound::Included(&rank) } else { Bound::Excluded(&rank) };
            let range = objects.range((after, Bound::Unbounded)).rev();
            let is_new = |(_, listed): &(&Rank, &Listed)| listed.old == 0;
            let items = range.filter(is_new).map(move |(rank, listed)| (namespace, rank, listed.bytes));
            (Box::new(items) as Box<dyn Iterator<Item = Item<'a>> + 'a>).peekable()
        };
        Self { namespaces: list.iter().filter(|(namespace, _)| wanted(namespace)).map(younger).collect() }
    }
}

impl<'a> Iterator for Younger<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let ahead = self.namespaces.iter_mut().filter_map(|objects| {
            let (namespace, rank, _) = *objects.peek()?;
            Some((rank, namespace, objects))
        });
        ahead.max_by_key(|(rank, namespace, _)| (*rank, *namespace))?.2.next()
    }
}
