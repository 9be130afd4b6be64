//! Writes objects: creations, server-side apply, patches and deletions.

use std::fmt::Debug;

use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{
        DeleteParams, DynamicObject, ObjectMeta, PartialObjectMeta, Patch, PatchParams, PostParams, Preconditions,
        PropagationPolicy, ValidationDirective,
    },
    core::{ApiResource, Request},
};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Map, Value, json};

use super::{
    Class, Error, FIELD_MANAGER, Warned, Warnings, old_definition,
    response::{send, warned},
    timed,
};

/// The result of [`create`].
#[derive(Debug)]
pub enum Creation {
    /// The object was created by this call, possibly with warnings.
    Made(Option<Warned>),
    /// The object exists already, belongs to the owner, and has the labels of the manifest.
    Stands,
    /// An object of that name belongs to another owner and was not touched.
    Foreign(Box<PartialObjectMeta<DynamicObject>>),
}

/// Creates the object of `manifest`, which `owner_uid` is to control, unless an object of that name exists. Unknown
/// fields are warnings: users write parts of the manifest. An existing object that has lost labels gets them back,
/// because watches select it by these.
///
/// This is a POST and not an apply. An apply of fields that an object has already succeeds, and would take over an
/// object of another owner that looks the same.
pub async fn create(
    client: &Client,
    resource: &ApiResource,
    manifest: &Value,
    owner_uid: &str,
) -> Result<Creation, Error> {
    let text = |pointer| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let api: Api<PartialObjectMeta<DynamicObject>> =
        Api::namespaced_with(client.clone(), text("/metadata/namespace"), resource);
    let target = describe(manifest);
    let request = warned_create(api.resource_url(), manifest);
    let posted = timed("create", &target, async { warned(send(client, request?).await?) });
    let exists = match posted.await {
        Ok(warned) => return Ok(Creation::Made(warned)),
        Err(error) if error.class() == Class::AlreadyExists => error,
        Err(error) => return Err(error),
    };
    match timed("get", &target, api.get_opt(text("/metadata/name"))).await? {
        Some(found) if is_controlled_by(&found, owner_uid) => match restore_labels(&api, &found, manifest).await {
            Err(error) if error.class() == Class::NotFound => Err(exists),
            result => result.map(|()| Creation::Stands),
        },
        Some(found) => Ok(Creation::Foreign(Box::new(found))),
        // The object was deleted in the meantime. The next pass creates it.
        None => Err(exists),
    }
}

async fn restore_labels(
    api: &Api<PartialObjectMeta<DynamicObject>>,
    found: &PartialObjectMeta<DynamicObject>,
    manifest: &Value,
) -> Result<(), Error> {
    let Some(lost) = lost_labels(&found.metadata, manifest) else { return Ok(()) };
    let patch = json!({"metadata": {"uid": found.metadata.uid, "labels": lost}});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    tracing::info!(object = describe(manifest), "restoring labels that an object has lost");
    timed("patch", &describe(manifest), api.patch(&found.name_any(), &params, &Patch::Merge(&patch))).await.map(|_| ())
}

/// Returns the labels of `manifest` that `live` does not have. An object that is being deleted needs none.
fn lost_labels(live: &ObjectMeta, manifest: &Value) -> Option<Map<String, Value>> {
    let wanted = manifest.pointer("/metadata/labels").and_then(Value::as_object)?;
    let has = |key: &str| live.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let lost: Map<String, Value> = wanted
        .iter()
        .filter(|(key, value)| has(key) != value.as_str())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    (live.deletion_timestamp.is_none() && !lost.is_empty()).then_some(lost)
}

/// Sets an annotation of the object that `manifest` describes, if it has this uid.
pub async fn annotate(
    client: &Client,
    resource: &ApiResource,
    (manifest, uid): (&Value, &str),
    (key, value): (&str, &str),
) -> Result<(), Error> {
    let text = |pointer| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), text("/metadata/namespace"), resource);
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"metadata": {"uid": uid, "annotations": {key: value}}}));
    let patched = api.patch_metadata(text("/metadata/name"), &params, &patch);
    timed("patch", &describe(manifest), patched).await.map(|_| ())
}

/// Returns a create request that is answered with warnings, which kube's own `create` cannot request.
fn warned_create(url: &str, manifest: &Value) -> kube::Result<http::Request<Vec<u8>>> {
    let body = serde_json::to_vec(manifest).map_err(kube::Error::SerdeError)?;
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let mut request = Request::new(url).create(&params, body).map_err(kube::Error::BuildRequest)?;
    let uri = format!("{}&fieldValidation=Warn", request.uri());
    *request.uri_mut() = uri.parse().map_err(|error: http::uri::InvalidUri| kube::Error::HttpError(error.into()))?;
    Ok(request)
}

/// The behaviour of server-side apply if other managers own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// It takes the fields: the object is known to belong to the operator.
    Yes,
    /// It fails: the object is believed not to exist.
    No,
}

/// Applies `manifest` as `manager` to the object with its `metadata.name`. Unknown fields are errors.
pub async fn apply<K>(api: &Api<K>, manager: &str, force: Force, manifest: &Value) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = PatchParams::apply(manager).validation_strict();
    let params = if force == Force::Yes { params.force() } else { params };
    let name = manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    timed("apply", &describe(manifest), api.patch(name, &params, &Patch::Apply(manifest))).await
}

