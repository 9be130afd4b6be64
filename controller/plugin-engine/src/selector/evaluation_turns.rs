//! Serialises long computations: one at a time, and one namespace after the other.
//!
//! Code between two `await`s blocks a thread of the runtime. With turns it blocks only one thread, and other tasks run
//! before the next turn. A namespace has one place in the queue, regardless of how much it has to compute.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{sync::Mutex as Turn, task};

/// The queue of namespaces, with a queue of computations for each namespace.
#[derive(Default)]
pub(crate) struct EvaluationTurns {
    namespaces: Mutex<HashMap<String, Arc<Turn<()>>>>,
    all: Turn<()>,
}

impl EvaluationTurns {
    /// Runs `compute` when it is the turn of `namespace`.
    pub(crate) async fn run<T>(&self, namespace: &str, compute: impl FnOnce() -> T) -> T {
        let queue = Queue::of(self, namespace);
        let _own = queue.turn.lock().await;
        let _all = self.all.lock().await;
        let result = compute();
        // Other computations must not begin before the runtime has run other tasks.
        task::yield_now().await;
        result
    }
}

/// The queue of one namespace. It exists as long as a computation waits in it.
struct Queue<'a> {
    turns: &'a EvaluationTurns,
    namespace: &'a str,
    turn: Arc<Turn<()>>,
}

impl<'a> Queue<'a> {
    fn of(turns: &'a EvaluationTurns, namespace: &'a str) -> Self {
        let mut namespaces = turns.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = Arc::clone(namespaces.entry(namespace.to_owned()).or_default());
        Self { turns, namespace, turn }
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        let mut namespaces = self.turns.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        // The two references are this one and the map's.
        if Arc::strong_count(&self.turn) == 2 {
            namespaces.remove(self.namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn a_namespace_that_computes_much_delays_others_by_one_turn() {
        let (turns, order) = (EvaluationTurns::default(), RefCell::new(Vec::new()));
        let (turns_ref, order_ref) = (&turns, &order);
        let one = |namespace: &'static str| turns_ref.run(namespace, move || order_ref.borrow_mut().push(namespace));
        let flood = (0..5).map(|_| one("a")).chain([one("b")]);
        join_all(flood).await;
        assert_eq!(*order.borrow(), ["a", "b", "a", "a", "a", "a"]);
        assert!(turns.namespaces.lock().unwrap().is_empty(), "nothing is left of those that are done");
    }

    #[tokio::test]
    async fn other_tasks_run_between_two_turns() {
        let (turns, order) = (Arc::new(EvaluationTurns::default()), Arc::new(Mutex::new(Vec::new())));
        let turn = |namespace: &'static str| {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            tokio::spawn(async move { turns.run(namespace, || order.lock().unwrap().push("turn")).await })
        };
        let computing = join_all(["a", "b", "a", "c"].map(turn));
        let other = tokio::spawn({
            let order = Arc::clone(&order);
            async move {
                for _ in 0..100 {
                    order.lock().unwrap().push("other");
                    task::yield_now().await;
                }
            }
        });
        computing.await;
        other.await.unwrap();
        let order = order.lock().unwrap();
        assert_eq!(order.iter().filter(|what| **what == "turn").count(), 4);
        assert!(!order.windows(2).any(|two| two == ["turn", "turn"]), "{order:?}");
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_nothing() {
        let turns = EvaluationTurns::default();
        let held = turns.all.lock().await;
        {
            let mut waiting = std::pin::pin!(turns.run("a", || ()));
            assert!(futures::poll!(waiting.as_mut()).is_pending());
        }
        drop(held);
        assert!(turns.namespaces.lock().unwrap().is_empty());
    }
}
