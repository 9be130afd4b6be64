//! Collects what the API server warned about when it created or updated the components of a cluster.

use kube::Resource;
use operator_runtime::k8s::{self, Warnings};

use super::{build::Desired, component::Component, observe::Observed, validate::ValidatedCluster};
use crate::{field_warnings, worker_group};

/// Returns the warnings about the present spec: those of components that were built from it, and those of the default
/// group's workers.
pub(super) fn of(cluster: &ValidatedCluster, observed: &Observed, desired: &Desired) -> Warnings {
    let Desired { scheduler, service, group } = desired;
    let mut warnings = of_component(cluster, scheduler, observed.scheduler.as_deref());
    warnings.extend(&of_component(cluster, service, observed.service.as_deref()));
    warnings.extend(&of_component(cluster, group, observed.group.as_deref()));
    let group = observed.group.as_deref().filter(|group| k8s::is_controlled_by(*group, &cluster.uid));
    warnings.extend(&group.map(worker_group::warnings).unwrap_or_default());
    warnings
}

fn of_component(cluster: &ValidatedCluster, component: &Component, live: Option<&impl Resource>) -> Warnings {
    let live = live.filter(|live| k8s::is_controlled_by(*live, &cluster.uid)).map(Resource::meta);
    let live = live.filter(|live| !component.is_outdated(live));
    live.map(field_warnings::recorded).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dask_operator_api::meta;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        cluster::{build::build, validate::validate},
        test_fixtures::mk_cluster,
    };

    const TEXT: &str = r#"unknown field "spec.scheduler.spec.x""#;

    /// Returns the warnings of a cluster whose scheduler has this metadata in addition to its own.
    fn warnings(edit: impl FnOnce(&mut Value)) -> Vec<String> {
        let cluster = validate(&mk_cluster("demo")).unwrap();
        let desired = build(&cluster);
        let mut scheduler = desired.scheduler.manifest();
        scheduler["metadata"]["annotations"][meta::WARNINGS] = json!(json!([TEXT]).to_string());
        edit(&mut scheduler["metadata"]);
        let scheduler = Some(Arc::new(serde_json::from_value(scheduler).unwrap()));
        let observed = Observed { scheduler, ..Observed::default() };
        of(&cluster, &observed, &desired).iter().map(str::to_owned).collect()
    }

    #[test]
    fn warnings_are_those_of_own_components_of_the_present_spec() {
        assert_eq!(warnings(|_| {}), [TEXT]);
        let outdated = |metadata: &mut Value| {
            for key in [meta::TEMPLATE, meta::TEMPLATE_MEANING] {
                metadata["annotations"][key] = json!("of another spec");
            }
        };
        assert_eq!(warnings(outdated), [""; 0]);
        assert_eq!(warnings(|metadata| metadata["ownerReferences"] = json!([])), [""; 0]);
    }
}
