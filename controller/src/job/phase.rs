//! Decides what to do for a job: a pure function of the recorded status, the observed children and the time.

use dask_operator_api::{
    DaskJobStatus,
    job_status::{CLUSTER_CREATED, CREATED, FAILED, RUNNING, SUCCESSFUL, SUSPENDED},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use operator_runtime::{conditions::whole_seconds, rejection::Rejection};

use super::{
    children::{Lookup, ObservedChildren},
    cleanup::{clean_up, earliest, is_finished},
    container::State,
    next::Next,
    runner::Runner,
    validate::Terms,
};

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
    if pass.start_deadline().is_some_and(|deadline| deadline <= now) {
        return pass.fail(pass.start_deadline_exceeded());
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

/// What a decision depends on.
pub(super) struct Pass<'a> {
    pub(super) recorded: &'a DaskJobStatus,
    pub(super) terms: &'a Terms,
    pub(super) world: &'a ObservedChildren,
    pub(super) now: Timestamp,
}

impl Pass<'_> {
    /// Returns the recorded number of failed runners.
    pub(super) fn failed(&self) -> i64 {
        self.recorded.failed_runners.unwrap_or(0)
    }

    /// Returns the runner of the current attempt. One that is being deleted while no runner is recorded is left out:
    /// it has to be gone before the next one is created.
    pub(super) fn runner(&self) -> Option<&Runner> {
        match &self.world.runner {
            Lookup::Ours(runner) if runner.predecessors == self.failed() => {
                Some(runner).filter(|runner| runner.gone_by.is_none() || self.recorded.job_runner_pod_name.is_some())
            }
            _ => None,
        }
    }

    /// Returns the first known start, because `activeDeadlineSeconds` counts from it.
    pub(super) fn start_time(&self) -> Option<Time> {
        let seen = || self.runner()?.started.map(Time);
        self.recorded.start_time.clone().or_else(seen)
    }

    /// Ends the job, because it cannot run or failed too often.
    pub(super) fn fail(&self, why: Rejection) -> Next {
        let at = match self.runner() {
            Some(Runner { state: State::Failed(at), .. }) => *at,
            _ => None,
        };
        self.end(FAILED, at, Some(why))
    }

    fn end(&self, outcome: &str, at: Option<Timestamp>, reported: Option<Rejection>) -> Next {
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
            resume_time: self.recorded.resume_time.clone(),
        };
        Next { reported, ..clean_up(status, self.terms, self.world, self.now) }
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
        let status = DaskJobStatus {
            job_status: Some(CREATED.to_owned()),
            resume_time: self.terms.start_deadline.map(|_| Time(whole_seconds(self.now))),
            ..self.recorded.clone()
        };
        Pass { recorded: &status, terms: self.terms, world: self.world, now: self.now }.make(status.clone())
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
        let wake = earliest(self.next_deadline(), runner.and_then(Runner::lost_at));
        self.with_extras(Next { wake, ..Next::wait(status) })
    }

    /// Creates what the job's spec adds to its cluster and is missing. The cluster exists, so that it can own them.
    fn with_extras(&self, next: Next) -> Next {
        let extras = &self.world.extras;
        let missing = extras.iter().filter(|extra| extra.found == Lookup::Nothing);
        let foreign = extras.iter().find_map(|extra| match &extra.found {
            Lookup::Foreign(why) => Some(why.clone()),
            _ => None,
        });
        Next { make_extras: missing.map(|extra| extra.extra.clone()).collect(), blocked: foreign, ..next }
    }

    /// Creates the missing children, unless an object of that name has to be gone first.
    fn make(&self, status: DaskJobStatus) -> Next {
        let wait = Next { wake: self.next_deadline(), ..Next::wait(status) };
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

#[cfg(test)]
mod tests;
