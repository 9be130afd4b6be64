//! Writes statuses with server-side apply.

use std::fmt::Debug;

use kube::{
    Api, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
    core::Request,
};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::json;

use super::{Class, Error, manifest::describe, old_definition::OldDefinitions, patch::merge, timed};

/// Applies `status` to the status subresource of `object` as `manager`. The request contains the uid, so that an object
/// of the same name that was created in the meantime is not touched.
///
/// Returns whether anything was written. An old CRD drops most of a status, so that the same status is not sent again
/// and again. An object that was deleted has no status.
pub(crate) async fn apply_status<K>(
    api: &Api<K>,
    manager: &str,
    object: &K,
    status: &impl Serialize,
    definitions: &OldDefinitions,
) -> Result<bool, Error>
where
    K: Clone + Serialize + DeserializeOwned + Debug + Resource<DynamicType = ()>,
{
    let name = object.name_any();
    if definitions.has_sent(manager, object, status) {
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
        Err(error) if definitions.explains(&error, &K::plural(&())) => {
            match merge(api, object, json!({"status": status})).await {
                // The object itself was deleted in the meantime.
                Err(error) if error.class() == Class::NotFound => return Ok(false),
                result => result?,
            };
            definitions.record(manager, object, status);
            Ok(true)
        }
        result => result.map(|_| true),
    }
}
