//! How many of a group's workers the scheduler knows. Nothing tells when that changes, so it is asked now and
//! then: often while workers are missing, rarely when all are there.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::ResourceExt as _;

use super::{observe::Observed, validate::ValidatedGroup, worker_matching::registered};
use crate::context::Context;
use crate::scheduler;

/// While workers are missing.
const SOON: Duration = Duration::from_secs(3);
/// When the scheduler did not answer.
const AFTER_ERROR: Duration = Duration::from_secs(20);
/// When all are there.
const LATER: Duration = Duration::from_mins(1);

/// What the scheduler said last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ConnectedWorkers {
    /// Workers with at least one process that the scheduler knows; `None` if it could not be asked.
    pub(super) connected: Option<usize>,
    /// Why not.
    pub(super) error: Option<dask_scheduler_client::Error>,
    /// When to ask again.
    pub(super) next: Option<Duration>,
}

/// The latest census of each group, by uid.
#[derive(Debug, Default)]
pub struct ConnectedWorkersCache(Mutex<HashMap<String, (Instant, ConnectedWorkers)>>);

/// Asks the scheduler, unless it was asked just now.
pub(super) async fn take(context: &Context, valid: &ValidatedGroup, observed: &Observed) -> ConnectedWorkers {
    let Some(cluster) = observed.cluster.as_deref() else { return ConnectedWorkers::default() };
    let nobody = valid.replicas == 0 && observed.deployments.is_empty();
    if nobody || !scheduler::is_running(cluster, &observed.scheduler_pods) {
        context.connected_workers.forget(&valid.owner.uid);
        // Without a scheduler, or without workers, nobody is connected; a start is a change that leads here again.
        return ConnectedWorkers { connected: Some(0), ..ConnectedWorkers::default() };
    }
    if let Some(fresh) = context.connected_workers.fresh(&valid.owner.uid, observed, valid.replicas) {
        return fresh;
    }
    let Some(_slot) = context.scheduler_limiter.try_acquire(&valid.namespace) else {
        return context.connected_workers.last(&valid.owner.uid);
    };
    let answer = async { scheduler::client_of(context, cluster).await?.workers().await };
    let census = match answer.await {
        Ok(workers) => {
            let names = observed.deployments.iter().map(|worker| worker.name_any()).collect::<Vec<_>>();
            let pods = observed.pods.values().flatten().map(AsRef::as_ref);
            let connected = registered(names.iter().map(String::as_str), pods, &workers).len();
            let next = if connected == valid.replicas { LATER } else { SOON };
            ConnectedWorkers { connected: Some(connected), error: None, next: Some(next) }
        }
        Err(error) => ConnectedWorkers { connected: None, error: Some(error), next: Some(AFTER_ERROR) },
    };
    context.connected_workers.keep(&valid.owner.uid, &census);
    census
}

impl ConnectedWorkersCache {
    /// The last census, if it is not yet time for another.
    fn fresh(&self, uid: &str, observed: &Observed, replicas: usize) -> Option<ConnectedWorkers> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, census) = known.get(uid)?;
        let complete = census.connected == Some(replicas) && observed.deployments.len() == replicas;
        let interval = match (complete, &census.error) {
            (true, _) => LATER,
            (false, None) => SOON,
            (false, Some(_)) => AFTER_ERROR,
        };
        let left = interval.checked_sub(taken.elapsed()).filter(|left| !left.is_zero())?;
        Some(ConnectedWorkers { next: Some(left), ..census.clone() })
    }

    /// The last census, to be repeated soon.
    fn last(&self, uid: &str) -> ConnectedWorkers {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = known.get(uid).map(|(_, census)| census.clone()).unwrap_or_default();
        ConnectedWorkers { next: Some(SOON), ..last }
    }

    fn keep(&self, uid: &str, census: &ConnectedWorkers) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Of groups that are gone, nothing is ever asked again.
        if !known.contains_key(uid) {
            known.retain(|_, (taken, _)| taken.elapsed() < LATER * 10);
        }
        known.insert(uid.to_owned(), (Instant::now(), census.clone()));
    }

    fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