/// Returns the object that [`apply`] with force would produce. Nothing is written.
pub async fn dry_apply<K>(api: &Api<K>, manager: &str, manifest: &Value) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = PatchParams { dry_run: true, ..PatchParams::apply(manager).validation_strict().force() };
    let name = manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    timed("compare", &describe(manifest), api.patch(name, &params, &Patch::Apply(manifest))).await
}

/// Like [`apply`] without force, for an object that should not exist yet. Also returns whether it was created, which
/// only the status code of the response shows reliably.
pub async fn apply_new(
    client: &Client,
    api: &Api<DynamicObject>,
    manager: &str,
    manifest: &Value,
) -> Result<(DynamicObject, bool), Error> {
    let name = manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let params = PatchParams::apply(manager).validation_strict();
    let request = Request::new(api.resource_url()).patch(name, &params, &Patch::Apply(manifest));
    let applied = async {
        let response = send(client, request.map_err(kube::Error::BuildRequest)?).await?;
        let object = serde_json::from_slice(&response.body).map_err(kube::Error::SerdeError)?;
        Ok((object, response.code == http::StatusCode::CREATED))
    };
    timed("create", &describe(manifest), applied).await
}

/// Applies `status` to the status subresource of `object` as `manager`. The request contains the uid, so that an object
/// of the same name that was created in the meantime is not touched.
///
/// Returns whether anything was written. An old CRD drops most of a status, so that the same status is not sent again
/// and again. An object that was deleted has no status.
pub async fn apply_status<K>(api: &Api<K>, manager: &str, object: &K, status: &impl Serialize) -> Result<bool, Error>
where
    K: Clone + Serialize + DeserializeOwned + Debug + Resource<DynamicType = ()>,
{
    let name = object.name_any();
    if old_definition::has_sent(manager, object, status) {
        return Ok(false);
    }
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "uid": object.uid()},
        "status": status,
    });
    let params = PatchParams::apply(manager).force();
    let target = format!("the status of {}", describe(&body));
    let request = Request::new(api.resource_url()).patch_subresource("status", &name, &params, &Patch::Apply(&body));
    // The watch delivers the result, so that the response need not be parsed.
    let sent =
        async { api.clone().into_client().request::<IgnoredAny>(request.map_err(kube::Error::BuildRequest)?).await };
    match timed("apply", &target, sent).await {
        Err(error) if old_definition::explains(&error, &K::plural(&())) => {
            match merge(api, object, json!({"status": status})).await {
                // The object itself was deleted in the meantime.
                Err(error) if error.class() == Class::NotFound => return Ok(false),
                result => result?,
            };
            old_definition::sent(manager, object, status);
            Ok(true)
        }
        result => result.map(|_| true),
    }
}

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

/// Like [`delete`], but the object stays until everything that it controls is gone.
pub async fn delete_foreground<K>(api: &Api<K>, name: &str, uid: &str) -> Result<(), Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    delete_with(api, name, uid, PropagationPolicy::Foreground).await
}

/// Deletes the object `name` if it still has the uid `uid`. Succeeds if the object is gone already, or was replaced by
/// one of the same name.
pub async fn delete<K>(api: &Api<K>, name: &str, uid: &str) -> Result<(), Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    delete_with(api, name, uid, PropagationPolicy::Background).await
}

async fn delete_with<K>(api: &Api<K>, name: &str, uid: &str, propagation: PropagationPolicy) -> Result<(), Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = DeleteParams {
        propagation_policy: Some(propagation),
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    match timed("delete", name, api.delete(name, &params)).await {
        Err(error) if error.class() == Class::NotFound => Ok(()),
        Err(error) if error.class() == Class::Conflict => match timed("get", name, api.get_metadata_opt(name)).await? {
            Some(found) if found.metadata.uid.as_deref() == Some(uid) => Err(error),
            _ => Ok(()),
        },
        result => result.map(|_| ()),
    }
}

/// Returns whether the object with `uid` controls `object`.
pub fn is_controlled_by<K: Resource>(object: &K, uid: &str) -> bool {
    object.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

fn describe(manifest: &Value) -> String {
    let text = |pointer| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match text("/metadata/namespace") {
        "" => format!("{} {}", text("/kind"), text("/metadata/name")),
        namespace => format!("{} {namespace}/{}", text("/kind"), text("/metadata/name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(live: &Value) -> Option<Value> {
        let manifest = json!({"metadata": {"labels": {"component": "scheduler", "team": "a"}}});
        lost_labels(&serde_json::from_value(live.clone()).unwrap(), &manifest).map(Value::Object)
    }

    #[test]
    fn an_object_gets_the_labels_back_that_it_lost_and_keeps_its_own() {
        let both = json!({"component": "scheduler", "team": "a", "other": "b"});
        let table = [
            (json!({"labels": both}), None),
            (json!({"labels": {"team": "a"}}), Some(json!({"component": "scheduler"}))),
            (json!({"labels": {"component": "x", "team": "a"}}), Some(json!({"component": "scheduler"}))),
            (json!({}), Some(json!({"component": "scheduler", "team": "a"}))),
            (json!({"deletionTimestamp": "2026-11-23T09:00:00Z"}), None),
        ];
        for (live, expected) in table {
            assert_eq!(lost(&live), expected, "{live}");
        }
    }
}
