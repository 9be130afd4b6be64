//! Reads from a job's spec how long its workers, its cluster and itself are kept after its end. Pure.

use dask_operator_api::{DaskJobSpec, DaskJobStatus, DeletionRule, JobDeletionPolicy, JobOutcome, job_status::FAILED};
use jiff::SignedDuration;
use operator_runtime::rejection::Rejection;

/// How many policies there are.
const POLICIES: usize = 4;

/// How long after the job's end each part is deleted. `None` keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retention {
    pub(super) workers: Option<SignedDuration>,
    pub(super) cluster: Option<SignedDuration>,
    /// The DaskJob, with everything that belongs to it.
    pub(super) job: Option<SignedDuration>,
}

impl Default for Retention {
    /// As in dask-kubernetes: the cluster is deleted at once, and the job is kept.
    fn default() -> Self {
        Self { workers: None, cluster: Some(SignedDuration::ZERO), job: None }
    }
}

/// The retention for each outcome of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Retentions {
    pub(super) successful: Retention,
    pub(super) failed: Retention,
}

impl Retentions {
    /// Returns the retentions by the spec's rules. Rules for an outcome replace the default for it.
    pub(super) fn of(spec: &DaskJobSpec) -> Self {
        Self { successful: retention(spec, JobOutcome::Successful), failed: retention(spec, JobOutcome::Failed) }
    }

    /// Returns the retention for a job that ended with this status.
    pub(super) fn after(&self, ended: &DaskJobStatus) -> Retention {
        if ended.job_status.as_deref() == Some(FAILED) { self.failed } else { self.successful }
    }
}

fn retention(spec: &DaskJobSpec, outcome: JobOutcome) -> Retention {
    let ttl = spec.ttl_seconds_after_finished.map(SignedDuration::from_secs);
    let rules = rules(spec, outcome);
    if rules.is_empty() {
        return Retention { job: ttl, ..Retention::default() };
    }
    Retention {
        workers: time(&rules, JobDeletionPolicy::DeleteWorkers),
        cluster: time(&rules, JobDeletionPolicy::DeleteCluster),
        job: time(&rules, JobDeletionPolicy::DeleteSelf).or(ttl),
    }
}

fn rules(spec: &DaskJobSpec, outcome: JobOutcome) -> Vec<DeletionRule> {
    spec.deletion_rules.iter().copied().filter(|rule| rule.condition.job_status == outcome).collect()
}

/// Returns the earliest time at which a rule with this policy takes effect.
fn time(rules: &[DeletionRule], policy: JobDeletionPolicy) -> Option<SignedDuration> {
    let of_policy = rules.iter().filter(|rule| rule.policy == policy);
    of_policy.map(|rule| SignedDuration::from_secs(rule.condition.ttl_seconds)).min()
}

/// Returns why the rules contradict each other. The CRD rejects such rules, but one that is older than this operator
/// may have accepted them.
pub(super) fn contradiction(spec: &DaskJobSpec) -> Option<Rejection> {
    let why = [JobOutcome::Successful, JobOutcome::Failed].into_iter().find_map(|outcome| {
        let why = contradiction_after(spec, outcome)?;
        Some(format!("spec.deletionRules for the jobStatus {outcome:?}: {why}"))
    })?;
    Some(Rejection::new("InvalidDeletionRules", why))
}

fn contradiction_after(spec: &DaskJobSpec, outcome: JobOutcome) -> Option<&'static str> {
    let rules = rules(spec, outcome);
    if rules.len() > POLICIES {
        return Some("there are more rules than policies");
    }
    let is_repeated = |rule: &DeletionRule| rules.iter().filter(|other| other.policy == rule.policy).count() > 1;
    if rules.iter().any(is_repeated) {
        return Some("there must be one rule at most for each policy");
    }
    let is_none = |rule: &DeletionRule| rule.policy == JobDeletionPolicy::DeleteNone;
    if rules.len() > 1 && rules.iter().any(is_none) {
        return Some("DeleteNone must be the only rule");
    }
    let ttl = spec.ttl_seconds_after_finished;
    if ttl.is_some() && time(&rules, JobDeletionPolicy::DeleteSelf).is_some() {
        return Some("ttlSecondsAfterFinished and DeleteSelf exclude each other");
    }
    let Retention { workers, cluster, job } = retention(spec, outcome);
    let times: Vec<SignedDuration> = [workers, cluster, job].into_iter().flatten().collect();
    (!times.is_sorted()).then_some("workers must not be deleted after the cluster, and the cluster not after the job")
}

