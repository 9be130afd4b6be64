//! Fuzzing entry points: the decisions about a worker group with arbitrary content, and about arbitrary answers of its
//! scheduler.

use std::{collections::BTreeMap, sync::Arc};

use dask_operator_api::{DaskCluster, DaskWorkerGroup};
use dask_scheduler_client::fuzzing::Said;
use kube::ResourceExt as _;

use super::{
    build,
    deletion_order::{self, Candidate, ScaleDownRequest, Scheduler},
    observe::Observed,
    retiring, scale, status, validate,
};
use crate::{
    fuzzing_fixtures::{defaults, now},
    scheduler,
    view::PodView,
};

/// The most workers that one decision creates here, so that each run is fast.
const FEW: usize = 16;

/// Runs the decisions about `group` of `cluster`.
pub(crate) fn decide(group: &DaskWorkerGroup, cluster: DaskCluster) {
    let observed = Observed { cluster: Some(Arc::new(cluster)), ..Observed::default() };
    let valid = match validate::validate(group, &observed, &defaults()) {
        Ok(valid) => valid,
        Err(invalid) => return drop(status::of_invalid(group, &observed, &invalid, now())),
    };
    let created = group.status.as_ref().and_then(|status| status.workers_created).unwrap_or(0);
    let workers = scale::Workers {
        prefix: scale::prefix_of(&group.uid().unwrap_or_default()),
        created: u32::try_from(created).unwrap_or(0),
        ..scale::Workers::default()
    };
    let workers = workers.advanced();
    let missing = scale::plan(valid.replicas.min(FEW), &workers);
    let batch = scale::next_batch(missing, valid.allocation, std::iter::empty(), now());
    for id in &batch.create {
        drop(build::build_worker(&valid, id));
    }
    let record = retiring::RetirementRecord::of(group);
    let _overdue = record.is_overdue("demo", valid.worker.retire_deadline_seconds, now());
    let _missing = (workers.lost(), valid.max_unavailable.of(valid.replicas));
}

/// Ranks the workers with these `pods` by a scheduler's answer, and chooses those to remove.
pub(crate) fn stand(pods: &[PodView], said: &Said) {
    let pods: Vec<Arc<PodView>> = pods.iter().cloned().map(Arc::new).collect();
    let names: Vec<String> = pods.iter().filter_map(|pod| pod.deployment().map(str::to_owned)).collect();
    let scheduler = Scheduler::Answers {
        registered: scheduler::registered(
            names.iter().map(String::as_str),
            pods.iter().map(AsRef::as_ref),
            &said.workers,
        ),
        order: deletion_order::places(said.order.clone()),
        strangers: said.workers.iter().filter_map(|worker| worker.host().map(str::to_owned)).collect(),
    };
    let candidates: Vec<Candidate> = names
        .iter()
        .map(|name| Candidate {
            name: name.clone(),
            uid: String::new(),
            created: None,
            outdated: true,
            standing: deletion_order::standing(name, &pods, &scheduler),
        })
        .collect();
    let record = retiring::RetirementRecord { kept: BTreeMap::new(), ..retiring::RetirementRecord::default() };
    drop(deletion_order::choose(
        &candidates,
        &record,
        ScaleDownRequest { surplus: 1, replicas: 1, max_unavailable: 1 },
    ));
}
