//! Gives each reconciler its context: the parts of this process that it needs, and no others.

use std::sync::Arc;

use crate::{autoscaler, cluster, idle, job, shared::Shared, worker_group};

pub(crate) fn cluster(shared: &Shared) -> cluster::Context {
    cluster::Context {
        caches: shared.caches.clone(),
        expectations: shared.expectations.clone(),
        client: shared.client.clone(),
        reporter: shared.reporter(),
        plugins: Arc::clone(&shared.status_store),
    }
}

pub(crate) fn worker_group(shared: &Shared) -> worker_group::Context {
    worker_group::Context {
        caches: shared.caches.clone(),
        expectations: shared.expectations.clone(),
        defaults: shared.defaults.clone(),
        client: shared.client.clone(),
        reporter: shared.reporter(),
        schedulers: shared.schedulers(),
        retirements: shared.metrics.retirements(),
        memory: worker_group::Memory::default(),
    }
}

pub(crate) fn job(shared: &Shared) -> job::Context {
    job::Context {
        caches: shared.caches.clone(),
        cluster_domain: shared.defaults.cluster_domain.clone(),
        client: shared.client.clone(),
        reporter: job::JobReporter::new(shared.reporter(), shared.caches.jobs.clone()),
    }
}

pub(crate) fn autoscaler(shared: &Shared) -> autoscaler::Context {
    autoscaler::Context {
        caches: shared.caches.clone(),
        surveys: autoscaler::Surveys::default(),
        schedulers: shared.schedulers(),
        history: autoscaler::ScalingHistory::default(),
        client: shared.client.clone(),
        reporter: shared.reporter(),
    }
}

pub(crate) fn idle(shared: &Shared) -> idle::Context {
    idle::Context {
        caches: shared.caches.clone(),
        schedulers: shared.schedulers(),
        client: shared.client.clone(),
        reporter: shared.reporter(),
        tracker: idle::IdleTracker::default(),
    }
}
