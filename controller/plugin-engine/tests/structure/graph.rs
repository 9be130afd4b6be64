//! Finds circles in the imports of a crate.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::imports::Import;

/// The files and folders of a crate by module, with the siblings that each imports.
///
/// Only siblings are compared: files and subfolders of one folder. A circle through several folders is one of siblings in
/// the folder that contains them all. A child may use the types of its parent, so imports of parents do not count.
pub(crate) struct Siblings(BTreeMap<String, BTreeSet<String>>);

impl Siblings {
    pub(crate) fn of(imports: &[Import]) -> Self {
        let mut siblings: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for Import { from, to } in imports {
            let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
            if shared < from.len() && shared < to.len() {
                siblings.entry(from[..=shared].join("::")).or_default().insert(to[..=shared].join("::"));
            }
        }
        Self(siblings)
    }

    /// Returns the shortest circle through each import.
    pub(crate) fn circles(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (from, targets) in &self.0 {
            for to in targets {
                let Some(mut circle) = self.shortest_path(to, from) else { continue };
                let first = circle.iter().enumerate().min_by_key(|(_, module)| **module).map_or(0, |(at, _)| at);
                circle.rotate_left(first);
                circle.push(circle[0]);
                found.insert(circle.join(" -> "));
            }
        }
        found
    }

    /// Returns the modules on the shortest path from `from` to `to`.
    fn shortest_path<'a>(&'a self, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
        let mut paths = VecDeque::from([vec![from]]);
        let mut visited = BTreeSet::from([from]);
        while let Some(path) = paths.pop_front() {
            let last = *path.last()?;
            if last == to {
                return Some(path);
            }
            for next in self.0.get(last).into_iter().flatten() {
                if visited.insert(next) {
                    paths.push_back([path.as_slice(), &[next.as_str()]].concat());
                }
            }
        }
        None
    }
}

#[test]
fn a_circle_through_two_folders_is_found() {
    let import = |from: &[&str], to: &[&str]| {
        let [from, to] = [from, to].map(|module| module.iter().map(|name| (*name).to_owned()).collect());
        Import { from, to }
    };
    let parents = [import(&["a"], &["a", "b"]), import(&["a", "b"], &["a"])];
    assert!(Siblings::of(&parents).circles().is_empty());
    let folders = [parents.as_slice(), &[import(&["a", "b"], &["c", "d"]), import(&["c", "e"], &["a"])]].concat();
    assert_eq!(Siblings::of(&folders).circles(), BTreeSet::from(["a -> c -> a".to_owned()]));
}
