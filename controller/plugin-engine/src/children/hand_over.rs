//! Releases an object that a person has handed over to a plugin from its former controller.
//!
//! `kopf.adopt` makes the object of its handler the controlling owner. Kubernetes allows one controlling owner, so that
//! the reference goes before the plugin's own one is applied.

use kube::{Resource as _, api::DynamicObject};
use serde_json::{Value, json};

/// Returns the owner references of `live` without the controlling ones that `manifest` does not have. Returns `None` if
/// none of them is in the way. Only the plan decides that an object is handed over.
pub(super) fn released_owners(live: &DynamicObject, manifest: &Value) -> Option<Value> {
    let new_owners = manifest["metadata"]["ownerReferences"].as_array()?;
    let is_new = |uid: &str| new_owners.iter().any(|owner| owner["uid"] == uid);
    let owners = live.meta().owner_references.as_deref().unwrap_or_default();
    let (former, kept): (Vec<_>, Vec<_>) =
        owners.iter().partition(|owner| owner.controller == Some(true) && !is_new(&owner.uid));
    (!former.is_empty()).then(|| json!(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned_by(owners: &Value) -> DynamicObject {
        let metadata = json!({"name": "web", "ownerReferences": owners});
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).unwrap()
    }

    fn owner(uid: &str, controller: bool) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "name": uid, "uid": uid, "controller": controller})
    }

    fn manifest() -> Value {
        json!({"metadata": {"ownerReferences": [owner("cluster", true)]}})
    }

    #[test]
    fn former_controllers_go_and_other_owners_stay() {
        let live = owned_by(&json!([owner("service", true), owner("other", false)]));
        assert_eq!(released_owners(&live, &manifest()), Some(json!([owner("other", false)])));
    }

    #[test]
    fn an_object_without_another_controller_is_left_as_it_is() {
        for owners in [json!([]), json!([owner("cluster", true)]), json!([owner("other", false)])] {
            assert_eq!(released_owners(&owned_by(&owners), &manifest()), None);
        }
    }

    #[test]
    fn a_child_without_an_owner_leaves_the_former_one() {
        let live = owned_by(&json!([owner("service", true)]));
        assert_eq!(released_owners(&live, &json!({"metadata": {"name": "web"}})), None);
    }
}
