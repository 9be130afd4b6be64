//! Accepted plugins: the facts that decisions depend on, and the parts that their workers need.

use std::ops::Deref;

use dask_operator_api::{DaskOperatorPluginSpec, SubjectKind, SubjectRule};
use kube::{Resource, ResourceExt as _};

use crate::model::{
    child_kind::ChildKind,
    key::PluginKey,
    subject::{self, KeyedObject},
    writer::{WatchKey, Writer},
};
use crate::{
    client::Caller,
    selector::{
        expression::{Subject, Variables},
        matcher::{Matcher, Undecided},
    },
};
use plugin_protocol::Hook;

/// The rules of a plugin: the subjects it is called about and the children it may answer with. Decisions need nothing
/// else.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) key: PluginKey,
    /// The plugin's name in labels, field managers and statuses: [`PluginKey::identity`].
    pub(crate) identity: String,
    pub(crate) uid: String,
    pub(crate) generation: i64,
    pub(crate) spec: DaskOperatorPluginSpec,
    pub(crate) kinds: Vec<ChildKind>,
    pub(crate) matcher: Matcher,
    /// The namespace whose subjects the plugin is called about, or `None` for all watched namespaces.
    pub(crate) scope: Option<String>,
}

impl Registration {
    /// Returns the subject rules for objects of this kind and component.
    pub(crate) fn rules_for<'a>(
        &'a self,
        kind: SubjectKind,
        component: Option<&'a str>,
    ) -> impl Iterator<Item = &'a SubjectRule> {
        self.spec.subjects.iter().filter(move |rule| {
            rule.kind == kind && rule.component.as_deref().is_none_or(|wanted| component == Some(wanted))
        })
    }

    /// Returns whether the plugin is called about `object`, as far as the object's metadata decides it.
    pub(crate) fn matches(&self, kind: SubjectKind, object: &impl Resource) -> bool {
        self.is_about(kind, object) && self.matcher.selects(object)
    }

    /// Returns whether `object` is of a kind that the plugin is called about, regardless of `spec.match`.
    pub(crate) fn is_about(&self, kind: SubjectKind, object: &impl Resource) -> bool {
        self.serves(object.namespace().as_deref())
            && self.rules_for(kind, subject::component(kind, object)).next().is_some()
    }

    /// Returns whether the plugin is called about subjects in `namespace`.
    pub(crate) fn serves(&self, namespace: Option<&str>) -> bool {
        self.scope.is_none() || self.scope.as_deref() == namespace
    }

    /// Evaluates the match conditions for `subject` and its `owner`.
    pub(crate) fn decide(&self, subject: KeyedObject<'_>, owner: KeyedObject<'_>) -> Result<bool, Undecided> {
        if !self.matcher.has_conditions() {
            return Ok(true);
        }
        let component = subject::component(subject.key.kind, subject.object);
        let object = Subject::new(subject.object, subject::api_resource(subject.key.kind));
        let owner = Subject::new(owner.object, subject::api_resource(owner.key.kind));
        self.matcher.decide(&Variables::new(&object, &owner, component))
    }
}

/// A plugin that is accepted, discovered and authorised, with all that its worker needs.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) registration: Registration,
    /// The identity that writes and watches the plugin's children.
    pub(crate) writer: Writer,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) version: String,
    pub(crate) caller: Caller,
    /// A user's approval of paused deletions: the value of [`crate::children::prune_guard::ALLOW_ANNOTATION`].
    pub(crate) allow_prune: Option<String>,
}

impl Deref for Registered {
    type Target = Registration;

    fn deref(&self) -> &Registration {
        &self.registration
    }
}

impl Registered {
    /// Returns the watches of children that the plugin needs.
    pub(crate) fn watches(&self) -> impl Iterator<Item = WatchKey> {
        self.kinds.iter().map(|kind| WatchKey { writer: self.writer.key(), resource: kind.resource.clone() })
    }

    /// Returns whether every subject needs another pass when `other` replaces this registration.
    pub(crate) fn asks_differently(&self, other: &Self) -> bool {
        (&self.uid, self.generation, &self.version) != (&other.uid, other.generation, &other.version)
            || self.kinds != other.kinds
            || self.hooks != other.hooks
    }
}
