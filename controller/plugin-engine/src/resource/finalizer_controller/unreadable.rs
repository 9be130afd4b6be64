//! Dask resources that cannot be parsed.

use dask_operator_api::{GROUP, SubjectKind};
use kube::api::ObjectMeta;
use operator_runtime::watch::UnreadableObject;

use crate::model::subject::SubjectKey;

/// Returns the key and the metadata of a Dask resource that cannot be parsed and is being deleted.
pub(super) fn deleted(object: &UnreadableObject) -> Option<(SubjectKey, ObjectMeta)> {
    let metadata = object.deleted_metadata()?;
    let (group, _) = object.reference.api_version.as_deref()?.split_once('/')?;
    let kind = match object.reference.kind.as_deref()? {
        "DaskCluster" => SubjectKind::DaskCluster,
        "DaskWorkerGroup" => SubjectKind::DaskWorkerGroup,
        "DaskJob" => SubjectKind::DaskJob,
        "DaskAutoscaler" => SubjectKind::DaskAutoscaler,
        _ => return None,
    };
    let key = SubjectKey { kind, namespace: metadata.namespace.clone()?, name: metadata.name.clone()? };
    (group == GROUP).then_some((key, metadata))
}
