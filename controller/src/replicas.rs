//! Sets the number of workers of a worker group.
//!
//! All reconcilers that scale a group do it here, but for the cluster reconciler: it writes the number of the default group
//! together with the record of where it comes from.

use dask_operator_api::DaskWorkerGroup;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ObjectMeta, PartialObjectMeta},
    core::PartialObjectMetaExt as _,
};
use operator_runtime::k8s;
use serde_json::json;

use crate::outcome::Outcome;

/// A change of a group's number of workers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scaling {
    /// The group: its name, namespace and uid. With a resourceVersion, the group must not have changed since.
    group: ObjectMeta,
    replicas: i64,
    retire_deadline_seconds: Option<i64>,
}

impl Scaling {
    /// Returns the scaling of `group`, which must not have changed since it was read.
    pub(crate) fn of_unchanged(group: &DaskWorkerGroup, replicas: i64) -> Self {
        let resource_version = group.resource_version();
        let (name, namespace, uid) = (Some(group.name_any()), group.namespace(), group.uid());
        let group = ObjectMeta { name, namespace, uid, resource_version, ..ObjectMeta::default() };
        Self { group, replicas, retire_deadline_seconds: None }
    }

    /// Returns the scaling to 0 of a group whose workers hold nothing that is needed: the scheduler is asked to move it, but
    /// cannot refuse for long. The group may have changed in the meantime.
    pub(crate) fn to_zero(namespace: &str, name: &str, uid: &str) -> Self {
        let (name, namespace, uid) = (Some(name.to_owned()), Some(namespace.to_owned()), Some(uid.to_owned()));
        let group = ObjectMeta { name, namespace, uid, ..ObjectMeta::default() };
        Self { group, replicas: 0, retire_deadline_seconds: Some(1) }
    }
}

/// Writes the number of workers of a group.
pub(crate) async fn scale(client: &Client, scaling: Scaling) -> Result<Outcome, k8s::Error> {
    let Scaling { group, replicas, retire_deadline_seconds } = scaling;
    let namespace = group.namespace.clone().unwrap_or_default();
    let api: Api<PartialObjectMeta<DaskWorkerGroup>> = Api::namespaced(client.clone(), &namespace);
    let mut patch = json!({"spec": {"worker": {"replicas": replicas}}});
    if let Some(version) = &group.resource_version {
        patch["metadata"]["resourceVersion"] = json!(version);
    }
    if let Some(seconds) = retire_deadline_seconds {
        patch["spec"]["worker"]["retireDeadlineSeconds"] = json!(seconds);
    }
    Outcome::of(k8s::merge(&api, &group.into_request_partial(), patch).await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_fixtures::mk_group;

    /// A client may set the number at the same moment, and its number is kept.
    #[test]
    fn a_group_that_was_read_is_scaled_only_as_long_as_nobody_changes_it() {
        let mut group = mk_group("demo-default", "demo");
        group.metadata.resource_version = Some("7".to_owned());
        let scaling = Scaling::of_unchanged(&group, 3);
        assert_eq!(scaling.group.resource_version.as_deref(), Some("7"));
        assert_eq!((scaling.group.uid, scaling.replicas), (group.metadata.uid, 3));
    }
}
