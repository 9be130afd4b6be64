//! Takes turns between namespaces, so that a namespace with a long queue does not delay the others.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::model::subject::SubjectKey;

/// The waiting subjects by namespace.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    by_namespace: HashMap<String, VecDeque<SubjectKey>>,
    /// The namespaces with waiting subjects, in the order of their turns.
    order: VecDeque<String>,
    waiting: HashSet<SubjectKey>,
}

impl Turns {
    /// Adds a subject. A subject that is already waiting keeps its place.
    pub(crate) fn push(&mut self, key: SubjectKey) {
        if !self.waiting.insert(key.clone()) {
            return;
        }
        let subjects = self.by_namespace.entry(key.namespace.clone()).or_default();
        if subjects.is_empty() {
            self.order.push_back(key.namespace.clone());
        }
        subjects.push_back(key);
    }

    /// Removes and returns the next subject: namespaces take turns, and within a namespace the subject that has waited
    /// longest comes first. Only namespaces for which `may_go` is true are considered.
    pub(crate) fn pop(&mut self, may_go: impl Fn(&str) -> bool) -> Option<SubjectKey> {
        let place = self.order.iter().position(|namespace| may_go(namespace))?;
        let namespace = self.order.remove(place)?;
        let subjects = self.by_namespace.get_mut(&namespace)?;
        let key = subjects.pop_front();
        if subjects.is_empty() {
            self.by_namespace.remove(&namespace);
        } else {
            self.order.push_back(namespace);
        }
        let key = key?;
        self.waiting.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_api::SubjectKind;

    use super::*;

    fn key(namespace: &str, name: usize) -> SubjectKey {
        SubjectKey { kind: SubjectKind::DaskCluster, namespace: namespace.to_owned(), name: name.to_string() }
    }

    fn drain(turns: &mut Turns) -> Vec<String> {
        let next = || turns.pop(|_| true).map(|key| format!("{}{}", key.namespace, key.name));
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_namespace_that_floods_the_queue_does_not_delay_others() {
        let mut turns = Turns::default();
        (0..1000).for_each(|name| turns.push(key("flood", name)));
        turns.push(key("a", 0));
        turns.push(key("b", 0));
        turns.push(key("a", 1));
        let order = drain(&mut turns);
        assert_eq!(order[..6], ["flood0", "a0", "b0", "flood1", "a1", "flood2"]);
        assert_eq!(order.len(), 1003);
    }

    #[test]
    fn a_subject_is_queued_once_until_it_is_taken() {
        let mut turns = Turns::default();
        turns.push(key("a", 0));
        turns.push(key("a", 0));
        assert_eq!(drain(&mut turns), ["a0"]);
        turns.push(key("a", 0));
        assert_eq!(drain(&mut turns), ["a0"]);
    }

    #[test]
    fn namespaces_that_are_skipped_keep_their_turn() {
        let mut turns = Turns::default();
        for (namespace, name) in [("a", 0), ("b", 0), ("a", 1)] {
            turns.push(key(namespace, name));
        }
        assert_eq!(turns.pop(|namespace| namespace != "a"), Some(key("b", 0)));
        assert_eq!(turns.pop(|namespace| namespace != "a"), None);
        assert_eq!(drain(&mut turns), ["a0", "a1"]);
    }
}
