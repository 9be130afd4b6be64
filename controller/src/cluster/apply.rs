use futures::future::join_all;
use kube::{Client, Resource, ResourceExt as _, core::ApiResource};
use serde_json::Value;

use super::{build::Desired, observe::Observed, validate::ValidatedCluster};
use crate::{
    crd::DaskWorkerGroup,
    k8s::{self, Creation},
    meta,
};

/// What to do about each component.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) create: Vec<Value>,
    pub(super) blocked: Vec<Blocked>,
}

/// A component whose name is taken by an object that is not this cluster's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocked {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What came of a plan.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) blocked: Vec<Blocked>,
    /// The first error; the other components were tried all the same.
    pub(super) error: Option<k8s::Error>,
}

/// Missing components are made. Existing ones are left as they are: a change of the scheduler would
/// lose all results.
pub(super) fn plan(cluster: &ValidatedCluster, observed: &Observed, desired: Desired) -> Plan {
    // No `..`: a component that nobody plans for is a compile error.
    let Desired { scheduler, service, group } = desired;
    let mut plan = Plan { create: Vec::new(), blocked: Vec::new() };
    plan.component(cluster, observed.scheduler.as_deref(), scheduler);
    plan.component(cluster, observed.service.as_deref(), service);
    plan.component(cluster, observed.group.as_deref(), group);
    plan
}

impl Plan {
    fn component<K: Resource<DynamicType = ()>>(
        &mut self,
        cluster: &ValidatedCluster,
        live: Option<&K>,
        wanted: Value,
    ) {
        match live {
            None => self.create.push(wanted),
            Some(live) if meta::is_controlled_by(live, &cluster.uid) => {}
            Some(live) => self.blocked.push(blocked_by(&K::kind(&()), live)),
        }
    }
}

/// A left-over of an older cluster of the same name is waited for and never adopted.
fn blocked_by(kind: &str, live: &impl Resource) -> Blocked {
    let name = live.name_any();
    if meta::dask_controller(live, "DaskCluster").is_some() || live.meta().deletion_timestamp.is_some() {
        let message = format!("waiting until {kind} {name} of an older cluster of this name is gone");
        return Blocked { reason: "WaitingForDeletion", message };
    }
    let message = format!("{kind} {name} exists and does not belong to this cluster; delete it or rename the cluster");
    Blocked { reason: "NameTaken", message }
}

pub(super) async fn apply(client: &Client, owner_uid: &str, plan: Plan) -> Outcome {
    let Plan { create, blocked } = plan;
    let mut outcome = Outcome { blocked, error: None };
    let resources: Vec<ApiResource> = create.iter().map(resource_of).collect();
    let creations =
        create.iter().zip(&resources).map(|(manifest, resource)| k8s::create(client, resource, manifest, owner_uid));
    for (creation, resource) in join_all(creations).await.into_iter().zip(&resources) {
        match creation {
            Ok(Creation::Ours) => {}
            Ok(Creation::Foreign(found)) => outcome.blocked.push(blocked_by(&resource.kind, found.as_ref())),
            Err(error) => outcome.error = outcome.error.or(Some(error)),
        }
    }
    outcome
}

/// The API resource of one of the three kinds that a cluster consists of.
fn resource_of(manifest: &Value) -> ApiResource {
    match manifest["kind"].as_str() {
        Some("Deployment") => ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&()),
        Some("Service") => ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&()),
        _ => ApiResource::erase::<DaskWorkerGroup>(&()),
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "literals read better at the call without a reference")]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{
        cluster::{build::build, validate::validate},
        test_fixtures::mk_cluster,
    };

    fn service(owner: Value) -> Observed {
        let service = json!({
            "metadata": {"name": "demo-scheduler", "namespace": "ns", "ownerReferences": owner},
        });
        Observed { service: Some(Arc::new(serde_json::from_value(service).unwrap())), ..Observed::default() }
    }

    fn owner(uid: &str) -> Value {
        json!([{"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "demo", "uid": uid, "controller": true}])
    }

    fn planned(observed: &Observed) -> Plan {
        let cluster = validate(&mk_cluster("demo")).unwrap();
        plan(&cluster, observed, build(&cluster))
    }

    fn kinds(plan: &Plan) -> Vec<&str> {
        plan.create.iter().filter_map(|manifest| manifest["kind"].as_str()).collect()
    }

    #[test]
    fn missing_components_are_made() {
        assert_eq!(kinds(&planned(&Observed::default())), ["Deployment", "Service", "DaskWorkerGroup"]);
    }

    #[test]
    fn a_component_that_stands_is_left_alone() {
        let plan = planned(&service(owner("cluster-uid")));
        assert_eq!(kinds(&plan), ["Deployment", "DaskWorkerGroup"]);
        assert!(plan.blocked.is_empty());
    }

    /// Adopting it would let the garbage collector delete a running scheduler.
    #[test]
    fn a_left_over_of_an_older_namesake_is_waited_for() {
        let plan = planned(&service(owner("older-uid")));
        assert_eq!(kinds(&plan), ["Deployment", "DaskWorkerGroup"]);
        assert_eq!(plan.blocked[0].reason, "WaitingForDeletion");
    }

    #[test]
    fn an_object_of_somebody_else_is_never_taken_over() {
        let plan = planned(&service(json!([])));
        assert_eq!(kinds(&plan), ["Deployment", "DaskWorkerGroup"]);
        assert_eq!(plan.blocked[0].reason, "NameTaken");
    }
}
