//! Recognizes subjects that somebody took a label from. Such a subject leaves the watch as if it were deleted, or seems to
//! belong to another Dask resource. Its children must not be deleted, because the controller restores the label at once.

use kube::{
    Api, Resource as _,
    api::{DynamicObject, ObjectMeta},
};
use operator_runtime::k8s;

use super::Syncing;
use crate::model::{stored_object::StoredObject, subject};

impl Syncing<'_> {
    /// Returns whether the subject exists, but lost a label that it had when its children were written. `found` is the
    /// subject according to the watch.
    pub(crate) async fn has_lost_labels(&self, found: Option<&StoredObject>) -> Result<bool, k8s::Error> {
        if self.memory.written.is_empty() || subject::label_selector(self.key.kind).is_none() {
            return Ok(false);
        }
        if let Some(found) = found {
            return Ok(self.is_same(found.meta()) && subject::is_mislabelled(self.key.kind, found));
        }
        let resource = subject::api_resource(self.key.kind);
        let api: Api<DynamicObject> = Api::namespaced_with(self.env.client.clone(), &self.key.namespace, &resource);
        let found = k8s::timed("get", &self.key.to_string(), api.get_metadata_opt(&self.key.name)).await?;
        Ok(found.is_some_and(|found| self.is_same(&found.metadata)))
    }

    fn is_same(&self, found: &ObjectMeta) -> bool {
        found.uid.as_deref() == Some(&self.memory.subject_uid) && found.deletion_timestamp.is_none()
    }
}
