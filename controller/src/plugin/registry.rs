//! The plugins that subjects are matched against.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    ops::Deref,
    sync::{Arc, PoisonError, RwLock},
};

use dask_operator_api::{DaskOperatorPluginSpec, SubjectKind, SubjectRule};
use futures::future::join_all;
use kube::{Resource, ResourceExt as _, api::DynamicObject, core::ApiResource};
use plugin_protocol::{EventReason, Hook};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    client::Caller,
    expression::{Subject, Variables},
    kinds::ChildKind,
    matcher::{Matcher, Undecided},
    subject::{self, SubjectKey},
    summary::Summary,
    watches::WatchKey,
    writer::Writer,
};

/// A label's value has at most so many characters.
const MAX_IDENTITY: usize = 63;
/// Hex digits of the hash that a cut identity ends in: 128 bits.
const IDENTITY_HASH: usize = 32;

/// A plugin resource by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PluginKey {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl PluginKey {
    /// A label's value: the name, and for plugins outside of the operator's namespace theirs too, so that two of
    /// one name are not taken for each other.
    ///
    /// An identity that is cut has exactly [`MAX_IDENTITY`] characters, and one that is not cut has fewer. So no
    /// plugin and no namespace can be named such that their identity is the cut one of another plugin. A character
    /// that no name has would separate them too, but identities are also the domains of condition types.
    pub(super) fn identity(&self, operator_namespace: &str) -> String {
        if self.namespace == operator_namespace {
            return self.name.clone();
        }
        let whole = format!("{}.{}", self.name, self.namespace);
        if whole.len() < MAX_IDENTITY {
            return whole;
        }
        let kept: String = whole.chars().take(MAX_IDENTITY - IDENTITY_HASH - 1).collect();
        let kept = kept.trim_end_matches(['-', '.']);
        // More digits take the place of what was trimmed.
        let digits = MAX_IDENTITY - kept.len() - 1;
        let hash: String = hex::encode(Sha256::digest(&whole)).chars().take(digits).collect();
        format!("{kept}.{hash}")
    }
}

/// What a plugin is asked about, and what it may answer: all that decisions need.
#[derive(Clone, Debug)]
pub(super) struct Registration {
    pub(super) key: PluginKey,
    /// Its name in labels, field managers and statuses: [`PluginKey::identity`].
    pub(super) identity: String,
    pub(super) uid: String,
    pub(super) generation: i64,
    pub(super) spec: DaskOperatorPluginSpec,
    pub(super) kinds: Vec<ChildKind>,
    pub(super) matcher: Matcher,
    /// The namespace whose subjects it is asked about, unless all that are watched.
    pub(super) scope: Option<String>,
}

/// A plugin that is accepted, discovered and authorised: what its worker works by.
#[derive(Clone, Debug)]
pub(super) struct Registered {
    pub(super) registration: Registration,
    /// Who writes and watches its children.
    pub(super) writer: Writer,
    pub(super) hooks: Vec<Hook>,
    pub(super) version: String,
    pub(super) caller: Caller,
    /// A person's word that children may go: the value of [`super::brake::ALLOW_ANNOTATION`].
    pub(super) allow_prune: Option<String>,
}

impl Deref for Registered {
    type Target = Registration;

    fn deref(&self) -> &Registration {
        &self.registration
    }
}

