//! Finds the oldest autoscaler of each group of a cluster, which is the one that may scale it.
//!
//! All autoscalers of a cluster are compared together and at most once a second: if each were compared with all
//! others, thousands of them would keep the controller too busy for its other work.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use dask_operator_api::{DaskAutoscaler, DaskCluster, meta};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use operator_runtime::rejection::Rejection;

/// How long a survey is valid.
const FRESH: SignedDuration = SignedDuration::from_secs(1);
/// Surveys that have not been used for this long belong to clusters that were deleted.
const STALE: SignedDuration = SignedDuration::from_mins(10);

/// The age of an autoscaler. Of equally old ones, the names decide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age {
    pub(super) created: Option<Time>,
    pub(super) name: String,
}

impl Age {
    pub(super) fn of(autoscaler: &DaskAutoscaler) -> Self {
        Self { created: autoscaler.metadata.creation_timestamp.clone(), name: autoscaler.name_any() }
    }
}

/// The oldest autoscaler by group.
pub(super) type Survey = HashMap<String, Age>;

/// The latest survey by cluster.
#[derive(Debug, Default)]
pub(crate) struct Surveys(Mutex<HashMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    at: SignedDuration,
    survey: Arc<Survey>,
}

impl Surveys {
    /// Returns a survey of `cluster` that is at most a second old and contains an autoscaler of `group`: an older
    /// survey does not contain one that was just created. `take` makes a survey.
    pub(super) fn get(
        &self,
        cluster: &str,
        group: &str,
        now: SignedDuration,
        take: impl FnOnce() -> Survey,
    ) -> Arc<Survey> {
        let mut surveys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_good = |entry: &&Entry| now - entry.at < FRESH && entry.survey.contains_key(group);
        if let Some(entry) = surveys.get(cluster).filter(is_good) {
            return Arc::clone(&entry.survey);
        }
        if !surveys.contains_key(cluster) {
            surveys.retain(|_, entry| now - entry.at < STALE);
        }
        let survey = Arc::new(take());
        surveys.insert(cluster.to_owned(), Entry { at: now, survey: Arc::clone(&survey) });
        survey
    }
}

/// Returns the oldest of `all` autoscalers of `cluster` for each group, of those that could scale it.
pub(super) fn survey(cluster: Option<&DaskCluster>, all: &[Arc<DaskAutoscaler>]) -> Survey {
    let competes = |one: &&Arc<DaskAutoscaler>| {
        one.metadata.deletion_timestamp.is_none()
            && invalid_bounds(one).is_none()
            && cluster.is_some_and(|cluster| !belongs_elsewhere(one, cluster))
    };
    let mut survey = Survey::new();
    for one in all.iter().filter(competes) {
        let age = Age::of(one);
        let eldest = survey.entry(group_name(one)).or_insert_with(|| age.clone());
        if age < *eldest {
            *eldest = age;
        }
    }
    survey
}

/// Returns the name of the group to scale.
pub(super) fn group_name(autoscaler: &DaskAutoscaler) -> String {
    let spec = &autoscaler.spec;
    spec.worker_group.clone().unwrap_or_else(|| meta::default_group_name(&spec.cluster))
}

/// Returns why the bounds are invalid. The CRD rejects such bounds, but one that is older than this operator may have
/// accepted them.
pub(super) fn invalid_bounds(autoscaler: &DaskAutoscaler) -> Option<Rejection> {
    let (minimum, maximum) = (autoscaler.spec.minimum, autoscaler.spec.maximum);
    if minimum < 0 {
        return Some(Rejection::new("InvalidBounds", "minimum must not be negative"));
    }
    (minimum > maximum).then(|| Rejection::new("InvalidBounds", "minimum must not be greater than maximum"))
}

/// Returns whether the autoscaler belongs to another cluster of the same name than `cluster`.
pub(super) fn belongs_elsewhere(autoscaler: &DaskAutoscaler, cluster: &DaskCluster) -> bool {
    meta::dask_controller(autoscaler, "DaskCluster").is_some_and(|owner| Some(&owner.uid) != cluster.uid().as_ref())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn thousands_of_autoscalers_of_one_cluster_are_looked_at_once_a_second() {
        let (surveys, taken) = (Surveys::default(), Cell::new(0));
        let age = Age { created: None, name: "a".to_owned() };
        let take = || {
            taken.set(taken.get() + 1);
            Survey::from([("group".to_owned(), age.clone())])
        };
        for _ in 0..10_000 {
            assert_eq!(surveys.get("cluster", "group", SignedDuration::ZERO, take)["group"], age);
        }
        assert_eq!(taken.get(), 1);
        surveys.get("cluster", "new", SignedDuration::ZERO, take);
        assert_eq!(taken.get(), 2, "one that has just come is looked for");
        surveys.get("cluster", "group", FRESH, take);
        surveys.get("other", "group", STALE + FRESH, take);
        assert_eq!((taken.get(), surveys.0.lock().unwrap().len()), (4, 1));
    }
}
