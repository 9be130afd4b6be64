//! Reads the state of a runner from its pod.
//!
//! The runner is the containers that the job lists. It ends when all of them have ended. Containers that others inject
//! into the pod, and init containers, do not count.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use operator_runtime::conditions::whole_seconds;

use super::{
    container::{Listed, State},
    identity::PREDECESSORS,
    trouble::{self, Health},
};
use crate::view::{ContainerView, PodView};

/// How much longer than announced the deletion of a runner may take before its node counts as lost.
const NODE_LOST: SignedDuration = SignedDuration::from_mins(1);

/// The properties of a runner's pod that decisions depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Runner {
    pub(super) uid: String,
    /// Number of this job's runners that failed before this one.
    pub(super) predecessors: i64,
    pub(super) created: Option<Timestamp>,
    /// When the deletion of the pod should be complete, if it is being deleted.
    pub(super) gone_by: Option<Timestamp>,
    /// When the runner started.
    pub(super) started: Option<Timestamp>,
    pub(super) state: State,
    /// How often containers of the runner failed inside this pod and were, or will be, restarted there.
    pub(super) restarts: i64,
    /// Whether the kubelet will start nothing more in the pod.
    pub(super) over: bool,
    /// Whether no container of the pod runs any more.
    pub(super) ended: bool,
    pub(super) health: Health,
}

impl Runner {
    /// Returns when a runner that is being deleted counts as lost, even if the API server never reports that it is gone.
    pub(super) fn lost_at(&self) -> Option<Timestamp> {
        self.gone_by?.checked_add(NODE_LOST).ok()
    }

    pub(super) fn of(pod: &PodView, listed: &[Listed]) -> Self {
        let statuses = &pod.status.container_statuses;
        let status = |listed: &Listed| statuses.iter().find(|container| container.name == listed.name);
        let containers: Vec<Container<'_>> =
            listed.iter().map(|listed| Container { listed, status: status(listed) }).collect();
        let state = state(pod, &containers);
        let ended = pod.has_ended();
        let goes_on = match state {
            State::Waiting | State::Running => true,
            State::Succeeded(_) | State::Failed(_) => listed.iter().any(|listed| listed.restarts_after_success),
        };
        let predecessors = pod.annotations().get(PREDECESSORS).and_then(|count| count.parse().ok());
        Self {
            uid: pod.uid().unwrap_or_default(),
            predecessors: predecessors.unwrap_or(0),
            created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            gone_by: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
            started: started(pod, &containers, state).map(whole_seconds),
            state,
            restarts: containers.iter().map(|container| container.failures(state)).fold(0, i64::saturating_add),
            over: !goes_on || ended,
            ended,
            health: trouble::of_runner(pod, state),
        }
    }
}

fn state(pod: &PodView, containers: &[Container<'_>]) -> State {
    let states: Vec<State> = containers.iter().map(Container::state).collect();
    let succeeded = |state: &State| matches!(state, State::Succeeded(_));
    let failed = |state: &State| matches!(state, State::Failed(_));
    let end = containers.iter().filter_map(Container::finished).max();
    let has_status = containers.iter().any(|container| container.status.is_some());
    match pod.status.phase.as_deref() {
        _ if !states.is_empty() && states.iter().all(succeeded) => State::Succeeded(end),
        Some("Succeeded") => State::Succeeded(end),
        Some("Failed") => State::Failed(end),
        _ if !states.is_empty() && states.iter().all(|state| succeeded(state) || failed(state)) => State::Failed(end),
        _ if states.iter().any(|state| *state != State::Waiting) => State::Running,
        // A kubelet has started the pod, but the statuses of its containers were lost.
        Some("Running") if !has_status => State::Running,
        _ => State::Waiting,
    }
}

/// A container that the job lists, with its status if the pod has one.
struct Container<'a> {
    listed: &'a Listed,
    status: Option<&'a ContainerView>,
}

/// How a run of a container ended.
struct Exit {
    code: i32,
    at: Option<Timestamp>,
}

impl Container<'_> {
    fn state(&self) -> State {
        let exits = self.exits();
        // With policy `Always`, a container that succeeded is restarted.
        if let Some(success) = exits.iter().find(|exit| exit.code == 0) {
            return State::Succeeded(success.at);
        }
        match self.status {
            Some(status) if is_terminated(status) && !self.listed.restarts_after_failure => {
                State::Failed(self.finished())
            }
            Some(status) if has_started(status) => State::Running,
            _ => State::Waiting,
        }
    }

    /// Returns how the container ended the last time and now.
    fn exits(&self) -> Vec<Exit> {
        let states = self.status.into_iter().flat_map(|status| [&status.last_state, &status.state]);
        states
            .filter_map(|state| state.as_ref()?.terminated.as_ref())
            .map(|end| Exit { code: end.exit_code, at: end.finished_at.as_ref().map(|time| whole_seconds(time.0)) })
            .collect()
    }

    /// Returns when the container succeeded, or else when it ended, if it does not run now.
    fn finished(&self) -> Option<Timestamp> {
        let exits = self.exits();
        if let Some(success) = exits.iter().find(|exit| exit.code == 0) {
            return success.at;
        }
        exits.last().filter(|_| self.status.is_some_and(is_terminated))?.at
    }

    /// Returns how often the container failed and was, or will be, restarted. One that failed and waits for its restart
    /// has failed once more than it was restarted.
    fn failures(&self, runner: State) -> i64 {
        let Some(status) = self.status else { return 0 };
        let succeeded = matches!(self.state(), State::Succeeded(_));
        if succeeded && self.listed.restarts_after_success {
            return 0; // Successes are restarted, too, and cannot be told apart.
        }
        let backs_off = || {
            let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
            waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
        };
        let waits = (is_terminated(status) && self.listed.restarts_after_failure) || backs_off();
        let will_restart = runner == State::Running && !succeeded && waits;
        status.restart_count.saturating_add(i64::from(will_restart))
    }

    /// Returns the earliest known start: a container that was restarted started before that.
    fn started(&self) -> Option<Timestamp> {
        let status = self.status?;
        [&status.last_state, &status.state].into_iter().find_map(|state| {
            let state = state.as_ref()?;
            let ended = state.terminated.as_ref().and_then(|end| end.started_at.as_ref());
            ended.or_else(|| state.running.as_ref()?.started_at.as_ref()).map(|time| time.0)
        })
    }
}

fn is_terminated(container: &ContainerView) -> bool {
    container.state.as_ref().is_some_and(|state| state.terminated.is_some())
}

fn has_started(container: &ContainerView) -> bool {
    container.is_running()
        || is_terminated(container)
        || container.last_state.as_ref().is_some_and(|state| state.terminated.is_some())
        || container.restart_count > 0
}

fn started(pod: &PodView, containers: &[Container<'_>], state: State) -> Option<Timestamp> {
    if state == State::Waiting {
        return None;
    }
    // A pod that failed before its runner started, such as an evicted one, has no such time.
    let roughly = || match state {
        State::Failed(_) => None,
        _ => pod.status.start_time.as_ref().or(pod.metadata.creation_timestamp.as_ref()).map(|time| time.0),
    };
    containers.iter().filter_map(Container::started).min().or_else(roughly)
}

#[cfg(test)]
mod tests;
