//! Patches parts of objects that have other owners too.

use std::fmt::Debug;

use kube::{
    Api, Resource, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams, ValidationDirective},
    core::Request,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Error, FIELD_MANAGER, Warnings, response::send, timed};

/// Merges `patch` into `object`, if its uid has not changed since it was read. This is for changes of parts of an
/// object that has other owners too: an apply would delete the fields that it leaves out.
pub async fn merge<K>(api: &Api<K>, object: &K, mut patch: Value) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Debug + Resource<DynamicType = ()>,
{
    let name = object.name_any();
    patch["metadata"]["uid"] = json!(object.uid());
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let target = format!("{} {name}", K::kind(&()));
    timed("patch", &target, api.patch(&name, &params, &Patch::Merge(&patch))).await
}

/// Applies `operations` (RFC 6902) to `object`, if its uid has not changed since it was read. Unknown fields are
/// errors.
///
/// Only the metadata of the response are read, so that an object whose other parts cannot be read can be patched, too.
pub async fn json_patch<K>(api: &Api<K>, object: &K, operations: Vec<Value>) -> Result<(), Error>
where
    K: Clone + DeserializeOwned + Debug + Resource<DynamicType = ()>,
{
    json_patch_as(api, object, operations, ValidationDirective::Strict).await.map(|_| ())
}

/// Like [`json_patch`], for values that users wrote: unknown fields are dropped, with the warnings that are returned.
pub async fn json_patch_warned<K>(api: &Api<K>, object: &K, operations: Vec<Value>) -> Result<Warnings, Error>
where
    K: Clone + DeserializeOwned + Debug + Resource<DynamicType = ()>,
{
    json_patch_as(api, object, operations, ValidationDirective::Warn).await
}

async fn json_patch_as<K>(
    api: &Api<K>,
    object: &K,
    operations: Vec<Value>,
    validation: ValidationDirective,
) -> Result<Warnings, Error>
where
    K: Clone + DeserializeOwned + Debug + Resource<DynamicType = ()>,
{
    let (name, target) = (object.name_any(), format!("{} {}", K::kind(&()), object.name_any()));
    let same = json!({"op": "test", "path": "/metadata/uid", "value": object.uid()});
    let operations: Vec<Value> = std::iter::once(same).chain(operations).collect();
    let patch = serde_json::from_value(Value::Array(operations));
    let patch = Patch::<()>::Json(patch.map_err(|error| Error::new("patch", &target, kube::Error::SerdeError(error)))?);
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let request = Request::new(api.resource_url()).patch_metadata(&name, &params.validation(validation), &patch);
    let client = api.clone().into_client();
    let sent = async { send(&client, request.map_err(kube::Error::BuildRequest)?).await };
    let patched = timed("patch", &target, sent).await.map(|response| response.warnings);
    patched.map_err(|error| if is_failed_test(&error) { Error::Outdated { object: target } } else { error })
}

/// Replaces the owner references of `object`, if it has not changed since it was read.
pub async fn set_owners(api: &Api<DynamicObject>, object: &DynamicObject, owners: Value) -> Result<(), Error> {
    let (name, version) = (object.name_any(), object.resource_version());
    let metadata = json!({"uid": object.uid(), "resourceVersion": version, "ownerReferences": owners});
    let patch = Patch::Merge(json!({"metadata": metadata}));
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patched = api.patch_metadata(&name, &params, &patch);
    timed("patch", &format!("the owners of {name}"), patched).await.map(|_| ())
}

/// Returns whether the `test` operation failed. If an object is rejected for its content instead, the details name the
/// kind.
fn is_failed_test(error: &Error) -> bool {
    let Error::Call { source, .. } = error else { return false };
    let kube::Error::Api(status) = source.as_ref() else { return false };
    status.code == 422 && status.details.as_ref().is_none_or(|details| details.kind.is_empty())
}
