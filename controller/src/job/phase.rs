//! Decides what to do for a job: a pure function of the recorded status, the observed children and the time.

use dask_operator_api::DaskJobStatus;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use operator_runtime::{conditions::whole_seconds, rejection::Rejection};

use super::{
    children::{Cluster, Lookup, ObservedChildren},
    cleanup::{clean_up, earliest, is_finished},
    runner::{Runner, State},
    validate::Terms,
};

/// Values of `jobStatus`, which clients compare.
pub(crate) mod job_status {
    pub(in crate::job) const CREATED: &str = "JobCreated";
    pub(in crate::job) const CLUSTER_CREATED: &str = "ClusterCreated";
    pub(in crate::job) const RUNNING: &str = "Running";
    pub(in crate::job) const SUCCESSFUL: &str = "Successful";
    pub(in crate::job) const FAILED: &str = "Failed";
    pub(in crate::job) const SUSPENDED: &str = "Suspended";
    /// All values.
    pub(crate) const ALL: [&str; 6] = [CREATED, CLUSTER_CREATED, RUNNING, SUCCESSFUL, FAILED, SUSPENDED];
}
use job_status::{CLUSTER_CREATED, CREATED, FAILED, RUNNING, SUCCESSFUL, SUSPENDED};

/// How much longer than announced the deletion of a runner may take before its node counts as lost.
const NODE_LOST: SignedDuration = SignedDuration::from_mins(1);
/// What to do next: first the status, then the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Next {
    pub(super) status: DaskJobStatus,
    /// The reason for the change of the status, if users should be informed.
    pub(super) told: Option<Rejection>,
    /// What blocks the job.
    pub(super) blocked: Option<Rejection>,
    /// Whether to create the missing ones of cluster and runner.
    pub(super) make: bool,
    /// The uid of the cluster to delete.
    pub(super) delete_cluster: Option<String>,
    /// The uid of the runner to delete.
    pub(super) delete_runner: Option<String>,
    pub(super) delete_job: bool,
    /// When the next pass is due if nothing changes before.
    pub(super) wake: Option<Timestamp>,
}

impl Next {
    /// Returns whether anything would be written.
    pub(super) fn changes(&self, recorded: &DaskJobStatus) -> bool {
        self.status != *recorded
            || self.make
            || self.delete_job
            || self.delete_cluster.is_some()
            || self.delete_runner.is_some()
    }

    pub(super) fn wait(status: DaskJobStatus) -> Self {
        Self { status, ..Self::default() }
    }
}

pub(super) fn next(recorded: &DaskJobStatus, terms: &Terms, world: &ObservedChildren, now: Timestamp) -> Next {
    if is_finished(recorded) {
        return clean_up(recorded.clone(), terms, world, now);
    }
    let pass = Pass { recorded, terms, world, now };
    if let Some(invalid) = &terms.invalid {
        return pass.fail(invalid.clone());
    }
    if recorded.job_status.as_deref() == Some(SUSPENDED) {
        return pass.suspended();
    }
    let runner = pass.runner();
    if let Some(Runner { state: State::Succeeded(at), .. }) = runner {
        return pass.end(SUCCESSFUL, *at, None);
    }
    if terms.suspend {
        return pass.suspend();
    }
    if let Some(lost) = pass.cluster_is_lost() {
        return pass.fail(lost);
    }
    if pass.deadline().is_some_and(|deadline| deadline <= now) {
        return pass.fail(Rejection::new("DeadlineExceeded", "the job ran longer than its activeDeadlineSeconds"));
    }
    pass.failure().unwrap_or_else(|| pass.go_on(runner))
}

/// Returns the status once cluster and runner exist.
pub(super) fn made(status: &DaskJobStatus, terms: &Terms) -> DaskJobStatus {
    let is_created = status.job_status.as_deref() == Some(CREATED);
    DaskJobStatus {
        cluster_name: Some(terms.name.clone()),
        job_runner_pod_name: Some(terms.runner_name.clone()),
        job_status: if is_created { Some(CLUSTER_CREATED.to_owned()) } else { status.job_status.clone() },
        ..status.clone()
    }
}

/// Returns the status of a job whose cluster or runner the API server will never accept.
pub(super) fn refused(status: &DaskJobStatus, now: Timestamp) -> DaskJobStatus {
    DaskJobStatus { job_status: Some(FAILED.to_owned()), end_time: Some(Time(whole_seconds(now))), ..status.clone() }
}

struct Pass<'a> {
    recorded: &'a DaskJobStatus,
    terms: &'a Terms,
    world: &'a ObservedChildren,
    now: Timestamp,
}

