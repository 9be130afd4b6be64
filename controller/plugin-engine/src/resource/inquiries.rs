//! Runs inquiries about plugins outside of the reconciler, so that a plugin that accepts a connection and never answers
//! does not occupy one of the reconciler's passes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use operator_runtime::fair_share::FairShare;
use tokio::task::AbortHandle;

use crate::model::key::PluginKey;

/// How many inquiries run at the same time. A single namespace gets half of them, because an inquiry mostly waits.
const PARALLEL: usize = 128;

/// At most one inquiry for each plugin; the slots are shared among namespaces. Clones share the content.
pub(crate) struct Inquiries<T>(Arc<Inner<T>>);

struct Inner<T> {
    share: FairShare,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// The number of the latest inquiry.
    last: u64,
    inquiries: HashMap<PluginKey, Inquiry<T>>,
}

enum Inquiry<T> {
    InquirySlot { number: u64, task: AbortHandle },
    Answered(T),
}

impl<T> Default for Inquiries<T> {
    fn default() -> Self {
        let state = Mutex::new(State { last: 0, inquiries: HashMap::new() });
        Self(Arc::new(Inner { share: FairShare::new(PARALLEL), state }))
    }
}

impl<T: Send + 'static> Inquiries<T> {
    /// Runs `inquiry` when its namespace gets a slot, and calls `then` when it has an answer. A running inquiry about
    /// the same plugin is aborted. Must be called within the runtime.
    pub(crate) fn begin(
        &self,
        key: &PluginKey,
        inquiry: impl Future<Output = T> + Send + 'static,
        then: impl FnOnce() + Send + 'static,
    ) {
        let mut state = self.0.lock();
        state.last += 1;
        let number = state.last;
        let (inner, plugin) = (Arc::clone(&self.0), key.clone());
        let task = tokio::spawn(async move {
            let slot = inner.share.acquire(&plugin.namespace).await;
            let answer = inquiry.await;
            drop(slot);
            if inner.answer(&plugin, number, answer) {
                then();
            }
        });
        let begun = Inquiry::InquirySlot { number, task: task.abort_handle() };
        if let Some(Inquiry::InquirySlot { task, .. }) = state.inquiries.insert(key.clone(), begun) {
            task.abort();
        }
    }

    /// Returns whether an inquiry is running.
    pub(crate) fn is_under_way(&self, key: &PluginKey) -> bool {
        // A task that has finished without an answer has panicked.
        matches!(self.0.lock().inquiries.get(key), Some(Inquiry::InquirySlot { task, .. }) if !task.is_finished())
    }

    /// Takes the answer, if there is one.
    pub(crate) fn take(&self, key: &PluginKey) -> Option<T> {
        let mut state = self.0.lock();
        match state.inquiries.remove(key)? {
            Inquiry::Answered(answer) => Some(answer),
            under_way @ Inquiry::InquirySlot { .. } => {
                state.inquiries.insert(key.clone(), under_way);
                None
            }
        }
    }

    /// Aborts the inquiry about a plugin that is gone, and drops its answer.
    pub(crate) fn forget(&self, key: &PluginKey) {
        if let Some(Inquiry::InquirySlot { task, .. }) = self.0.lock().inquiries.remove(key) {
            task.abort();
        }
    }
}

impl<T> Inner<T> {
    /// Stores the answer, unless the inquiry has been superseded. Returns whether it was stored.
    fn answer(&self, key: &PluginKey, number: u64, answer: T) -> bool {
        let mut state = self.lock();
        let is_awaited = matches!(state.inquiries.get(key), Some(Inquiry::InquirySlot { number: awaited, .. }) if *awaited == number);
        if is_awaited {
            state.inquiries.insert(key.clone(), Inquiry::Answered(answer));
        }
        is_awaited
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn key(namespace: &str, name: &str) -> PluginKey {
        PluginKey { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Begins an inquiry that returns `answer`. The receiver resolves when it has ended.
    fn begin(
        inquiries: &Inquiries<u32>,
        key: &PluginKey,
        answer: impl Future<Output = u32> + Send + 'static,
    ) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        inquiries.begin(key, answer, move || sender.send(()).unwrap());
        receiver
    }

    #[tokio::test]
    async fn plugins_that_never_respond_do_not_delay_those_of_other_namespaces() {
        let inquiries = Inquiries::default();
        for number in 0..10_000 {
            drop(begin(&inquiries, &key("team-a", &number.to_string()), std::future::pending()));
        }
        for namespace in ["team-b", "team-c"] {
            let plugin = key(namespace, "echo");
            begin(&inquiries, &plugin, async { 7 }).await.unwrap();
            assert_eq!((inquiries.take(&plugin), inquiries.take(&plugin)), (Some(7), None));
        }
    }

    #[tokio::test]
    async fn the_result_about_a_plugin_that_is_gone_is_dropped() {
        let inquiries = Inquiries::default();
        let hangs = |number: usize| key("team-a", &number.to_string());
        for number in 0..PARALLEL {
            drop(begin(&inquiries, &hangs(number), std::future::pending()));
        }
        assert!(inquiries.is_under_way(&hangs(0)));
        (0..PARALLEL).for_each(|number| inquiries.forget(&hangs(number)));
        assert!(!inquiries.is_under_way(&hangs(0)));
        let plugin = key("team-a", "echo");
        begin(&inquiries, &plugin, async { 1 }).await.unwrap();
        inquiries.forget(&plugin);
        assert_eq!(inquiries.take(&plugin), None);
        assert!(inquiries.0.lock().inquiries.is_empty());
    }
}