#[cfg(test)]
mod tests {
    use dask_operator_api::job_status::SUCCESSFUL;
    use serde_json::{Value, json};

    use super::*;
    use crate::job::build::tests::mk_job;

    fn spec(ttl: Option<i64>, rules: &[Value]) -> DaskJobSpec {
        mk_job(|job| {
            job["spec"]["ttlSecondsAfterFinished"] = json!(ttl);
            job["spec"]["deletionRules"] = json!(rules);
        })
        .spec
    }

    fn rule(policy: &str, outcome: &str, ttl: i64) -> Value {
        json!({"policy": policy, "condition": {"jobStatus": outcome, "ttlSeconds": ttl}})
    }

    fn seconds(workers: Option<i64>, cluster: Option<i64>, job: Option<i64>) -> Retention {
        let span = |seconds: Option<i64>| seconds.map(SignedDuration::from_secs);
        Retention { workers: span(workers), cluster: span(cluster), job: span(job) }
    }

    #[test]
    fn without_a_rule_for_an_outcome_only_the_cluster_is_deleted() {
        let default = seconds(None, Some(0), None);
        assert_eq!(Retentions::of(&spec(None, &[])), Retentions { successful: default, failed: default });
        let only_failed = Retentions::of(&spec(Some(9), &[rule("DeleteCluster", "Failed", 3)]));
        assert_eq!(only_failed.successful, seconds(None, Some(0), Some(9)));
        assert_eq!(only_failed.failed, seconds(None, Some(3), Some(9)));
    }

    #[test]
    fn rules_say_what_is_deleted_when_for_each_outcome() {
        let failed = "Failed";
        let table = [
            (vec![rule("DeleteNone", failed, 0)], seconds(None, None, None)),
            (vec![rule("DeleteWorkers", failed, 5)], seconds(Some(5), None, None)),
            (vec![json!({"policy": "DeleteSelf", "condition": {"jobStatus": failed}})], seconds(None, None, Some(0))),
            (
                vec![rule("DeleteSelf", failed, 9), rule("DeleteWorkers", failed, 0), rule("DeleteCluster", failed, 5)],
                seconds(Some(0), Some(5), Some(9)),
            ),
        ];
        for (rules, expected) in table {
            let retentions = Retentions::of(&spec(None, &rules));
            let status = |outcome: &str| DaskJobStatus { job_status: Some(outcome.to_owned()), ..Default::default() };
            assert_eq!(retentions.after(&status(FAILED)), expected, "{rules:?}");
            assert_eq!(retentions.after(&status(SUCCESSFUL)), Retention::default(), "{rules:?}");
        }
    }

    #[test]
    fn rules_that_contradict_each_other_are_found() {
        let (good, bad) = ("Successful", "Failed");
        let table = [
            ("none", None, vec![], false),
            ("in order", None, vec![rule("DeleteCluster", bad, 5), rule("DeleteWorkers", bad, 5)], false),
            ("not of one outcome", None, vec![rule("DeleteCluster", bad, 5), rule("DeleteWorkers", good, 9)], false),
            ("workers last", None, vec![rule("DeleteCluster", bad, 5), rule("DeleteWorkers", bad, 6)], true),
            ("job first", None, vec![rule("DeleteSelf", bad, 4), rule("DeleteCluster", bad, 5)], true),
            ("twice", None, vec![rule("DeleteSelf", bad, 4), rule("DeleteSelf", bad, 4)], true),
            ("nothing and something", None, vec![rule("DeleteNone", bad, 0), rule("DeleteSelf", bad, 4)], true),
            ("two ends of the job", Some(9), vec![rule("DeleteSelf", bad, 9)], true),
            ("after the job's end", Some(4), vec![rule("DeleteCluster", bad, 5)], true),
            ("kept until the job's end", Some(4), vec![rule("DeleteNone", bad, 0)], false),
            ("before the job's end", Some(5), vec![rule("DeleteCluster", bad, 5)], false),
        ];
        for (what, ttl, rules, is_contradiction) in table {
            let found = contradiction(&spec(ttl, &rules));
            assert_eq!(found.map(|found| found.reason), is_contradiction.then_some("InvalidDeletionRules"), "{what}");
        }
    }
}
