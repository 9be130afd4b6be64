use std::fmt::Debug;

use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Class, Error, timed};

/// Whether server-side apply takes fields from other managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// It does: the object is known to be ours.
    Yes,
    /// It does not: the object is believed not to exist, and if it does, it is somebody else's.
    No,
}

/// Applies `manifest` under its `metadata.name` as `manager`. Unknown fields are errors.
pub async fn apply<K>(api: &Api<K>, manager: &str, force: Force, manifest: &Value) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = PatchParams::apply(manager).validation_strict();
    let params = if force == Force::Yes { params.force() } else { params };
    let name = manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    timed("apply", &describe(manifest), api.patch(name, &params, &Patch::Apply(manifest))).await
}

/// Applies `status` to the status subresource of `object` as `manager`. The uid goes along, so that a
/// namesake made in the meantime is not touched.
pub async fn apply_status<K>(api: &Api<K>, manager: &str, object: &K, status: &impl Serialize) -> Result<(), Error>
where
    K: Clone + DeserializeOwned + Debug + Resource<DynamicType = ()>,
{
    let name = object.name_any();
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "uid": object.uid()},
        "status": status,
    });
    let params = PatchParams::apply(manager).force();
    let target = format!("the status of {}", describe(&body));
    timed("apply", &target, api.patch_status(&name, &params, &Patch::Apply(&body))).await.map(|_| ())
}

/// Deletes the object `name` if it still is the one with `uid`. One that is gone already, or has been
/// replaced by a namesake, is success.
pub async fn delete<K>(api: &Api<K>, name: &str, uid: &str) -> Result<(), Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    match timed("delete", name, api.delete(name, &params)).await {
        Err(error) if matches!(error.class(), Class::NotFound | Class::Conflict) => Ok(()),
        result => result.map(|_| ()),
    }
}

fn describe(manifest: &Value) -> String {
    let text = |pointer| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match text("/metadata/namespace") {
        "" => format!("{} {}", text("/kind"), text("/metadata/name")),
        namespace => format!("{} {namespace}/{}", text("/kind"), text("/metadata/name")),
    }
}
