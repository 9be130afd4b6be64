//! Decides who leads, according to the observed Lease. All functions are pure.
//!
//! Only the monotonic clock of this machine decides when a Lease has expired. Its time runs from when the record was
//! last seen to change. The times in the record are for people, because the clocks of other machines may be wrong.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};

/// The time limits of the election. All of them are derived from the duration of the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    seconds: u16,
}

impl Timing {
    pub(super) fn new(seconds: u16) -> Self {
        Self { seconds }
    }

    /// Returns how long the holder is undisputed after it has written the Lease.
    pub(super) fn lease(self) -> Duration {
        Duration::from_secs(u64::from(self.seconds))
    }

    /// Returns the time between two renewals by the leader.
    pub(super) fn period(self) -> Duration {
        self.lease() / 3
    }

    /// Returns how long after the last renewal the leader stops, which is well before another process may lead.
    pub(super) fn deadline(self) -> Duration {
        self.lease() * 2 / 3
    }

    /// Returns how long one request may take. A second one, on another connection, can still be in time.
    pub(super) fn request(self) -> Duration {
        self.lease() / 4
    }

    /// Returns the shortest time between two attempts.
    pub(super) fn pause(self) -> Duration {
        self.lease() / 30
    }
}

/// The state of the Lease that is known to this process.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// The object, which the next write replaces as it is; `None` if there is none. An object that cannot be read has
    /// no record.
    pub(super) object: Option<Lease>,
    /// Why the object cannot be read, if it cannot.
    pub(super) unreadable: Option<&'static str>,
    /// The last record that was read. It stays valid while the object is missing: deleting the object does not stop the
    /// holder.
    pub record: LeaseSpec,
    /// When this process first saw this record.
    pub since: Instant,
    /// When the last successful write of this process began, if this process leads.
    pub renewed: Option<Instant>,
    /// The writes of this process since then that have no response yet.
    pub unconfirmed: Vec<UnconfirmedWrite>,
}

/// A write of the Lease whose response was not received.
#[derive(Clone, Debug)]
pub(super) struct UnconfirmedWrite {
    pub(super) record: LeaseSpec,
    pub(super) begun: Instant,
}

impl Observed {
    /// Returns the state before the Lease was read.
    pub(super) fn new(now: Instant) -> Self {
        let record = LeaseSpec::default();
        Self { object: None, unreadable: None, record, since: now, renewed: None, unconfirmed: Vec::new() }
    }

    /// Updates the state with the object that was read at `now`.
    pub(super) fn record_object(&mut self, object: Option<Lease>, now: Instant) {
        let spec = object.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
        if let Some(record) = spec
            && record != self.record
        {
            (self.record, self.since) = (record, now);
        }
        self.object = object;
        self.unreadable = None;
    }

    /// Updates the state with an object that cannot be read and was received at `now`. The last record stays valid.
    /// Another process may have taken and renewed the Lease since, so that each version counts as a new record.
    pub(super) fn record_unreadable(&mut self, metadata: ObjectMeta, reason: &'static str, now: Instant) {
        let known = self.object.as_ref().and_then(|lease| lease.metadata.resource_version.as_ref());
        if self.unreadable.is_none() || known != metadata.resource_version.as_ref() {
            self.since = now;
        }
        self.object = Some(Lease { metadata, spec: None });
        self.unreadable = Some(reason);
    }

    /// Returns whether `object` is what this leader wrote without receiving a response. If so, the write counts as a
    /// renewal: if the API server is slow, there is no time for another request.
    pub(super) fn confirm(&mut self, object: &Lease) -> bool {
        let found = self.unconfirmed.iter().find(|write| object.spec.as_ref() == Some(&write.record));
        let Some(write) = found else { return false };
        self.renewed = Some(write.begun);
        self.unconfirmed.clear();
        true
    }

    /// Returns the holder of the Lease, which is empty if there is none.
    pub(super) fn holder(&self) -> &str {
        self.record.holder_identity.as_deref().unwrap_or_default()
    }
}

/// The next step of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Write the Lease with this process as its holder. The write fails if another process was first.
    Claim,
    /// Do nothing until this moment or the next event of the watch.
    Wait(Instant),
    /// Stop, because another process may lead.
    Stop(Loss),
}

/// The reason why a leader has to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The leader could not renew the Lease in time.
    NotRenewed,
    /// The Lease names another holder, which is empty if there is none.
    Taken(String),
}

/// Returns the next step of the process `identity` at `now`.
pub(super) fn decide(now: Instant, observed: &Observed, identity: &str, timing: Timing) -> Decision {
    let is_holder = observed.holder() == identity;
    if let Some(renewed) = observed.renewed {
        let next = renewed + timing.period();
        return if !is_holder {
            Decision::Stop(Loss::Taken(observed.holder().to_owned()))
        } else if now >= renewed + timing.deadline() {
            Decision::Stop(Loss::NotRenewed)
        } else if observed.object.is_none() || observed.unreadable.is_some() || now >= next {
            // No other process can have taken the Lease before this leader's deadline, so that a Lease that cannot be
            // read is replaced.
            Decision::Claim
        } else {
            Decision::Wait(next)
        };
    }
    let promised = promised(&observed.record, timing);
    let is_readable = observed.unreadable.is_none();
    let end = observed.since + if is_readable { promised } else { promised.max(timing.lease()) };
    // A record of this very process means that a write succeeded whose response was lost.
    let is_free = is_readable && (is_holder || observed.holder().is_empty()) || now >= end;
    if is_free { Decision::Claim } else { Decision::Wait(end) }
}

/// Returns how long the holder of `record` is undisputed. The duration in the record counts, because the holder may run
/// with other flags.
fn promised(record: &LeaseSpec, timing: Timing) -> Duration {
    let seconds = record.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.filter(|seconds| *seconds > 0).map_or_else(|| timing.lease(), Duration::from_secs)
}

/// Returns the record after `record` in which `identity` becomes or stays the holder, as client-go writes it.
pub(super) fn claimed(record: &LeaseSpec, identity: &str, timing: Timing, now: Timestamp) -> LeaseSpec {
    let stays = record.holder_identity.as_deref() == Some(identity);
    let acquired = record.acquire_time.clone().filter(|_| stays);
    let transitions = match record.lease_transitions {
        _ if *record == LeaseSpec::default() => 0,
        before if stays => before.unwrap_or_default(),
        before => before.unwrap_or_default().saturating_add(1),
    };
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(i32::from(timing.seconds)),
        acquire_time: Some(acquired.unwrap_or_else(|| micro(now))),
        renew_time: Some(micro(now)),
        lease_transitions: Some(transitions),
        ..record.clone()
    }
}

/// Returns the record after `record` that has no holder. The duration is the one that client-go writes.
pub(super) fn released(record: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        acquire_time: Some(micro(now)),
        renew_time: Some(micro(now)),
        ..record.clone()
    }
}

/// Returns the time with the precision in which the API server returns it.
fn micro(now: Timestamp) -> MicroTime {
    MicroTime(Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now))
}

#[cfg(test)]
mod tests;
