//! The simulated state of the cluster: the manifests, and the objects that the controller creates for the Dask
//! resources among them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dask_operator_api::{DaskCluster, SubjectKind, meta};
use kube::{ResourceExt as _, api::DynamicObject};
use operator_runtime::rejection::Rejection;
use serde_json::{Value, json};

use super::{
    DaskManifests, describe,
    manifests::{Manifests, complete, typed},
};
use crate::{
    children::child_ref::Ownership,
    index::registration::Registration,
    model::{
        child_kind::ChildKind,
        subject::{self, KeyedObject, SubjectKey},
    },
};

/// The objects, and the problems that some of them have.
pub(crate) struct DryRunState {
    objects: Vec<DynamicObject>,
    subjects: BTreeMap<SubjectKey, usize>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Messages, one sentence each.
    pub(crate) problems: Vec<String>,
}

/// An object that the plugin is called about, and its Dask resource.
pub(crate) struct Subject<'a> {
    pub(crate) key: &'a SubjectKey,
    pub(crate) object: &'a DynamicObject,
    pub(crate) owner_key: SubjectKey,
    pub(crate) owner: &'a DynamicObject,
}

/// The subjects of a plugin, and the reasons why similar objects are no subjects.
#[derive(Default)]
pub(crate) struct Matched<'a> {
    pub(crate) subjects: Vec<Subject<'a>>,
    pub(crate) problems: Vec<String>,
    /// Objects of the kinds that the plugin is called about, which `spec.match` excludes.
    pub(crate) excluded: Vec<&'a SubjectKey>,
}

/// An existing child.
pub(crate) struct Child<'a> {
    pub(crate) kind: &'a ChildKind,
    pub(crate) object: &'a DynamicObject,
}

const KINDS: [SubjectKind; 7] = [
    SubjectKind::DaskCluster,
    SubjectKind::DaskWorkerGroup,
    SubjectKind::DaskJob,
    SubjectKind::DaskAutoscaler,
    SubjectKind::Service,
    SubjectKind::Deployment,
    SubjectKind::Pod,
];

/// Returns the kind of subject that `object` may be.
fn kind_of(object: &DynamicObject) -> Option<SubjectKind> {
    let types = object.types.as_ref()?;
    KINDS.into_iter().find(|kind| {
        let resource = subject::api_resource(*kind);
        (&resource.api_version, &resource.kind) == (&types.api_version, &types.kind)
    })
}

impl DryRunState {
    pub(crate) fn of(manifests: Manifests, made: &impl DaskManifests, cluster_domain: &str) -> Self {
        let Manifests { objects, namespaces, .. } = manifests;
        let mut dry_run_state =
            Self { objects: Vec::new(), subjects: BTreeMap::new(), namespaces, problems: Vec::new() };
        for object in objects {
            dry_run_state.add(object);
        }
        // Created objects may lead to further objects: a job to a cluster, a cluster to a group, a group to
        // Deployments, and Deployments to pods.
        let mut next = 0;
        while next < dry_run_state.objects.len() {
            match dry_run_state.made_of(next, made, cluster_domain) {
                Ok(made) => made.into_iter().for_each(|manifest| dry_run_state.add_made(manifest)),
                Err(why) => {
                    let what = describe(&dry_run_state.objects[next]);
                    dry_run_state.problems.push(format!("{what}: {why}"));
                }
            }
            next += 1;
        }
        dry_run_state
    }

    fn add(&mut self, object: DynamicObject) {
        if let Some(kind) = kind_of(&object) {
            self.subjects.insert(SubjectKey::of(kind, &object), self.objects.len());
        }
        self.objects.push(object);
    }

    /// Adds an object that the controller would create, unless it is among the files.
    fn add_made(&mut self, mut manifest: Value) {
        complete(&mut manifest, "");
        // The manifest was built from types, so parsing cannot fail.
        let Ok(object) = serde_json::from_value::<DynamicObject>(manifest) else { return };
        let is_there = kind_of(&object).is_some_and(|kind| self.find(&SubjectKey::of(kind, &object)).is_some());
        if !is_there {
            self.add(object);
        }
    }

    pub(crate) fn find(&self, key: &SubjectKey) -> Option<&DynamicObject> {
        self.subjects.get(key).map(|index| &self.objects[*index])
    }

    fn made_of(&self, index: usize, made: &impl DaskManifests, cluster_domain: &str) -> Result<Vec<Value>, String> {
        let object = &self.objects[index];
        let Some(kind) = kind_of(object) else { return Ok(Vec::new()) };
        let document = || serde_json::to_value(object).unwrap_or_default();
        let message_of = |invalid: Rejection| format!("{}: {}", invalid.reason, invalid.message);
        match kind {
            SubjectKind::DaskJob => made.of_job(&typed(document())?, cluster_domain).map_err(message_of),
            SubjectKind::DaskCluster => made.of_cluster(&typed(document())?).map_err(message_of),
            SubjectKind::DaskWorkerGroup => {
                let group: dask_operator_api::DaskWorkerGroup = typed(document())?;
                let key = SubjectKey {
                    kind: SubjectKind::DaskCluster,
                    namespace: group.namespace().unwrap_or_default(),
                    name: group.spec.cluster.clone(),
                };
                let cluster = self.find(&key).map(serde_json::to_value).and_then(Result::ok);
                let cluster = cluster.map(typed::<DaskCluster>).transpose()?.map(Arc::new);
                made.of_group(&group, cluster, cluster_domain).map_err(message_of)
            }
            SubjectKind::Deployment => Ok(pod_of(object).into_iter().collect()),
            SubjectKind::DaskAutoscaler | SubjectKind::Service | SubjectKind::Pod => Ok(Vec::new()),
        }
    }

