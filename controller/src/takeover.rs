//! Traces of dask-kubernetes' operator on objects that it made.

use kube::Resource;
use serde_json::{Value, json};

/// The finalizer that kopf puts on resources with timers. Nobody but kopf removes it, so without kopf such an
/// object, and its namespace, could never be deleted.
const KOPF_FINALIZER: &str = "kopf.zalando.org/KopfFinalizerMarker";

/// The operations (RFC 6902) that free `object` of kopf's finalizer; `None` if it has none. Other finalizers
/// stay, also such as were added since `object` was read.
pub fn without_kopf(object: &impl Resource) -> Option<Vec<Value>> {
    let finalizers = object.meta().finalizers.as_ref()?;
    let index = finalizers.iter().position(|finalizer| finalizer == KOPF_FINALIZER)?;
    let path = format!("/metadata/finalizers/{index}");
    Some(vec![json!({"op": "test", "path": path, "value": KOPF_FINALIZER}), json!({"op": "remove", "path": path})])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_fixtures::mk_cluster;

    #[test]
    fn kopfs_finalizer_goes_and_others_stay() {
        let mut cluster = mk_cluster("demo");
        assert_eq!(without_kopf(&cluster), None);
        cluster.metadata.finalizers = Some(vec!["example.org/mine".to_owned(), KOPF_FINALIZER.to_owned()]);
        let path = "/metadata/finalizers/1";
        let expected =
            vec![json!({"op": "test", "path": path, "value": KOPF_FINALIZER}), json!({"op": "remove", "path": path})];
        assert_eq!(without_kopf(&cluster), Some(expected));
    }
}
