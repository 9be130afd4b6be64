//! The registry of the workers of all plugins. It dispatches changes of subjects, children and namespaces to them.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use futures::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    index::registration::Registered,
    model::{
        child_version::ChildChange,
        key::PluginKey,
        subject::SubjectKey,
        summary::{SubjectStates, Summary},
    },
};
use plugin_protocol::EventReason;

/// A command to the worker of a plugin.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Enqueue one subject.
    Enqueue(SubjectKey, EventReason),
    /// Enqueue all subjects.
    EnqueueAll(EventReason),
    /// Enqueue the subjects in this namespace.
    EnqueueNamespace(String),
    /// A child of the subject with this uid changed.
    ChildChanged(ChildChange),
    /// Start no further passes, and end when the running ones are complete.
    Finish,
    /// The plugin answers again: retry the failed subjects immediately.
    Recovered,
}

/// The running worker of a plugin.
#[derive(Clone)]
pub(crate) struct WorkerHandle {
    pub(crate) registered: watch::Sender<Arc<Registered>>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    /// `None` until each subject that existed at the start has had a pass.
    pub(crate) summary: watch::Receiver<Option<Summary>>,
    pub(crate) cancel: CancellationToken,
}

/// The workers of all plugins.
#[derive(Default)]
pub(crate) struct Registry(RwLock<HashMap<PluginKey, WorkerHandle>>);

impl Registry {
    pub(crate) fn get(&self, key: &PluginKey) -> Option<WorkerHandle> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Returns the registrations of all workers.
    pub(crate) fn all(&self) -> Vec<Arc<Registered>> {
        let workers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        workers.values().map(|worker| Arc::clone(&worker.registered.borrow())).collect()
    }

