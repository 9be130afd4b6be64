//! A component of a cluster: its kind, its manifest, and how an existing one compares with it. Pure.

use dask_operator_api::{
    DaskWorkerGroup,
    meta::{self, Map, merged},
};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Service},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{api::ObjectMeta, core::ApiResource};
use serde_json::{Value, json};

use crate::{
    field_warnings::{self, Origin},
    propagation::Propagation,
    template_version::TemplateVersion,
};

/// The kinds of components. A cluster has one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ComponentKind {
    /// The Deployment of the scheduler.
    Scheduler,
    /// The Service of the scheduler.
    Service,
    /// The default worker group.
    Group,
}

impl ComponentKind {
    pub(super) const ALL: [Self; 3] = [Self::Scheduler, Self::Service, Self::Group];

    /// Returns the name of the kind, as in the expectations.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "Deployment",
            Self::Service => "Service",
            Self::Group => "DaskWorkerGroup",
        }
    }

    pub(super) fn resource(self) -> ApiResource {
        match self {
            Self::Scheduler => ApiResource::erase::<Deployment>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::Group => ApiResource::erase::<DaskWorkerGroup>(&()),
        }
    }

    /// Returns the part of the cluster that components of this kind come from.
    pub(super) fn origin(self) -> Origin {
        match self {
            Self::Scheduler => field_warnings::SCHEDULER,
            Self::Service => field_warnings::SERVICE,
            Self::Group => field_warnings::GROUP,
        }
    }
}

/// One component of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Component {
    pub(super) kind: ComponentKind,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) owner: OwnerReference,
    pub(super) labels: Map,
    pub(super) annotations: Map,
    pub(super) spec: Value,
    /// The version of the part of the cluster's spec that it is built from.
    pub(super) template: TemplateVersion,
    /// Further parts of the spec that it is built from, as annotations record them.
    pub(super) parts: Map,
    /// Annotations about the program that runs in the scheduler's pod.
    pub(super) program: Map,
    /// Whether that program is still that of an older spec, so that its annotations stay as they are.
    pub(super) program_is_old: bool,
}

impl Component {
    /// Returns the manifest, for a component that is missing.
    pub(super) fn manifest(&self) -> Value {
        let ApiResource { api_version, kind, .. } = self.kind.resource();
        let annotations = merged([&self.annotations, &self.origin(), &self.program]);
        let propagated = Propagation::new(self.labels.clone(), annotations);
        json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": propagated.labels(),
                "annotations": propagated.annotations(),
                "ownerReferences": [self.owner],
            },
            "spec": self.spec,
        })
    }

    /// Returns the labels and annotations that the component `live` should have. What it records about its origin
    /// changes only together with its spec. A component that an older controller created records nothing, and counts as
    /// built from the present spec.
    pub(super) fn propagated(&self, live: &ObjectMeta) -> Propagation {
        let recorded = |key: &String| live.annotations.as_ref().and_then(|annotations| annotations.get(key));
        let kept = |(key, now): (&String, &String)| (key.clone(), recorded(key).unwrap_or(now).clone());
        let parts = self.parts.iter().map(kept).collect();
        let origin = merged([&parts, &self.template.recorded(live)]);
        Propagation::new(self.labels.clone(), merged([&self.annotations, &origin, &self.program_of(live)]))
    }

    /// Like [`Component::propagated`], for a component whose spec is updated to the present one as well.
    pub(super) fn renewed(&self, live: &ObjectMeta) -> Propagation {
        Propagation::new(self.labels.clone(), merged([&self.annotations, &self.origin(), &self.program_of(live)]))
    }

    /// Returns the annotations that record what the manifest was built from.
    fn origin(&self) -> Map {
        merged([&self.parts, &self.template.annotations()])
    }

    fn program_of(&self, live: &ObjectMeta) -> Map {
        if !self.program_is_old {
            return self.program.clone();
        }
        let annotations = live.annotations.iter().flatten();
        let kept =
            annotations.filter(|(key, _)| [meta::DASHBOARD_PREFIX, meta::DASHBOARD_PORT].contains(&key.as_str()));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Returns whether `live` was built from a spec of another meaning than the present one.
    pub(super) fn is_outdated(&self, live: &ObjectMeta) -> bool {
        self.template.is_outdated(live)
    }

    /// Returns whether `live` records another value of the part `key` than the present one.
    pub(super) fn differs_in(&self, live: &ObjectMeta, key: &str) -> bool {
        let recorded = live.annotations.as_ref().and_then(|annotations| annotations.get(key));
        recorded.is_some_and(|recorded| Some(recorded) != self.parts.get(key))
    }
}
