//! Decides which object controls another one. Pure.

use kube::{Resource, ResourceExt as _};

/// Returns whether the object with `uid` controls `object`.
pub fn is_controlled_by<K: Resource>(object: &K, uid: &str) -> bool {
    object.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}
