//! The observed children of a job: its cluster with what belongs to it, and its runner.

use operator_runtime::rejection::Rejection;

use super::{extras::Extra, runner::Runner, trouble::Health};

/// The object that has the name of a child.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Lookup<T> {
    #[default]
    Nothing,
    Ours(T),
    /// An object of another owner, with the reason why it blocks the job.
    Foreign(Rejection),
}

/// The job's DaskCluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cluster {
    pub(super) uid: String,
    pub(super) is_going: bool,
    /// Whether it is invalid, so that it never starts.
    pub(super) is_broken: bool,
    pub(super) health: Health,
}

/// The object that has the name of an additional worker group or autoscaler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObservedExtra {
    pub(super) extra: Extra,
    pub(super) found: Lookup<()>,
}

/// An object of the job's cluster that makes it have workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scaled {
    pub(super) kind: ScaledKind,
    pub(super) name: String,
    pub(super) uid: String,
}

/// The kinds that make a cluster have workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScaledKind {
    /// A worker group with at least one replica.
    WorkerGroup,
    Autoscaler,
}

/// The observed children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ObservedChildren {
    pub(super) cluster: Lookup<Cluster>,
    pub(super) runner: Lookup<Runner>,
    /// What the job's spec adds to its cluster; empty while there is no cluster.
    pub(super) extras: Vec<ObservedExtra>,
    /// What makes the cluster have workers. Autoscalers come first, because they would scale the groups again.
    pub(super) scaled: Vec<Scaled>,
}

impl ObservedChildren {
    /// Returns the uid of the job's cluster, unless it is being deleted already.
    pub(super) fn standing_cluster(&self) -> Option<String> {
        match &self.cluster {
            Lookup::Ours(cluster) if !cluster.is_going => Some(cluster.uid.clone()),
            _ => None,
        }
    }

    /// Returns the uid of the job's runner, unless it is being deleted already.
    pub(super) fn standing_runner(&self) -> Option<String> {
        match &self.runner {
            Lookup::Ours(runner) if runner.gone_by.is_none() => Some(runner.uid.clone()),
            _ => None,
        }
    }

    /// Returns why the job is blocked, if an object of another owner has the name of a child.
    pub(super) fn foreign(&self) -> Option<&Rejection> {
        match (&self.cluster, &self.runner) {
            (Lookup::Foreign(why), _) | (_, Lookup::Foreign(why)) => Some(why),
            _ => None,
        }
    }
}
