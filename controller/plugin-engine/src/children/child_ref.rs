//! References to existing children, and the rule whose children they are.

use kube::{ResourceExt as _, core::ApiResource};

use crate::model::{
    child_meta::ChildMeta,
    labels::{KEY_LABEL, PLUGIN_LABEL, SUBJECT_LABEL},
};

/// An existing child, as the watch knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChildRef {
    pub(crate) resource: ApiResource,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) key: String,
}

impl ChildRef {
    /// Returns a reference to `child`, an object in the cache of a watch.
    pub(crate) fn of(resource: &ApiResource, child: &ChildMeta) -> Self {
        Self {
            resource: resource.clone(),
            name: child.name_any(),
            uid: child.uid().unwrap_or_default(),
            key: child.labels().get(KEY_LABEL).cloned().unwrap_or_default(),
        }
    }
}

/// The plugin, subject and owner that children belong to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ownership<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) subject_uid: &'a str,
    pub(crate) owner_uid: &'a str,
}

impl Ownership<'_> {
    /// Returns whether `live` has this owner and these labels. No other objects are ever changed or deleted.
    pub(crate) fn holds(&self, live: &impl kube::Resource) -> bool {
        let labels = live.labels();
        operator_runtime::k8s::is_controlled_by(live, self.owner_uid)
            && labels.get(PLUGIN_LABEL).is_some_and(|plugin| plugin == self.plugin)
            && labels.get(SUBJECT_LABEL).is_some_and(|uid| uid == self.subject_uid)
    }
}
