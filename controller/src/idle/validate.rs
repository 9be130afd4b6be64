//! Reads the idle time-out of a cluster. Pure.

use dask_operator_api::{DaskCluster, IdleAction, meta::SCALED_TO_ZERO};
use jiff::SignedDuration;
use kube::ResourceExt as _;

use super::decide::Rules;

/// A cluster that has an idle time-out.
#[derive(Clone, Debug)]
pub(super) struct Validated {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) action: IdleAction,
    pub(super) rules: Rules,
}

/// Returns the idle settings; `None` for a cluster without an idle time-out.
pub(super) fn validate(cluster: &DaskCluster) -> Option<Validated> {
    let timeout = cluster.spec.idle_timeout;
    if timeout <= 0 {
        return None;
    }
    let action = cluster.spec.idle_action.unwrap_or_default();
    let handled = cluster.annotations().get(SCALED_TO_ZERO).cloned();
    Some(Validated {
        name: cluster.name_any(),
        namespace: cluster.namespace()?,
        uid: cluster.uid()?,
        action,
        rules: Rules {
            timeout: SignedDuration::from_secs(timeout),
            handled: handled.filter(|_| action == IdleAction::ScaleToZero),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_fixtures::mk_cluster;

    #[test]
    fn a_cluster_without_a_positive_time_out_is_never_idle() {
        let mut cluster = mk_cluster("demo");
        assert!(validate(&cluster).is_none());
        cluster.spec.idle_timeout = -1;
        assert!(validate(&cluster).is_none());
        cluster.spec.idle_timeout = 1;
        assert_eq!(validate(&cluster).unwrap().action, IdleAction::Delete);
    }

    /// The annotation of `ScaleToZero` must not keep a cluster whose action became `Delete`.
    #[test]
    fn a_cluster_that_was_scaled_to_zero_may_be_deleted_later() {
        let mut cluster = mk_cluster("demo");
        cluster.spec.idle_timeout = 1;
        cluster.annotations_mut().insert(SCALED_TO_ZERO.to_owned(), "12.5".to_owned());
        assert_eq!(validate(&cluster).unwrap().rules.handled, None);
        cluster.spec.idle_action = Some(IdleAction::ScaleToZero);
        assert_eq!(validate(&cluster).unwrap().rules.handled.as_deref(), Some("12.5"));
    }
}
