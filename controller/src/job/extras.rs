//! The worker groups and the autoscaler that a job's spec adds to its cluster. Pure.

use dask_operator_api::{DaskJob, meta};
use operator_runtime::rejection::Rejection;

/// The longest name of a worker group: it becomes a label's value.
const MAX_GROUP_NAME: usize = 63;

/// The most worker groups, as in the CRD. With more, the validation of their fields would exceed the API server's budget.
const MAX_GROUPS: usize = 16;

/// An object that the job's spec adds to its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    /// A worker group, by its name in the spec.
    WorkerGroup(String),
    /// The autoscaler.
    Autoscaler,
}

impl Extra {
    /// Returns what the spec of `job` adds to its cluster.
    pub(super) fn all(job: &DaskJob) -> Vec<Self> {
        let cluster = &job.spec.cluster;
        let groups = cluster.worker_groups.iter().map(|group| Self::WorkerGroup(group.name.clone()));
        groups.chain(cluster.autoscaler.as_ref().map(|_| Self::Autoscaler)).collect()
    }

    /// Returns the name of the object in this cluster. That of the autoscaler is the one that dask-kubernetes' client
    /// uses, so that a client in the runner changes this autoscaler and makes no other.
    pub(super) fn object_name(&self, cluster: &str) -> String {
        match self {
            Self::WorkerGroup(name) => group_name(cluster, name),
            Self::Autoscaler => cluster.to_owned(),
        }
    }
}

/// Returns the name of the DaskWorkerGroup.
pub(super) fn group_name(cluster: &str, name: &str) -> String {
    format!("{cluster}-{name}")
}

/// Returns why the objects cannot be created. The CRD rejects most of it, but one that is older than this operator may
/// have accepted it.
pub(super) fn invalid(job: &DaskJob, cluster: &str) -> Option<Rejection> {
    let embedded = &job.spec.cluster;
    if embedded.worker_groups.len() > MAX_GROUPS {
        let message = format!("spec.cluster.workerGroups must have at most {MAX_GROUPS} items");
        return Some(Rejection::new("TooManyValues", message));
    }
    for (index, group) in embedded.worker_groups.iter().enumerate() {
        let name = group_name(cluster, &group.name);
        if name.len() > MAX_GROUP_NAME || !meta::is_dns_label(&group.name) || name == meta::default_group_name(cluster)
        {
            let message = format!(
                "the name {:?} of spec.cluster.workerGroups[{index}] cannot be used: {name:?} must have at most \
                 {MAX_GROUP_NAME} characters, only a-z, 0-9 and '-', and not be the name of the default group",
                group.name
            );
            return Some(Rejection::new("InvalidName", message));
        }
        if embedded.worker_groups[..index].iter().any(|other| other.name == group.name) {
            let message = format!("the name {:?} is used twice in spec.cluster.workerGroups", group.name);
            return Some(Rejection::new("InvalidName", message));
        }
    }
    let scaler = embedded.autoscaler.as_ref()?;
    if scaler.minimum < 0 || scaler.minimum > scaler.maximum {
        let message = "spec.cluster.autoscaler: minimum must not be negative, and not be greater than maximum";
        return Some(Rejection::new("InvalidBounds", message));
    }
    let group = scaler.worker_group.as_ref()?;
    let is_listed = embedded.worker_groups.iter().any(|listed| listed.name == *group);
    (!is_listed).then(|| {
        let message =
            format!("spec.cluster.autoscaler.workerGroup: there is no {group:?} in spec.cluster.workerGroups");
        Rejection::new("GroupNotFound", message)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::job::build::tests::mk_job;

    fn job(groups: &[&str], autoscaler: &Value) -> DaskJob {
        let worker = json!({"spec": {"containers": [{"name": "worker"}]}});
        let groups: Vec<Value> = groups.iter().map(|name| json!({"name": name, "worker": worker})).collect();
        mk_job(|job| {
            job["spec"]["cluster"]["workerGroups"] = json!(groups);
            job["spec"]["cluster"]["autoscaler"] = autoscaler.clone();
        })
    }

    #[test]
    fn groups_are_named_after_the_cluster_and_the_autoscaler_like_the_cluster() {
        let extras = Extra::all(&job(&["gpu", "big"], &json!({"minimum": 0, "maximum": 1})));
        let names: Vec<String> = extras.iter().map(|extra| extra.object_name("demo")).collect();
        assert_eq!(names, ["demo-gpu", "demo-big", "demo"]);
        assert_eq!(Extra::all(&mk_job(|_| {})), []);
    }

    #[test]
    fn what_the_api_server_would_refuse_or_what_would_be_ambiguous_is_invalid() {
        let (long, longest) = ("a".repeat(59), "a".repeat(58));
        let none = json!(null);
        let bounds = |minimum: i64, maximum: i64| json!({"minimum": minimum, "maximum": maximum});
        let of_group = |name: &str| json!({"minimum": 0, "maximum": 1, "workerGroup": name});
        let table = [
            (vec!["gpu", &longest], of_group("gpu"), None),
            (vec![&long], none.clone(), Some("InvalidName")),
            (vec!["Gpu"], none.clone(), Some("InvalidName")),
            (vec!["gpu-"], none.clone(), Some("InvalidName")),
            (vec![""], none.clone(), Some("InvalidName")),
            (vec!["default"], none.clone(), Some("InvalidName")),
            (vec!["gpu", "gpu"], none, Some("InvalidName")),
            (vec![], bounds(1, 1), None),
            (vec![], bounds(2, 1), Some("InvalidBounds")),
            (vec![], bounds(-1, 1), Some("InvalidBounds")),
            (vec!["gpu"], of_group("demo-gpu"), Some("GroupNotFound")),
        ];
        for (groups, autoscaler, expected) in table {
            let found = invalid(&job(&groups, &autoscaler), "demo");
            assert_eq!(found.map(|found| found.reason), expected, "{groups:?} {autoscaler}");
        }
        let many: Vec<String> = (0..=MAX_GROUPS).map(|number| number.to_string()).collect();
        let names: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(invalid(&job(&names[1..], &json!(null)), "demo"), None);
        assert_eq!(invalid(&job(&names, &json!(null)), "demo").unwrap().reason, "TooManyValues");
    }
}