impl Registration {
    /// The subject rules for objects of this kind and component.
    pub(super) fn rules_for<'a>(
        &'a self,
        kind: SubjectKind,
        component: Option<&'a str>,
    ) -> impl Iterator<Item = &'a SubjectRule> {
        self.spec.subjects.iter().filter(move |rule| {
            rule.kind == kind && rule.component.as_deref().is_none_or(|wanted| component == Some(wanted))
        })
    }

    /// Whether the plugin is asked about `object`, as far as that alone can tell.
    pub(super) fn matches(&self, kind: SubjectKind, object: &impl Resource) -> bool {
        self.serves(object.namespace().as_deref())
            && self.rules_for(kind, subject::component(kind, object)).next().is_some()
            && self.matcher.selects(object)
    }

    /// Whether the plugin is asked about subjects in `namespace`.
    pub(super) fn serves(&self, namespace: Option<&str>) -> bool {
        self.scope.is_none() || self.scope.as_deref() == namespace
    }

    /// What the conditions say of `object`, below `owner`.
    pub(super) fn decide(
        &self,
        (kind, object): (SubjectKind, &DynamicObject),
        (owner_kind, owner): (SubjectKind, &DynamicObject),
    ) -> Result<bool, Undecided> {
        if !self.matcher.has_conditions() {
            return Ok(true);
        }
        let component = subject::component(kind, object);
        let object = Subject::new(object, subject::api_resource(kind));
        let owner = Subject::new(owner, subject::api_resource(owner_kind));
        self.matcher.decide(&Variables::new(&object, &owner, component))
    }
}

impl Registered {
    /// Returns the watches of children that the plugin needs.
    pub(super) fn watches(&self) -> impl Iterator<Item = WatchKey> {
        self.kinds.iter().map(|kind| WatchKey { writer: self.writer.key(), resource: kind.resource.clone() })
    }

    /// Whether going on with `other` needs another look at every subject.
    pub(super) fn asks_differently(&self, other: &Self) -> bool {
        (&self.uid, self.generation, &self.version) != (&other.uid, other.generation, &other.version)
            || self.kinds != other.kinds
            || self.hooks != other.hooks
    }
}

/// What a plugin's worker is told.
#[derive(Clone, Debug)]
pub(super) enum Command {
    /// Look at one subject.
    Look(SubjectKey, EventReason),
    /// Look at all subjects.
    LookAtAll(EventReason),
    /// Look at the subjects in this namespace.
    LookInto(String),
    /// A child of the subject with this uid changed.
    ChildChanged(ChildChange),
    /// Begin nothing more, and end when what is under way is done.
    Finish,
    /// The plugin answers again: repeat at once what failed.
    Recovered,
}

/// `plural.group` and name of a child within its namespace.
pub(super) type ChildName = (String, String);

/// The name of a child in whatever version of its kind.
pub(super) fn child_name(resource: &ApiResource, name: &str) -> ChildName {
    (format!("{}.{}", resource.plural, resource.group), name.to_owned())
}

/// What the watch said of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChildChange {
    pub(super) subject_uid: String,
    pub(super) child: ChildName,
    /// What it is now; `None` if it is gone.
    pub(super) state: Option<ChildVersion>,
}

/// Tells our own writes from those of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChildVersion {
    pub(super) uid: String,
    pub(super) generation: Option<i64>,
    pub(super) resource_version: Option<String>,
    /// Hash of labels and annotations, whose changes do not move the generation.
    pub(super) decoration: u64,
}

impl ChildVersion {
    pub(super) fn of(object: &impl kube::Resource) -> Self {
        Self {
            uid: object.uid().unwrap_or_default(),
            generation: object.meta().generation,
            resource_version: object.resource_version(),
            decoration: decoration(object),
        }
    }

    /// Whether somebody else may have changed more than the status since `self` was written. Kinds that have no
    /// generation cannot tell, and count each change: a dry run shows what it was.
    pub(super) fn drifted_to(&self, now: &Self) -> bool {
        if self.uid != now.uid {
            return true;
        }
        if now.is_before(self) {
            return false;
        }
        match (self.generation, now.generation) {
            (Some(before), Some(generation)) if before != 0 => {
                before != generation || self.decoration != now.decoration
            }
            _ => self.resource_version != now.resource_version,
        }
    }

    /// Whether this is an older state of the same object, as watches tell of them late. Resource versions of one
    /// kind are decimal numbers that grow (Kubernetes 1.35); where they are none, nothing is known.
    fn is_before(&self, other: &Self) -> bool {
        let number = |version: &Self| version.resource_version.as_deref().and_then(|text| text.parse::<u128>().ok());
        number(self).zip(number(other)).is_some_and(|(mine, others)| mine < others)
    }
}

