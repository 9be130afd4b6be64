//! Counts the workers of a group that are connected to the scheduler. The scheduler does not notify about changes, so
//! it is polled: often while workers are missing, rarely when all are connected.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::ResourceExt as _;
use operator_runtime::fair_share::FairShare;

use super::{observe::Observed, validate::ValidatedGroup};
use crate::scheduler::{self, SchedulerClients, registered};

/// The polling interval while workers are missing.
const SOON: Duration = Duration::from_secs(3);
/// The polling interval after the scheduler did not answer.
const AFTER_ERROR: Duration = Duration::from_secs(20);
/// The polling interval when all workers are connected.
const LATER: Duration = Duration::from_mins(1);

/// The result of the latest poll.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ConnectedWorkers {
    /// Workers with at least one process that is registered with the scheduler; `None` if the scheduler did not
    /// answer.
    pub(super) connected: Option<usize>,
    /// The reason why the scheduler did not answer.
    pub(super) error: Option<dask_scheduler_client::Error>,
    /// Whether the scheduler did not answer because it has only just started.
    pub(super) starting: bool,
    /// The time until the next poll.
    pub(super) next: Option<Duration>,
}

/// The latest poll of each group, by the group's uid.
#[derive(Debug, Default)]
pub(crate) struct ConnectedWorkersCache(Mutex<HashMap<String, (Instant, ConnectedWorkers)>>);

impl ConnectedWorkersCache {
    /// Polls the scheduler, unless that was done a short time ago.
    pub(super) async fn poll(
        &self,
        schedulers: &SchedulerClients,
        limiter: &FairShare,
        valid: &ValidatedGroup,
        observed: &Observed,
    ) -> ConnectedWorkers {
        let Some(cluster) = observed.cluster.as_deref() else { return ConnectedWorkers::default() };
        let nobody = valid.replicas == 0 && observed.deployments.is_empty();
        if nobody || !scheduler::is_running(cluster, &observed.scheduler_pods) {
            self.forget(&valid.owner.uid);
            // Without a scheduler or without workers, nothing is connected. When the scheduler starts, its watch event
            // triggers a pass.
            return ConnectedWorkers { connected: Some(0), ..ConnectedWorkers::default() };
        }
        if let Some(fresh) = self.fresh(&valid.owner.uid, observed, valid.replicas) {
            return fresh;
        }
        let Some(_slot) = limiter.try_acquire(&valid.namespace) else {
            return self.last(&valid.owner.uid);
        };
        let answer = async { schedulers.of(cluster).await?.workers().await };
        let connected = match answer.await {
            Ok(workers) => {
                let names = observed.deployments.iter().map(|worker| worker.name_any()).collect::<Vec<_>>();
                let pods = observed.pods.values().flatten().map(AsRef::as_ref);
                let connected = registered(names.iter().map(String::as_str), pods, &workers).len();
                let next = if connected == valid.replicas { LATER } else { SOON };
                ConnectedWorkers { connected: Some(connected), next: Some(next), ..ConnectedWorkers::default() }
            }
            Err(error) => {
                let is_starting = || scheduler::is_starting(&observed.scheduler_pods, Timestamp::now());
                let starting = error.is_unreachable() && is_starting();
                let next = if starting { SOON } else { AFTER_ERROR };
                ConnectedWorkers { connected: None, error: Some(error), starting, next: Some(next) }
            }
        };
        self.keep(&valid.owner.uid, &connected);
        connected
    }

    /// Returns the latest poll, if the next one is not due yet.
    fn fresh(&self, uid: &str, observed: &Observed, replicas: usize) -> Option<ConnectedWorkers> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, connected) = known.get(uid)?;
        let complete = connected.connected == Some(replicas) && observed.deployments.len() == replicas;
        let interval = match (complete, &connected.error) {
            (true, _) => LATER,
            (false, Some(_)) if !connected.starting => AFTER_ERROR,
            (false, _) => SOON,
        };
        let left = interval.checked_sub(taken.elapsed()).filter(|left| !left.is_zero())?;
        Some(ConnectedWorkers { next: Some(left), ..connected.clone() })
    }

    /// Returns the latest poll, with the next one due soon.
    fn last(&self, uid: &str) -> ConnectedWorkers {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = known.get(uid).map(|(_, connected)| connected.clone()).unwrap_or_default();
        ConnectedWorkers { next: Some(SOON), ..last }
    }

    fn keep(&self, uid: &str, connected: &ConnectedWorkers) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The group's first poll evicts old entries: groups that were deleted are never polled again.
        if !known.contains_key(uid) {
            known.retain(|_, (taken, _)| taken.elapsed() < LATER * 10);
        }
        known.insert(uid.to_owned(), (Instant::now(), connected.clone()));
    }

    fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
