//! How many of a group's workers the scheduler knows. Nothing tells when that changes, so it is asked now and
//! then: often while workers are missing, rarely when all are there.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::ResourceExt as _;

use super::{observe::Observed, registered::registered, validate::ValidatedGroup};
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
pub(super) struct Census {
    /// Workers with at least one process that the scheduler knows; `None` if it could not be asked.
    pub(super) connected: Option<usize>,
    /// Why not.
    pub(super) error: Option<dask_scheduler_client::Error>,
    /// When to ask again.
    pub(super) next: Option<Duration>,
}

/// The latest census of each group, by uid.
#[derive(Debug, Default)]
pub struct Censuses(Mutex<HashMap<String, (Instant, Census)>>);

/// Asks the scheduler, unless it was asked just now.
pub(super) async fn take(context: &Context, valid: &ValidatedGroup, observed: &Observed) -> Census {
    let Some(cluster) = observed.cluster.as_deref() else { return Census::default() };
    let nobody = valid.replicas == 0 && observed.deployments.is_empty();
    if nobody || !scheduler::is_running(cluster, &observed.scheduler_pods) {
        context.censuses.forget(&valid.owner.uid);
        // Without a scheduler, or without workers, nobody is connected; a start is a change that leads here again.
        return Census { connected: Some(0), ..Census::default() };
    }
    if let Some(fresh) = context.censuses.fresh(&valid.owner.uid, observed, valid.replicas) {
        return fresh;
    }
    let Some(_slot) = context.conversations.try_acquire(&valid.namespace) else {
        return context.censuses.last(&valid.owner.uid);
    };
    let answer = async { scheduler::client_of(context, cluster).await?.workers().await };
    let census = match answer.await {
        Ok(workers) => {
            let names = observed.deployments.iter().map(|worker| worker.name_any()).collect::<Vec<_>>();
            let pods = observed.pods.values().flatten().map(AsRef::as_ref);
            let connected = registered(names.iter().map(String::as_str), pods, &workers).len();
            let next = if connected == valid.replicas { LATER } else { SOON };
            Census { connected: Some(connected), error: None, next: Some(next) }
        }
        Err(error) => Census { connected: None, error: Some(error), next: Some(AFTER_ERROR) },
    };
    context.censuses.keep(&valid.owner.uid, &census);
    census
}

impl Censuses {
    /// The last census, if it is not yet time for another.
    fn fresh(&self, uid: &str, observed: &Observed, replicas: usize) -> Option<Census> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, census) = known.get(uid)?;
        let complete = census.connected == Some(replicas) && observed.deployments.len() == replicas;
        let interval = match (complete, &census.error) {
            (true, _) => LATER,
            (false, None) => SOON,
            (false, Some(_)) => AFTER_ERROR,
        };
        let left = interval.checked_sub(taken.elapsed()).filter(|left| !left.is_zero())?;
        Some(Census { next: Some(left), ..census.clone() })
    }

    /// The last census, to be repeated soon.
    fn last(&self, uid: &str) -> Census {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = known.get(uid).map(|(_, census)| census.clone()).unwrap_or_default();
        Census { next: Some(SOON), ..last }
    }

    fn keep(&self, uid: &str, census: &Census) {
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