fn decoration(object: &impl kube::Resource) -> u64 {
    let mut hasher = DefaultHasher::new();
    (object.labels(), object.annotations()).hash(&mut hasher);
    hasher.finish()
}

/// The running worker of a plugin.
#[derive(Clone)]
pub(super) struct WorkerHandle {
    pub(super) registered: watch::Sender<Arc<Registered>>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    /// Nothing until each subject that there was at the start has been looked at once.
    pub(super) summary: watch::Receiver<Option<Summary>>,
    pub(super) cancel: CancellationToken,
}

/// All workers.
#[derive(Default)]
pub(super) struct Registry(RwLock<HashMap<PluginKey, WorkerHandle>>);

impl Registry {
    pub(super) fn get(&self, key: &PluginKey) -> Option<WorkerHandle> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Returns what all workers work by.
    pub(super) fn all(&self) -> Vec<Arc<Registered>> {
        let workers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        workers.values().map(|worker| Arc::clone(&worker.registered.borrow())).collect()
    }

    pub(super) fn insert(&self, key: PluginKey, worker: WorkerHandle) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, worker);
    }

    /// Stops the plugin's worker.
    pub(super) fn remove(&self, key: &PluginKey) -> Option<Arc<Registered>> {
        let worker = self.0.write().unwrap_or_else(PoisonError::into_inner).remove(key)?;
        worker.cancel.cancel();
        Some(Arc::clone(&worker.registered.borrow()))
    }

    /// Has all workers end when what is under way is done, and waits for that. If this is dropped before, they end
    /// at once.
    pub(super) async fn finish(&self) {
        let workers: Vec<WorkerHandle> =
            self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let _at_the_latest: Vec<_> = workers.iter().map(|worker| worker.cancel.clone().drop_guard()).collect();
        for worker in &workers {
            let _ = worker.commands.send(Command::Finish);
        }
        join_all(workers.iter().map(|worker| worker.commands.closed())).await;
    }

    /// Tells every plugin that has a rule for `kind` to look at a subject. The worker does the rest of
    /// the matching: it also has to notice subjects that match no longer.
    pub(super) fn look(&self, key: &SubjectKey, reason: EventReason) {
        for worker in self.0.read().unwrap_or_else(PoisonError::into_inner).values() {
            let registered = Arc::clone(&worker.registered.borrow());
            let asks = registered.spec.subjects.iter().any(|rule| rule.kind == key.kind);
            if asks && registered.serves(Some(&key.namespace)) {
                // An error means that the worker is being stopped.
                let _ = worker.commands.send(Command::Look(key.clone(), reason));
            }
        }
    }

    /// Tells the plugins that go by labels of namespaces that those of `namespace` changed.
    pub(super) fn look_into(&self, namespace: &str) {
        for worker in self.0.read().unwrap_or_else(PoisonError::into_inner).values() {
            let registered = Arc::clone(&worker.registered.borrow());
            if registered.matcher.reads_namespaces() && registered.serves(Some(namespace)) {
                let _ = worker.commands.send(Command::LookInto(namespace.to_owned()));
            }
        }
    }

    /// Tells the plugin with this identity that one of its children changed.
    pub(super) fn child_changed(&self, identity: &str, change: &ChildChange) {
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

    use serde_json::json;

    use super::*;
    use crate::plugin::{client::Route, writer::test_writer};

    const OPERATOR: &str = "dask-operator";

    /// A plugin called `echo` for all Services, that goes by labels of namespaces.
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
    fn plugins_of_one_name_hear_of_their_own_children_and_namespaces_only() {
        let registry = Registry::default();
        let mut workers = ["dask-operator", "team-a", "team-b"].map(|namespace| insert(&registry, namespace));
        let mut heard = || workers.each_mut().map(|worker| worker.try_recv().is_ok());

        let change = ChildChange { subject_uid: String::new(), child: (String::new(), String::new()), state: None };
        for (identity, expected) in
            [("echo", [true, false, false]), ("echo.team-a", [false, true, false]), ("echo.team-c", [false; 3])]
        {
            registry.child_changed(identity, &change);
            assert_eq!(heard(), expected, "{identity}");
        }
        for (namespace, expected) in [("team-b", [true, false, true]), ("team-c", [true, false, false])] {
            registry.look_into(namespace);
            assert_eq!(heard(), expected, "{namespace}");
            let key = SubjectKey { kind: SubjectKind::Service, namespace: namespace.to_owned(), name: String::new() };
            registry.look(&key, EventReason::Updated);
            assert_eq!(heard(), expected, "{namespace}");
        }
    }

    fn identity(name: &str, namespace: &str) -> String {
        PluginKey { name: name.to_owned(), namespace: namespace.to_owned() }.identity(OPERATOR)
    }

    #[test]
    fn an_identity_that_is_short_enough_names_the_plugin_and_its_namespace() {
        assert_eq!(identity("echo", OPERATOR), "echo");
        let name = "n".repeat(62 - ".team-a".len());
        assert_eq!(identity(&name, "team-a"), format!("{name}.team-a"));
    }

    #[test]
    fn a_cut_identity_has_128_bits_of_a_hash_and_is_a_label_and_a_domain() {
        for name in ["n".repeat(63), format!("n{}n", "-".repeat(61)), format!("{}.n", "n".repeat(29)).repeat(2)] {
            let identity = identity(&name, "team-a");
            let (_, hash) = identity.rsplit_once('.').unwrap();
            assert!(hash.len() >= 32 && hash.bytes().all(|digit| digit.is_ascii_hexdigit()), "{identity}");
            assert_eq!(identity.len(), 63, "{identity}");
            assert!(identity.split('.').all(dask_operator_api::meta::is_dns_label), "{identity}");
        }
    }

    /// A namespace may have the name of a hash.
    #[test]
    fn no_plugin_can_be_named_such_that_it_has_the_cut_identity_of_another_one() {
        let victim = identity(&"n".repeat(63), "team-a");
        let parts: Vec<&str> = victim.split('.').collect();
        for at in 1..parts.len() {
            let (name, namespace) = (parts[..at].join("."), parts[at..].join("."));
            assert_ne!(identity(&name, &namespace), victim);
        }
    }

    fn version(uid: &str, generation: Option<i64>, resource_version: &str) -> ChildVersion {
        let resource_version = Some(resource_version.to_owned());
        ChildVersion { uid: uid.to_owned(), generation, resource_version, decoration: 0 }
    }

    #[test]
    fn a_status_update_is_no_drift() {
        let written = version("a", Some(1), "10");
        assert!(!written.drifted_to(&version("a", Some(1), "11")));
        assert!(written.drifted_to(&version("a", Some(2), "12")));
        assert!(written.drifted_to(&version("b", Some(1), "13")), "another object under the same name");
        let annotated = ChildVersion { decoration: 1, ..version("a", Some(1), "14") };
        assert!(written.drifted_to(&annotated), "annotations decide how most Ingresses work");
    }

    #[test]
    fn kinds_without_generation_count_each_change() {
        let written = version("a", None, "10");
        assert!(!written.drifted_to(&version("a", None, "10")));
        assert!(written.drifted_to(&version("a", None, "11")));
    }

    /// Else a plugin that answers something else each time would be asked again for each of its own writes.
    #[test]
    fn what_a_watch_tells_late_is_no_drift() {
        let written = version("a", Some(3), "100");
        assert!(!written.drifted_to(&version("a", Some(2), "99")));
        assert!(!version("a", None, "100").drifted_to(&version("a", None, "99")));
        assert!(written.drifted_to(&version("b", Some(1), "99")));
        assert!(written.drifted_to(&version("a", Some(4), "not a number")));
    }
}
