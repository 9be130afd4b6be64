//! What stands of a job.

use operator_runtime::invalid::Invalid;

use super::runner::Runner;

/// What stands under the name of a child.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Seen<T> {
    #[default]
    Nothing,
    Ours(T),
    /// An object of somebody else.
    Foreign(Invalid),
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
pub(super) struct World {
    pub(super) cluster: Seen<Cluster>,
    pub(super) runner: Seen<Runner>,
}

impl World {
    /// The uid of the job's cluster, unless it is being deleted already.
    pub(super) fn standing_cluster(&self) -> Option<String> {
        match &self.cluster {
            Seen::Ours(cluster) if !cluster.is_going => Some(cluster.uid.clone()),
            _ => None,
        }
    }

    /// The uid of the job's runner, unless it is being deleted already.
    pub(super) fn standing_runner(&self) -> Option<String> {
        match &self.runner {
            Seen::Ours(runner) if runner.gone_by.is_none() => Some(runner.uid.clone()),
            _ => None,
        }
    }

    /// What has the name of a child and is somebody else's.
    pub(super) fn foreign(&self) -> Option<&Invalid> {
        match (&self.cluster, &self.runner) {
            (Seen::Foreign(why), _) | (_, Seen::Foreign(why)) => Some(why),
            _ => None,
        }
    }
}
