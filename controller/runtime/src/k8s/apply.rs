//! Writes objects with server-side apply.

use std::fmt::Debug;

use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::Request,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Error,
    manifest::{describe, text},
    response::send,
    timed,
};

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
    let name = text(manifest, "/metadata/name");
    timed("apply", &describe(manifest), api.patch(name, &params, &Patch::Apply(manifest))).await
}

/// Returns the object that [`apply`] with force would produce. Nothing is written.
pub async fn dry_apply<K>(api: &Api<K>, manager: &str, manifest: &Value) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = PatchParams { dry_run: true, ..PatchParams::apply(manager).validation_strict().force() };
    let name = text(manifest, "/metadata/name");
    timed("compare", &describe(manifest), api.patch(name, &params, &Patch::Apply(manifest))).await
}

/// The result of [`apply_new`].
#[derive(Debug)]
pub struct AppliedNew {
    /// The object as it is now.
    pub object: DynamicObject,
    /// Whether it was created. Only the status code of the response shows that reliably.
    pub is_created: bool,
}

/// Like [`apply`] without force, for an object that should not exist yet.
pub async fn apply_new(
    client: &Client,
    api: &Api<DynamicObject>,
    manager: &str,
    manifest: &Value,
) -> Result<AppliedNew, Error> {
    let name = text(manifest, "/metadata/name");
    let params = PatchParams::apply(manager).validation_strict();
    let request = Request::new(api.resource_url()).patch(name, &params, &Patch::Apply(manifest));
    let applied = async {
        let response = send(client, request.map_err(kube::Error::BuildRequest)?).await?;
        let object = serde_json::from_slice(&response.body).map_err(kube::Error::SerdeError)?;
        Ok(AppliedNew { object, is_created: response.code == http::StatusCode::CREATED })
    };
    timed("create", &describe(manifest), applied).await
}