    /// Returns the states of the subjects of each plugin, with the plugin's identity, once its first round is complete.
    pub(crate) fn subjects(&self) -> Vec<(String, SubjectStates)> {
        let workers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let states = |worker: &WorkerHandle| worker.summary.borrow().as_ref().map(|summary| summary.subjects.clone());
        let identity = |worker: &WorkerHandle| worker.registered.borrow().identity.clone();
        let mut all: Vec<_> = workers.values().filter_map(|worker| Some((identity(worker), states(worker)?))).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    pub(crate) fn insert(&self, key: PluginKey, worker: WorkerHandle) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, worker);
    }

    /// Stops the plugin's worker. Returns its registration.
    pub(crate) fn remove(&self, key: &PluginKey) -> Option<Arc<Registered>> {
        let worker = self.0.write().unwrap_or_else(PoisonError::into_inner).remove(key)?;
        worker.cancel.cancel();
        Some(Arc::clone(&worker.registered.borrow()))
    }

    /// Makes all workers end when their running passes are complete, and waits for that. If the future is dropped
    /// before, they end immediately.
    pub(crate) async fn finish(&self) {
        let workers: Vec<WorkerHandle> =
            self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let _at_the_latest: Vec<_> = workers.iter().map(|worker| worker.cancel.clone().drop_guard()).collect();
        for worker in &workers {
            let _ = worker.commands.send(Command::Finish);
        }
        join_all(workers.iter().map(|worker| worker.commands.closed())).await;
    }

    /// Enqueues a subject for every plugin that has a rule for its kind. The worker does the rest of the matching,
    /// because it also has to notice subjects that no longer match.
    pub(crate) fn enqueue(&self, key: &SubjectKey, reason: EventReason) {
        for worker in self.0.read().unwrap_or_else(PoisonError::into_inner).values() {
            let registered = Arc::clone(&worker.registered.borrow());
            let selects_kind = registered.spec.subjects.iter().any(|rule| rule.kind == key.kind);
            if selects_kind && registered.serves(Some(&key.namespace)) {
                // An error means that the worker is being stopped.
                let _ = worker.commands.send(Command::Enqueue(key.clone(), reason));
            }
        }
    }

    /// Enqueues the subjects in `namespace` for plugins with a namespaceSelector, after the labels of the namespace
    /// changed.
    pub(crate) fn enqueue_namespace(&self, namespace: &str) {
        for worker in self.0.read().unwrap_or_else(PoisonError::into_inner).values() {
            let registered = Arc::clone(&worker.registered.borrow());
            if registered.matcher.reads_namespaces() && registered.serves(Some(namespace)) {
                let _ = worker.commands.send(Command::EnqueueNamespace(namespace.to_owned()));
            }
        }
    }

    /// Notifies the plugin with this identity that one of its children changed.
    pub(crate) fn child_changed(&self, identity: &str, change: &ChildChange) {
        for worker in self.0.read().unwrap_or_else(PoisonError::into_inner).values() {
            if worker.registered.borrow().identity == identity {
                let _ = worker.commands.send(Command::ChildChanged(change.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, time::Duration};

    use dask_operator_api::{DaskOperatorPluginSpec, SubjectKind};
    use serde_json::json;

    use super::*;
    use crate::{
        client::{Caller, Route},
        index::registration::Registration,
        model::{child_version::ChildName, writer::test_writer},
        selector::matcher::Matcher,
    };
    use plugin_protocol::Hook;

    const OPERATOR: &str = "dask-operator";

    /// Inserts a plugin called `echo` for all Services, with a namespaceSelector.
    fn insert(registry: &Registry, namespace: &str) -> mpsc::UnboundedReceiver<Command> {
        let key = PluginKey { namespace: namespace.to_owned(), name: "echo".to_owned() };
        let spec = json!({
            "endpoint": {"socket": "echo.sock"},
            "subjects": [{"kind": "Service"}],
            "match": {"namespaceSelector": {}},
            "children": [{"apiVersion": "v1", "kind": "ConfigMap"}],
        });
        let spec: DaskOperatorPluginSpec = serde_json::from_value(spec).unwrap();
        let registration = Registration {
            identity: key.identity(OPERATOR),
            key: key.clone(),
            uid: String::new(),
            generation: 1,
            kinds: Vec::new(),
            matcher: Matcher::compile(&spec.match_).unwrap(),
            spec,
            scope: (namespace != OPERATOR).then(|| namespace.to_owned()),
        };
        let registered = Registered {
            registration,
            writer: test_writer(),
            hooks: vec![Hook::Sync],
            version: String::new(),
            caller: Caller::new(&Route::Socket(PathBuf::new()), Duration::from_secs(1)).unwrap(),
            allow_prune: None,
        };
        let (commands, received) = mpsc::unbounded_channel();
        let (registered, summary) = (watch::Sender::new(Arc::new(registered)), watch::channel(None).1);
        registry.insert(key, WorkerHandle { registered, commands, summary, cancel: CancellationToken::new() });
        received
    }

    #[test]
    fn plugins_of_the_same_name_get_only_events_of_their_own() {
        let registry = Registry::default();
        let mut workers = ["dask-operator", "team-a", "team-b"].map(|namespace| insert(&registry, namespace));
        let mut heard = || workers.each_mut().map(|worker| worker.try_recv().is_ok());

        let change = ChildChange {
            namespace: String::new(),
            subject_uid: String::new(),
            child: ChildName { kind: String::new(), name: String::new() },
            state: None,
        };
        for (identity, expected) in
            [("echo", [true, false, false]), ("echo.team-a", [false, true, false]), ("echo.team-c", [false; 3])]
        {
            registry.child_changed(identity, &change);
            assert_eq!(heard(), expected, "{identity}");
        }
        for (namespace, expected) in [("team-b", [true, false, true]), ("team-c", [true, false, false])] {
            registry.enqueue_namespace(namespace);
            assert_eq!(heard(), expected, "{namespace}");
            let key = SubjectKey { kind: SubjectKind::Service, namespace: namespace.to_owned(), name: String::new() };
            registry.enqueue(&key, EventReason::Updated);
            assert_eq!(heard(), expected, "{namespace}");
        }
    }
}