impl Pass<'_> {
    /// Returns the recorded number of failed runners.
    fn failed(&self) -> i64 {
        self.recorded.failed_runners.unwrap_or(0)
    }

    /// Returns the runner of the current attempt. One that is being deleted while no runner is recorded is left out:
    /// it has to be gone before the next one is created.
    fn runner(&self) -> Option<&Runner> {
        match &self.world.runner {
            Lookup::Ours(runner) if runner.predecessors == self.failed() => {
                Some(runner).filter(|runner| runner.gone_by.is_none() || self.recorded.job_runner_pod_name.is_some())
            }
            _ => None,
        }
    }

    /// Returns the first known start, because `activeDeadlineSeconds` counts from it.
    fn start_time(&self) -> Option<Time> {
        let seen = || self.runner()?.started.map(Time);
        self.recorded.start_time.clone().or_else(seen)
    }

    fn deadline(&self) -> Option<Timestamp> {
        let start = self.start_time().map(|time| time.0).or_else(|| self.runner()?.created)?;
        start.checked_add(self.terms.deadline?).ok()
    }

    fn fail(&self, why: Rejection) -> Next {
        let at = match self.runner() {
            Some(Runner { state: State::Failed(at), .. }) => *at,
            _ => None,
        };
        self.end(FAILED, at, Some(why))
    }

    fn end(&self, outcome: &str, at: Option<Timestamp>, told: Option<Rejection>) -> Next {
        let is_ours = matches!(self.world.cluster, Lookup::Ours(_));
        let cluster = is_ours.then(|| self.terms.name.clone());
        let runner = self.runner().map(|_| self.terms.runner_name.clone());
        let status = DaskJobStatus {
            cluster_name: self.recorded.cluster_name.clone().or(cluster),
            job_runner_pod_name: self.recorded.job_runner_pod_name.clone().or(runner),
            job_status: Some(outcome.to_owned()),
            start_time: self.start_time(),
            end_time: Some(Time(at.unwrap_or_else(|| whole_seconds(self.now)))),
            failed_runners: self.recorded.failed_runners,
        };
        Next { told, ..clean_up(status, self.terms, self.world, self.now) }
    }

    /// Suspends the job. Both names are removed from the status, so that the deleted children are not taken for lost
    /// later.
    fn suspend(&self) -> Next {
        let status = DaskJobStatus {
            job_status: Some(SUSPENDED.to_owned()),
            failed_runners: self.recorded.failed_runners,
            ..DaskJobStatus::default()
        };
        Next {
            status,
            delete_cluster: self.world.standing_cluster(),
            delete_runner: self.world.standing_runner(),
            ..Next::default()
        }
    }

    /// Returns the next step of a suspended job. A resumed job starts from the beginning, once nothing is left of its
    /// children.
    fn suspended(&self) -> Next {
        let is_left = matches!(self.world.cluster, Lookup::Ours(_)) || matches!(self.world.runner, Lookup::Ours(_));
        if self.terms.suspend || is_left {
            return Next { status: self.recorded.clone(), ..self.suspend() };
        }
        self.make(DaskJobStatus { job_status: Some(CREATED.to_owned()), ..self.recorded.clone() })
    }

    fn cluster_is_lost(&self) -> Option<Rejection> {
        let was_there = self.recorded.cluster_name.is_some();
        match &self.world.cluster {
            Lookup::Ours(Cluster { is_broken: true, .. }) => {
                Some(Rejection::new("ClusterFailed", "the job's DaskCluster is in phase Error"))
            }
            Lookup::Ours(Cluster { is_going: false, .. }) => None,
            _ if was_there => Some(Rejection::new("ClusterLost", "the job's DaskCluster was deleted")),
            _ => None,
        }
    }

    /// Returns what follows from a runner that failed or was lost, if one did.
    fn failure(&self) -> Option<Next> {
        let (failures, will_go_on, why) = self.failures()?;
        let limit = self.terms.backoff_limit.unwrap_or(0);
        if failures > limit {
            return Some(self.fail(why));
        }
        if will_go_on {
            return None;
        }
        let status = DaskJobStatus {
            job_runner_pod_name: None,
            start_time: self.start_time(),
            failed_runners: Some(failures),
            ..self.recorded.clone()
        };
        let delete_runner = self.world.standing_runner();
        Some(Next { told: Some(why), delete_runner, ..Next::wait(status) })
    }

    /// Returns how many runners failed so far, whether the kubelet restarts the last one inside its pod, and why.
    fn failures(&self) -> Option<(i64, bool, Rejection)> {
        let lost =
            || (self.failed().saturating_add(1), false, Rejection::new("RunnerLost", "the runner's pod was deleted"));
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
                Some((failures, false, why))
            }
            _ if overdue(runner).is_some_and(|overdue| overdue <= self.now) => Some(lost()),
            // Without a limit, the kubelet restarts a runner forever, as with dask-kubernetes.
            _ if runner.restarts > 0 && self.terms.backoff_limit.is_some() => {
                let why = Rejection::new("BackoffLimitExceeded", format!("the runner failed {failures} times"));
                Some((failures, true, why))
            }
            _ => None,
        }
    }

    fn go_on(&self, runner: Option<&Runner>) -> Next {
        if self.recorded.job_status.is_none() {
            return self.make(DaskJobStatus { job_status: Some(CREATED.to_owned()), ..self.recorded.clone() });
        }
        if self.recorded.cluster_name.is_none() || self.recorded.job_runner_pod_name.is_none() {
            return self.make(self.recorded.clone());
        }
        let mut status = self.recorded.clone();
        if runner.is_some_and(|runner| runner.state == State::Running) {
            status.job_status = Some(RUNNING.to_owned());
            status.start_time = self.start_time().or_else(|| Some(Time(whole_seconds(self.now))));
        }
        Next { wake: earliest(self.deadline(), runner.and_then(overdue)), ..Next::wait(status) }
    }

    /// Creates the missing children, unless an object of that name has to be gone first.
    fn make(&self, status: DaskJobStatus) -> Next {
        let wait = Next { wake: self.deadline(), ..Next::wait(status) };
        if let Some(foreign) = self.world.foreign() {
            return Next { blocked: Some(foreign.clone()), ..wait };
        }
        if matches!(&self.world.cluster, Lookup::Ours(cluster) if cluster.is_going) {
            return wait;
        }
        match &self.world.runner {
            Lookup::Ours(runner) if runner.predecessors < self.failed() => {
                Next { delete_runner: self.world.standing_runner(), ..wait }
            }
            Lookup::Ours(runner) if runner.gone_by.is_some() => wait,
            _ => Next { make: true, ..wait },
        }
    }
}

/// Returns when a runner that is being deleted counts as lost, even if the API server never reports that it is gone.
fn overdue(runner: &Runner) -> Option<Timestamp> {
    runner.gone_by?.checked_add(NODE_LOST).ok()
}

#[cfg(test)]
mod tests;
