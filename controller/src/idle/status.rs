//! Writes the condition that reports whether the scheduler can be asked for its idleness.

use dask_operator_api::DaskCluster;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use operator_runtime::{
    conditions::{self, ConditionUpdate},
    k8s,
    report::StatusReporter,
};
use serde_json::json;

/// Field manager of this condition. The rest of the status belongs to the cluster reconciler.
const MANAGER: &str = "dask-operator/idle";
/// The condition that the scheduler reports whether it is idle. It is absent until the scheduler has first failed to.
const IDLE_PROBED: &str = "IdleProbed";

/// The outcome of asking the scheduler whether it is idle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reached<'a> {
    /// The cluster has no idle time-out.
    Unasked,
    /// The scheduler is not ready, so it was not asked.
    NotReady,
    Yes,
    No(&'a dask_scheduler_client::Error),
}

/// Writes the condition if its status or reason changes.
pub(super) async fn write(
    reporter: &StatusReporter,
    cluster: &DaskCluster,
    reached: Reached<'_>,
) -> Result<(), k8s::Error> {
    let old = of_cluster(cluster);
    let generation = cluster.metadata.generation;
    let Some(verdicts) = changed_verdicts(old.first(), reached, generation) else {
        return Ok(());
    };
    let desired = conditions::updated(&old, verdicts, generation, Timestamp::now());
    match reporter.apply(MANAGER, cluster, &json!({"conditions": desired})).await {
        // The cluster was deleted in the meantime.
        Err(error) if error.is_outdated() => return Ok(()),
        Ok(false) => return Ok(()),
        result => result?,
    };
    reporter.condition_changes(cluster, &old, &desired).await;
    Ok(())
}

fn of_cluster(cluster: &DaskCluster) -> Vec<Condition> {
    let all = cluster.status.iter().flat_map(|status| &status.conditions);
    all.filter(|condition| condition.type_ == IDLE_PROBED).cloned().collect()
}

/// Returns the condition to write, or `None` if the current one is up to date. Only generation, status and reason are
/// compared, because messages may differ from one failure to the next.
fn changed_verdicts(
    old: Option<&Condition>,
    reached: Reached<'_>,
    generation: Option<i64>,
) -> Option<Vec<ConditionUpdate>> {
    let verdict = match (old, reached) {
        (None, Reached::Unasked | Reached::NotReady | Reached::Yes) => return None,
        (Some(_), Reached::Unasked) => return Some(Vec::new()),
        (Some(_), Reached::Yes) => ConditionUpdate::yes(IDLE_PROBED, "Probed", "the scheduler says whether it is idle"),
        (Some(_), Reached::NotReady) => {
            let message = "the scheduler is not ready, so it is not asked";
            ConditionUpdate::unknown(IDLE_PROBED, "SchedulerNotReady", message)
        }
        (_, Reached::No(error)) => ConditionUpdate::no(IDLE_PROBED, error.reason(), error.to_string()),
    };
    let is_known = |old: &Condition| {
        let old_verdict = ConditionUpdate::copied(IDLE_PROBED, old);
        (old_verdict.status, &old_verdict.reason) == (verdict.status, &verdict.reason)
            && old.observed_generation == generation
    };
    (!old.is_some_and(is_known)).then(|| vec![verdict])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(category: &str) -> dask_scheduler_client::Error {
        match category {
            "connect" => {
                dask_scheduler_client::Error::Connect { address: "a:1".to_owned(), cause: "refused".to_owned() }
            }
            other => dask_scheduler_client::Error::Protocol(other.to_owned()),
        }
    }

    fn condition(verdicts: Vec<ConditionUpdate>) -> Condition {
        conditions::updated(&[], verdicts, None, Timestamp::UNIX_EPOCH).remove(0)
    }

    fn news_of(old: Option<&Condition>, reached: Reached<'_>) -> Option<Vec<ConditionUpdate>> {
        changed_verdicts(old, reached, None)
    }

    /// Writing more than these would mean a write for each probe of each cluster.
    #[test]
    fn a_condition_is_written_for_a_failure_and_for_its_end_only() {
        assert_eq!(news_of(None, Reached::Yes), None);
        let failed = condition(news_of(None, Reached::No(&error("connect"))).unwrap());
        assert_eq!((failed.status.as_str(), failed.reason.as_str()), ("False", "SchedulerUnreachable"));
        assert_eq!(news_of(Some(&failed), Reached::No(&error("connect"))), None);
        let other = condition(news_of(Some(&failed), Reached::No(&error("garbage"))).unwrap());
        assert_eq!(other.reason, "SchedulerProtocol");
        assert_eq!(news_of(Some(&other), Reached::No(&error("other garbage"))), None);
        let reached = condition(news_of(Some(&failed), Reached::Yes).unwrap());
        assert_eq!(reached.status, "True");
        assert_eq!(news_of(Some(&reached), Reached::Yes), None);
        let unknown = condition(news_of(Some(&reached), Reached::NotReady).unwrap());
        assert_eq!((unknown.status.as_str(), news_of(Some(&unknown), Reached::NotReady)), ("Unknown", None));
    }

    /// All conditions of a status are about the same spec.
    #[test]
    fn the_condition_moves_to_a_new_generation() {
        let failed = condition(changed_verdicts(None, Reached::No(&error("connect")), None).unwrap());
        let written = changed_verdicts(Some(&failed), Reached::No(&error("connect")), Some(2)).unwrap();
        let moved = conditions::updated(&[failed], written, Some(2), Timestamp::UNIX_EPOCH).remove(0);
        assert_eq!(moved.observed_generation, Some(2));
        assert_eq!(changed_verdicts(Some(&moved), Reached::No(&error("connect")), Some(2)), None);
    }

    #[test]
    fn the_condition_is_removed_with_the_time_out() {
        assert_eq!(changed_verdicts(None, Reached::Unasked, None), None);
        let failed = condition(changed_verdicts(None, Reached::No(&error("connect")), None).unwrap());
        assert_eq!(changed_verdicts(Some(&failed), Reached::Unasked, None), Some(Vec::new()));
    }
}
