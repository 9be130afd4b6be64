//! Deletes objects, with their uid as a precondition.

use std::fmt::Debug;

use kube::{
    Api,
    api::{DeleteParams, Preconditions, PropagationPolicy},
};
use serde::de::DeserializeOwned;

use super::{Class, Error, timed};

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
