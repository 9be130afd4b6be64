//! Fuzzing entry points: the decisions about an autoscaler with arbitrary content, and about arbitrary answers of its
//! scheduler.

use std::sync::Arc;

use dask_operator_api::{DaskAutoscaler, DaskCluster, DaskWorkerGroup};
use dask_scheduler_client::fuzzing::Said;
use serde_json::json;

use super::{
    count::{self, Group, to_i64},
    decide::{RecentTargets, Rules, ScalingInput},
    observe::Observed,
    survey, validate,
};
use crate::{
    fuzzing_fixtures::{known, moment, now},
    view::PodView,
};

/// A number of workers that no Kubernetes cluster could run.
const MANY: i64 = 1 << 31;

/// Runs the decisions about `autoscaler` of `group`.
pub(crate) fn decide(autoscaler: DaskAutoscaler, (cluster, group): (&DaskCluster, &DaskWorkerGroup)) {
    let autoscaler = Arc::new(autoscaler);
    let observed = Observed {
        cluster: Some(Arc::new(cluster.clone())),
        group: Some(Arc::new(group.clone())),
        survey: Arc::new(survey::survey(Some(cluster), &[Arc::clone(&autoscaler)])),
        scheduler_ready: true,
        scheduler_starting: false,
    };
    drop(validate::adoption(&autoscaler, Some(cluster)));
    let Ok(valid) = validate::validate(&autoscaler, &observed) else { return };
    let current = valid.group.spec.worker.replicas.max(0);
    for target in [0, 5, i64::MAX] {
        let situation = ScalingInput { current, target, ..ScalingInput::default() };
        let mut recent = RecentTargets::default();
        for _ in 0..2 {
            let _decision = recent.decide(&situation, &valid.rules, moment());
        }
    }
}

/// Counts the worker with these `pods` by a scheduler's answer, and decides.
pub(crate) fn count(worker: &str, pods: Vec<Arc<PodView>>, said: &Said) {
    let deployment = known(json!({"metadata": {"name": worker}}));
    let group = Group { replicas: MANY, deployments: vec![Arc::new(deployment)], pods };
    let current = group.replicas;
    let counts = count::count_all(&[group], &said.workers, now());
    let Some(own) = counts.first() else { return };
    let situation = ScalingInput {
        current,
        connected: own.connected,
        starting: own.starting,
        per_worker: own.per_worker,
        elsewhere: to_i64(said.workers.len()) - own.processes + own.expected(),
        target: i64::try_from(said.wanted.unwrap_or(0)).unwrap_or(i64::MAX),
    };
    let rules = Rules { maximum: i64::MAX, ..Rules::default() };
    let _decision = RecentTargets::default().decide(&situation, &rules, moment());
}
