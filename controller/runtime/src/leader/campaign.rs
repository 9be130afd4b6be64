//! The part of one process in the election.

mod observing;

use std::{
    future::pending,
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Client,
    runtime::{WatchStreamExt as _, watcher, watcher::watch_object},
};
use tokio::{
    sync::watch,
    time::{sleep_until, timeout_at},
};

use super::{
    Error, Settings,
    decide::{self, Decision, Loss, Observed, Timing, UnconfirmedWrite, decide},
    lease::LeaseClient,
};
use crate::{
    k8s::{self, Class},
    received::Received,
};

/// The Lease as the watch reports it, or `None` if it is gone.
type LeaseEvent = Result<Option<Received<Lease>>, watcher::Error>;

/// The result of one attempt.
type Tried = Result<(), k8s::Error>;

/// A process that leads or wants to lead.
pub(super) struct Candidate {
    lease: LeaseClient,
    identity: String,
    timing: Timing,
    observed: Observed,
    leading: watch::Sender<bool>,
    /// When the next attempt may be made.
    not_before: Instant,
    /// Whether the watch fails, so that it reports no changes.
    watch_failed: bool,
    /// Whether the API server has ever let this process use the Lease.
    is_allowed: bool,
}

impl Candidate {
    pub(super) fn new(client: Client, settings: &Settings, leading: watch::Sender<bool>) -> Self {
        let timing = Timing::new(settings.seconds);
        // The pod's name alone is not enough: a process that restarts in the same pod must not take the Lease of its
        // predecessor for its own.
        let pod = settings.pod.as_deref().unwrap_or("dask-operator");
        let identity = format!("{pod}_{:08x}", fastrand::u32(..));
        let now = Instant::now();
        Self {
            lease: LeaseClient::new(client, settings, timing.request()),
            identity,
            timing,
            observed: Observed::new(now),
            leading,
            not_before: now,
            watch_failed: false,
            is_allowed: false,
        }
    }

    /// Leads, or waits to lead, until the leadership is lost. Returns how it was lost.
    pub(super) async fn campaign(&mut self) -> Error {
        let events = watch_object(self.lease.api.clone(), &self.lease.name).default_backoff();
        let mut events = pin!(events);
        let mut tried = self.read().await;
        loop {
            if let Err(error) = tried {
                if error.class() == Class::Forbidden && !self.is_allowed {
                    return self.lead_alone(&error).await;
                }
                tracing::warn!(lease = %self.lease, %error, "the Lease cannot be used; retrying");
                self.pause(if self.deadline().is_some() { self.timing.pause() } else { self.timing.period() / 2 });
            }
            let decision = decide(Instant::now(), &self.observed, &self.identity, self.timing);
            let deadline = self.deadline();
            let step = async {
                match decision {
                    Decision::Stop(loss) => Err(loss),
                    Decision::Claim if Instant::now() >= self.not_before => Ok(self.claim().await),
                    Decision::Claim => Ok(self.wait(self.not_before, events.as_mut()).await),
                    Decision::Wait(until) => Ok(self.wait(until, events.as_mut()).await),
                }
            };
            let result = match deadline {
                // A step that is still in progress at the deadline is too late.
                Some(deadline) => timeout_at(deadline.into(), step).await.unwrap_or(Ok(Ok(()))),
                None => step.await,
            };
            match result {
                Ok(result) => tried = result,
                Err(loss) => return self.lost(loss),
            }
        }
    }

    /// Returns when this process has to stop leading, if it leads.
    fn deadline(&self) -> Option<Instant> {
        self.observed.renewed.map(|renewed| renewed + self.timing.deadline())
    }

    /// Waits until `until` or for the next event of the watch. A standby whose watch fails reads the Lease from time to
    /// time.
    async fn wait(&mut self, until: Instant, mut events: Pin<&mut impl Stream<Item = LeaseEvent>>) -> Tried {
        let polls = self.watch_failed && self.observed.renewed.is_none();
        let until = if polls { until.min(Instant::now() + self.timing.period()) } else { until };
        tokio::select! {
            Some(event) = events.next() => self.on_event(event).await,
            () = sleep_until(until.into()) => if polls { self.read().await } else { Ok(()) },
        }
    }

    /// Releases the Lease if this process holds it, so that another can lead at once.
    pub(super) async fn release(&self) {
        if self.is_allowed {
            self.lease.release(&self.identity, self.timing).await;
        }
    }

    /// Tries to become the holder, or to stay it.
    async fn claim(&mut self) -> Tried {
        let start = Instant::now();
        let record = decide::claimed(&self.observed.record, &self.identity, self.timing, jiff::Timestamp::now());
        if self.observed.renewed.is_some() {
            self.observed.unconfirmed.push(UnconfirmedWrite { record: record.clone(), begun: start });
        }
        let before = self.observed.object.clone();
        let is_there = before.is_some();
        let written = match self.lease.write(before, record).await {
            Ok(written) => written,
            Err(error) => match error.class() {
                Class::Conflict | Class::AlreadyExists => return self.read_again().await,
                Class::NotFound if is_there => return self.read_again().await,
                Class::Forbidden if self.observed.renewed.is_none() => {
                    // Permission to read the Lease is not enough.
                    self.is_allowed = false;
                    return Err(error);
                }
                _ => return Err(error),
            },
        };
        self.is_allowed = true;
        self.observed.record_object(Some(written), Instant::now());
        self.observed.renewed = Some(start);
        self.observed.unconfirmed.clear();
        if !self.leading.send_replace(true) {
            tracing::info!(lease = %self.lease, identity = self.identity, "this process leads");
        }
        Ok(())
    }

    /// Reads the Lease after a write was rejected because the Lease has changed.
    async fn read_again(&mut self) -> Tried {
        self.pause(self.timing.pause() / 2);
        self.read().await
    }

    /// Leads without an election. Without permission to use Leases there is no election, and there are no standbys.
    async fn lead_alone(&self, error: &k8s::Error) -> Error {
        let error = error.message();
        tracing::warn!(lease = %self.lease, error, "no right to use Leases: this process leads without an election");
        self.leading.send_replace(true);
        pending().await
    }

    fn lost(&self, loss: Loss) -> Error {
        self.leading.send_replace(false);
        let lease = self.lease.to_string();
        match loss {
            Loss::NotRenewed => Error::NotRenewed { lease, limit: self.timing.deadline() },
            Loss::Taken(holder) if holder.is_empty() => Error::Taken { lease, holder: "nobody".to_owned() },
            Loss::Taken(holder) => Error::Taken { lease, holder },
        }
    }

    /// Makes no attempt for between `pause` and `2 × pause` (jitter keeps replicas out of step).
    fn pause(&mut self, pause: Duration) {
        self.not_before = Instant::now() + pause.mul_f64(1.0 + fastrand::f64());
    }
}

#[cfg(test)]
mod tests;
