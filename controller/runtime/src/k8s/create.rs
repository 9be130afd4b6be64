//! Creates objects with POST, and gives objects that exist already the labels back that they have lost.

use std::collections::BTreeMap;

use kube::{
    Api, Client, ResourceExt as _,
    api::{DynamicObject, PartialObjectMeta, Patch, PatchParams, PostParams},
    core::{ApiResource, Request},
};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{
    Class, Error, FIELD_MANAGER, Warned,
    labels::lost_labels,
    manifest::{describe, text},
    owner::is_controlled_by,
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
    let api: Api<PartialObjectMeta<DynamicObject>> =
        Api::namespaced_with(client.clone(), text(manifest, "/metadata/namespace"), resource);
    let target = describe(manifest);
    let request = warned_create(api.resource_url(), manifest);
    let posted = timed("create", &target, async { warned(send(client, request?).await?) });
    let exists = match posted.await {
        Ok(warned) => return Ok(Creation::Made(warned)),
        Err(error) if error.class() == Class::AlreadyExists => error,
        Err(error) => return Err(error),
    };
    match timed("get", &target, api.get_opt(text(manifest, "/metadata/name"))).await? {
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
    let wanted = manifest.pointer("/metadata/labels").and_then(|labels| BTreeMap::deserialize(labels).ok());
    let lost = lost_labels(&found.metadata, &wanted.unwrap_or_default());
    if lost.is_empty() {
        return Ok(());
    }
    let patch = json!({"metadata": {"uid": found.metadata.uid, "labels": lost}});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    tracing::info!(object = describe(manifest), "restoring labels that an object has lost");
    timed("patch", &describe(manifest), api.patch(&found.name_any(), &params, &Patch::Merge(&patch))).await.map(|_| ())
}

/// An object that [`create`] has made.
#[derive(Clone, Copy, Debug)]
pub struct CreatedObject<'a> {
    /// Its API resource.
    pub resource: &'a ApiResource,
    /// The manifest that it was created from.
    pub manifest: &'a Value,
    /// Its uid.
    pub uid: &'a str,
}

/// Sets an annotation of an object that was just created, unless it was replaced in the meantime.
pub async fn annotate(client: &Client, created: CreatedObject<'_>, key: &str, value: &str) -> Result<(), Error> {
    let CreatedObject { resource, manifest, uid } = created;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), text(manifest, "/metadata/namespace"), resource);
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"metadata": {"uid": uid, "annotations": {key: value}}}));
    let patched = api.patch_metadata(text(manifest, "/metadata/name"), &params, &patch);
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