    /// Returns the subjects of `plugin`, in order.
    pub(crate) fn matched(&self, plugin: &Registration) -> Matched<'_> {
        let mut matched = Matched::default();
        for (key, index) in &self.subjects {
            let object = &self.objects[*index];
            if !plugin.is_about(key.kind, object) {
                continue;
            }
            if !plugin.matcher.selects(object) || !self.selects_namespace(plugin, &key.namespace) {
                matched.excluded.push(key);
                continue;
            }
            let Some(owner_key) = subject::owner_of(key.kind, object) else {
                matched.problems.push(format!("{key}: its labels name no Dask resource"));
                continue;
            };
            let Some(owner) = self.find(&owner_key) else {
                matched.problems.push(format!("{key}: {owner_key}, which it belongs to, is not among the files"));
                continue;
            };
            if !is_below(key.kind, object, owner) {
                matched.problems.push(format!("{key}: its name or owner is not that of an object of {owner_key}"));
                continue;
            }
            match plugin.decide(KeyedObject { key, object }, KeyedObject { key: &owner_key, object: owner }) {
                Ok(true) => matched.subjects.push(Subject { key, object, owner_key, owner }),
                Ok(false) => matched.excluded.push(key),
                Err(undecided) => matched.problems.push(format!("{key}: {undecided}")),
            }
        }
        matched
    }

    fn selects_namespace(&self, plugin: &Registration, namespace: &str) -> bool {
        let named = || BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())]);
        let labels = self.namespaces.get(namespace).cloned().unwrap_or_else(named);
        plugin.matcher.selects_namespace(&labels)
    }

    /// Describes why there is no subject among the objects. `matched` has none.
    pub(crate) fn summary(&self, plugin: &Registration, matched: &Matched<'_>) -> String {
        if !matched.excluded.is_empty() {
            let excluded: Vec<String> = matched.excluded.iter().map(ToString::to_string).collect();
            return format!("spec.match of the plugin resource excludes {}", excluded.join(", "));
        }
        let rules = plugin.spec.subjects.iter().map(|rule| {
            let kind = subject::kind_name(rule.kind);
            rule.component.as_ref().map_or_else(|| kind.to_owned(), |component| format!("{kind}/{component}"))
        });
        let there: BTreeSet<String> = self.subjects.keys().map(ToString::to_string).collect();
        let there = if there.is_empty() { "nothing".to_owned() } else { Vec::from_iter(there).join(", ") };
        format!("the plugin asks about {}, and there is {there}", rules.collect::<Vec<_>>().join(", "))
    }

    /// Returns the existing children of `plugin` and `subject`.
    pub(crate) fn children<'a>(&'a self, plugin: &'a Registration, subject: &Subject<'_>) -> Vec<Child<'a>> {
        let (subject_uid, owner_uid) =
            (subject.object.uid().unwrap_or_default(), subject.owner.uid().unwrap_or_default());
        let claim = Ownership { plugin: &plugin.identity, subject_uid: &subject_uid, owner_uid: &owner_uid };
        let here = self.objects.iter().filter(|object| object.namespace().as_ref() == Some(&subject.key.namespace));
        here.filter(|object| claim.holds(*object))
            .filter_map(|object| {
                let types = object.types.as_ref()?;
                let kind = plugin.kinds.iter().find(|kind| kind.is(&types.api_version, &types.kind))?;
                Some(Child { kind, object })
            })
            .collect()
    }

    /// Returns the object of `kind` with this name, regardless of its owner.
    pub(crate) fn live(&self, kind: &kube::core::ApiResource, namespace: &str, name: &str) -> Option<&DynamicObject> {
        self.objects.iter().find(|object| {
            let is_kind = object.types.as_ref().is_some_and(|types| {
                types.kind == kind.kind && crate::model::child_kind::group_of(&types.api_version) == kind.group
            });
            is_kind && object.namespace().as_deref() == Some(namespace) && object.name_any() == name
        })
    }
}

/// Returns whether `object` belongs to `owner`. The rules are those of the controller, except that a manifest from a
/// file has no owner references yet, and a pod of a Deployment may then have any name.
fn is_below(kind: SubjectKind, object: &DynamicObject, owner: &DynamicObject) -> bool {
    let component = subject::component(kind, object).unwrap_or_default();
    let has_name = || subject::has_name_below(kind, component, &object.name_any(), &owner.name_any());
    match kind {
        _ if !object.owner_references().is_empty() => subject::is_below(kind, object, owner),
        SubjectKind::Service | SubjectKind::Deployment => has_name(),
        SubjectKind::Pod => component != meta::component::JOB_RUNNER || has_name(),
        _ => true,
    }
}

/// Returns the pod of a Deployment of the operator. Kubernetes would choose its name.
fn pod_of(deployment: &DynamicObject) -> Option<Value> {
    deployment.labels().get(meta::COMPONENT)?;
    let mut pod = deployment.data.pointer("/spec/template")?.clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(format!("{}-0", deployment.name_any()));
    pod["metadata"]["namespace"] = json!(deployment.namespace());
    Some(pod)
}
