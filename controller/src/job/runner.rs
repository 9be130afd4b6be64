//! Reads the state of a runner from its pod. The runner is the first container that the job lists, regardless of
//! sidecars.

use jiff::Timestamp;
use kube::ResourceExt as _;
use operator_runtime::conditions::whole_seconds;

use super::build::PREDECESSORS;
use crate::view::{ContainerView, PodView};

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
    /// How often the runner failed inside this pod and was, or will be, restarted there.
    pub(super) restarts: i64,
    /// Whether the kubelet will start nothing more in the pod.
    pub(super) over: bool,
    /// Whether no container of the pod runs any more.
    pub(super) ended: bool,
}

/// The state of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Running,
    /// Succeeded, with the time if the pod reports it.
    Succeeded(Option<Timestamp>),
    Failed(Option<Timestamp>),
}

/// The job's settings for its runner.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    /// The container whose end is the end of the job.
    pub(super) container: String,
    pub(super) restart_policy: String,
}

impl Runner {
    pub(super) fn of(pod: &PodView, kind: &Kind) -> Self {
        let container = pod.status.container_statuses.iter().find(|container| container.name == kind.container);
        let state = state(pod, container, &kind.restart_policy);
        let ended = pod.has_ended();
        let restarted_after_success = kind.restart_policy == "Always";
        let over = match state {
            State::Waiting | State::Running => false,
            State::Succeeded(_) => !restarted_after_success,
            State::Failed(_) => true,
        };
        let predecessors = pod.annotations().get(PREDECESSORS).and_then(|count| count.parse().ok());
        Self {
            uid: pod.uid().unwrap_or_default(),
            predecessors: predecessors.unwrap_or(0),
            created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            gone_by: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
            started: started(pod, container, state).map(whole_seconds),
            state,
            restarts: container.map_or(0, |container| restarts(container, state)),
            over: over || ended,
            ended,
        }
    }
}

fn state(pod: &PodView, container: Option<&ContainerView>, restart_policy: &str) -> State {
    let exits = container.map(exits).unwrap_or_default();
    if let Some(success) = exits.iter().find(|exit| exit.code == 0) {
        return State::Succeeded(success.at);
    }
    let current = container.and_then(|container| container.state.as_ref()?.terminated.as_ref());
    let at = current.and_then(|exit| exit.finished_at.as_ref()).map(|time| whole_seconds(time.0));
    match pod.status.phase.as_deref() {
        Some("Succeeded") => State::Succeeded(at),
        Some("Failed") => State::Failed(at),
        _ if current.is_some() && restart_policy == "Never" => State::Failed(at),
        phase => match container {
            Some(container) if has_started(container) => State::Running,
            None if phase == Some("Running") => State::Running,
            _ => State::Waiting,
        },
    }
}

struct Exit {
    code: i32,
    at: Option<Timestamp>,
}

/// Returns how the container ended the last time and now. With policy `Always`, a container that succeeded is
/// restarted.
fn exits(container: &ContainerView) -> Vec<Exit> {
    [&container.last_state, &container.state]
        .into_iter()
        .filter_map(|state| state.as_ref()?.terminated.as_ref())
        .map(|end| Exit { code: end.exit_code, at: end.finished_at.as_ref().map(|time| whole_seconds(time.0)) })
        .collect()
}

fn has_started(container: &ContainerView) -> bool {
    let is_up = container.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some());
    is_up
        || container.last_state.as_ref().is_some_and(|state| state.terminated.is_some())
        || container.restart_count > 0
}

fn started(pod: &PodView, container: Option<&ContainerView>, state: State) -> Option<Timestamp> {
    if state == State::Waiting {
        return None;
    }
    let exact = container.and_then(|container| {
        // The earliest known start: a container that was restarted started before that.
        [&container.last_state, &container.state].into_iter().find_map(|state| {
            let state = state.as_ref()?;
            let ended = state.terminated.as_ref().and_then(|end| end.started_at.as_ref());
            ended.or_else(|| state.running.as_ref()?.started_at.as_ref()).map(|time| time.0)
        })
    });
    // A pod that failed before its runner started, such as an evicted one, has no such time.
    let roughly = || match state {
        State::Failed(_) => None,
        _ => pod.status.start_time.as_ref().or(pod.metadata.creation_timestamp.as_ref()).map(|time| time.0),
    };
    exact.or_else(roughly)
}

/// Returns how often the container failed. One that failed and waits for its restart has failed once more than it was
/// restarted.
fn restarts(container: &ContainerView, state: State) -> i64 {
    let waits_after_failure = container.state.as_ref().is_some_and(|state| {
        let backs_off = |reason: &Option<String>| reason.as_deref() == Some("CrashLoopBackOff");
        state.terminated.is_some() || state.waiting.as_ref().is_some_and(|waiting| backs_off(&waiting.reason))
    });
    container.restart_count.saturating_add(i64::from(waits_after_failure && state == State::Running))
}

#[cfg(test)]
mod tests;
