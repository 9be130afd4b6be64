//! What stands of a job.

use operator_runtime::rejection::Rejection;

use super::runner::Runner;

/// What stands under the name of a child.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Lookup<T> {
    #[default]
    Nothing,
    Ours(T),
    /// An object of somebody else.
    Foreign(Rejection),
}

/// The job's DaskCluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cluster {
    pub(super) uid: String,
    pub(super) is_going: bool,
    /// Its phase is `Error`.
    pub(super) is_broken: bool,
}

/// What stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ObservedChildren {
    pub(super) cluster: Lookup<Cluster>,
    pub(super) runner: Lookup<Runner>,
}

impl ObservedChildren {
    /// The uid of the job's cluster, unless it is being deleted already.
    pub(super) fn standing_cluster(&self) -> Option<String> {
        match &self.cluster {
            Lookup::Ours(cluster) if !cluster.is_going => Some(cluster.uid.clone()),
            _ => None,
        }
    }

    /// The uid of the job's runner, unless it is being deleted already.
    pub(super) fn standing_runner(&self) -> Option<String> {
        match &self.runner {
            Lookup::Ours(runner) if runner.gone_by.is_none() => Some(runner.uid.clone()),
            _ => None,
        }
    }

    /// What has the name of a child and is somebody else's.
    pub(super) fn foreign(&self) -> Option<&Rejection> {
        match (&self.cluster, &self.runner) {
            (Lookup::Foreign(why), _) | (_, Lookup::Foreign(why)) => Some(why),
            _ => None,
        }
    }
}
