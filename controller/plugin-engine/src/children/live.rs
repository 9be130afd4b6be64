//! The children of one subject as they exist in the cluster, read within limits.

use std::collections::{BTreeMap, HashMap, HashSet};

use json_measure::{Limits, measure};
use kube::{ResourceExt as _, api::DynamicObject, core::ApiResource};
use serde_json::Value;

use super::{
    child_ref::{ChildRef, Ownership},
    plan::WantedChild,
    problem::Problem,
};
use crate::model::{
    child_meta::{ChildMeta, manager_of},
    child_version::ChildName,
    labels::KEY_LABEL,
};
use plugin_protocol::limits;

/// The maximum number of children of one subject whose content is read. It equals the children of two responses.
pub(super) const MAX_READ: usize = 2 * limits::MAX_CHILDREN;
/// The maximum size of the contents of all children of one subject together. A request has at most 4 MiB.
const CONTENTS: Limits = Limits { bytes: limits::MAX_REQUEST_BYTES, nodes: 60_000, depth: 100 };

/// The name of an object of one kind, within its namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ObjectName {
    pub(crate) resource: ApiResource,
    pub(crate) name: String,
}

impl ObjectName {
    pub(crate) fn of(child: &ChildRef) -> Self {
        Self { resource: child.resource.clone(), name: child.name.clone() }
    }
}

/// Children as they exist in the cluster. Some may have no content.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) objects: HashMap<ObjectName, DynamicObject>,
    /// The names of children that were not read.
    unread: HashSet<ObjectName>,
    /// The number of children that were read without their content.
    without_content: usize,
    left: Left,
}

/// The objects that existed before the apply.
pub(crate) type Existing = HashMap<ChildName, DynamicObject>;

/// The size that further contents may have.
#[derive(Clone, Copy, Debug)]
struct Left {
    bytes: usize,
    nodes: usize,
}

impl Default for Left {
    fn default() -> Self {
        Self { bytes: CONTENTS.bytes, nodes: CONTENTS.nodes }
    }
}

impl Live {
    /// Returns children without any content yet. Those in `unread` will not be read.
    pub(super) fn without(unread: &[ChildRef]) -> Self {
        Self { unread: unread.iter().map(ObjectName::of).collect(), ..Self::default() }
    }

    /// Adds an object from the response of the API server, without its content if that is too large.
    pub(super) fn add(&mut self, name: ObjectName, text: &str) -> serde_json::Result<()> {
        let (measure, left) = (measure(text.as_bytes()), &mut self.left);
        let limits = Limits { bytes: left.bytes, nodes: left.nodes, ..CONTENTS };
        let object = if measure.check(&limits).is_ok() {
            left.bytes -= measure.bytes;
            left.nodes -= measure.nodes;
            serde_json::from_str(text)?
        } else {
            self.without_content += 1;
            let found: ChildMeta = serde_json::from_str(text)?;
            found.without_content(&name.resource)
        };
        self.objects.insert(name, object);
        Ok(())
    }

    /// Returns whether `known` is still a child: it exists, no other client has taken it over, and this controller
    /// applied it. Returns `true` for a child that was not read, because it is checked again before it is deleted.
    pub(crate) fn confirms(&self, known: &ChildRef, claim: Ownership<'_>) -> bool {
        let name = ObjectName::of(known);
        let manager = manager_of(claim.plugin);
        let is_ours = |object: &DynamicObject| claim.holds(object) && is_applied_by(object, &manager);
        self.unread.contains(&name) || self.objects.get(&name).is_some_and(is_ours)
    }

    /// Returns a problem that informs the user if children were not sent to the plugin.
    pub(crate) fn omitted(&self) -> Option<Problem> {
        let count = self.unread.len() + self.without_content;
        let message = || {
            format!(
                "{count} objects that carry the labels of this subject's children were not shown to the plugin: they \
                 are more than {MAX_READ}, or have more than {} bytes or {} values together",
                CONTENTS.bytes, CONTENTS.nodes
            )
        };
        (count > 0).then(|| Problem { reason: "ChildrenNotShown", message: message(), requeue_after: None })
    }
}

/// Returns whether `manager` applied an object.
fn is_applied_by(object: &DynamicObject, manager: &str) -> bool {
    let mut entries = object.managed_fields().iter();
    entries.any(|entry| entry.operation.as_deref() == Some("Apply") && entry.manager.as_deref() == Some(manager))
}

/// Returns the objects that exist under the names of `wanted`.
pub(crate) fn existing(wanted: &[WantedChild]) -> Existing {
    let by_name = |WantedChild { child, live }: &WantedChild| {
        Some((ChildName::of(child.resource(), child.name()), live.clone()?))
    };
    wanted.iter().filter_map(by_name).collect()
}

/// Returns the children by key, as a request contains them.
pub(crate) fn by_key(live: &Live) -> BTreeMap<String, Value> {
    let shown = live.objects.values().filter(|child| !child.data.is_null());
    shown
        .filter_map(|child| Some((child.labels().get(KEY_LABEL)?.clone(), serde_json::to_value(child).ok()?)))
        .collect()
}

#[cfg(test)]
mod tests;
