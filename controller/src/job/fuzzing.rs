//! Fuzzing entry point: the decisions about a job with arbitrary content.

use dask_operator_api::DaskJob;
use kube::ResourceExt as _;

use super::{
    children::{Cluster, Lookup, ObservedChildren, ObservedExtra, Scaled, ScaledKind},
    extras::Extra,
    phase,
    runner::Runner,
    trouble, validate,
};
use crate::{fuzzing_fixtures::now, view::PodView};

/// Runs the decisions about `job`, without children and with `pod` as its runner.
pub(crate) fn decide(job: &DaskJob, pod: &PodView) {
    drop(super::manifests(job, "cluster.local"));
    let invalid = validate::validate(job, "cluster.local").err();
    let (terms, recorded) = (validate::terms(job, invalid), job.status.clone().unwrap_or_default());
    let runner = Runner::of(pod, &validate::listed_containers(job));
    let health = trouble::of_cluster(None);
    let cluster = Cluster { uid: job.uid().unwrap_or_default(), is_going: false, is_broken: false, health };
    let missing = |extra| ObservedExtra { extra, found: Lookup::Nothing };
    let scaled = Scaled { kind: ScaledKind::WorkerGroup, name: "group".to_owned(), uid: "uid".to_owned() };
    let under_way = ObservedChildren {
        cluster: Lookup::Ours(cluster),
        runner: Lookup::Ours(runner),
        extras: Extra::all(job).into_iter().map(missing).collect(),
        scaled: vec![scaled],
    };
    for world in [ObservedChildren::default(), under_way] {
        let next = phase::next(&recorded, &terms, &world, now());
        let _left = next.wake.map(|wake| wake.duration_since(now()));
        drop(phase::made(&next.status, &terms));
    }
}
