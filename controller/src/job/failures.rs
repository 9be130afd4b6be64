//! What follows from a cluster or a runner of a job that failed or was lost. Pure.

use dask_operator_api::DaskJobStatus;
use operator_runtime::rejection::Rejection;

use super::{
    children::{Cluster, Lookup},
    container::State,
    next::Next,
    phase::Pass,
};

/// The failures of a job's runners.
struct Failures {
    /// How many runners failed so far.
    count: i64,
    /// Whether the kubelet restarts the last one inside its pod.
    will_restart: bool,
    /// Why the last one failed.
    why: Rejection,
}

impl Pass<'_> {
    /// Returns why the job cannot continue with its cluster, if it cannot.
    pub(super) fn cluster_is_lost(&self) -> Option<Rejection> {
        let was_there = self.recorded.cluster_name.is_some();
        match &self.world.cluster {
            Lookup::Ours(Cluster { is_broken: true, health, .. }) => {
                let why = health.trouble().map(|trouble| format!(": {}", trouble.message)).unwrap_or_default();
                Some(Rejection::new("ClusterFailed", format!("the job's DaskCluster is in phase Error{why}")))
            }
            Lookup::Ours(Cluster { is_going: false, .. }) => None,
            _ if was_there => Some(Rejection::new("ClusterLost", "the job's DaskCluster was deleted")),
            _ => None,
        }
    }

    /// Returns what follows from a runner that failed or was lost, if one did.
    pub(super) fn failure(&self) -> Option<Next> {
        let Failures { count, will_restart, why } = self.failures()?;
        let limit = self.terms.backoff_limit.unwrap_or(0);
        if count > limit {
            return Some(self.fail(why));
        }
        if will_restart {
            return None;
        }
        let status = DaskJobStatus {
            job_runner_pod_name: None,
            start_time: self.start_time(),
            failed_runners: Some(count),
            ..self.recorded.clone()
        };
        let delete_runner = self.world.standing_runner();
        Some(Next { reported: Some(why), delete_runner, ..Next::wait(status) })
    }

    /// Returns the failures of runners so far, if the last one has failed.
    fn failures(&self) -> Option<Failures> {
        let failed = |count: i64, why| Failures { count, will_restart: false, why };
        let next = self.failed().saturating_add(1);
        let lost = || failed(next, Rejection::new("RunnerLost", "the runner's pod was deleted"));
        let was_there = self.recorded.job_runner_pod_name.is_some();
        let Some(runner) = self.runner() else {
            // A runner of a later attempt only shows that the recorded status is out of date.
            return (was_there && !matches!(self.world.runner, Lookup::Ours(_))).then(lost);
        };
        let failures = self.failed().saturating_add(runner.restarts);
        match runner.state {
            State::Failed(_) => {
                let failures = failures.saturating_add(1);
                let why = Rejection::new("RunnerFailed", format!("the runner failed (failure {failures})"));
                Some(failed(failures, why))
            }
            _ if runner.lost_at().is_some_and(|lost_at| lost_at <= self.now) => Some(lost()),
            // Without a limit, the kubelet restarts a runner forever, as with dask-kubernetes.
            _ if runner.restarts > 0 && self.terms.backoff_limit.is_some() => {
                let why = Rejection::new("BackoffLimitExceeded", format!("the runner failed {failures} times"));
                Some(Failures { count: failures, will_restart: true, why })
            }
            _ => None,
        }
    }
}
