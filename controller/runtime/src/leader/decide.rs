//! Who leads, by what was seen of the Lease; pure.
//!
//! Only the steady clock of this machine decides when a Lease has run out: it runs from when its record was last
//! seen to change. The times that are written in it are for people, as other machines' clocks may be wrong.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};

/// How long what may take. All of it follows from how long the Lease holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    seconds: u16,
}

impl Timing {
    pub(super) fn new(seconds: u16) -> Self {
        Self { seconds }
    }

    /// How long the holder is not disputed after it has written.
    pub(super) fn lease(self) -> Duration {
        Duration::from_secs(u64::from(self.seconds))
    }

    /// When the leader renews.
    pub(super) fn period(self) -> Duration {
        self.lease() / 3
    }

    /// How long after the last renewal the leader stops: well before another may lead.
    pub(super) fn deadline(self) -> Duration {
        self.lease() * 2 / 3
    }

    /// How long one request may take: so that a second one, on another connection, can still be in time.
    pub(super) fn request(self) -> Duration {
        self.lease() / 4
    }

    /// The shortest time between two tries.
    pub(super) fn pause(self) -> Duration {
        self.lease() / 30
    }
}

/// What this process knows of the Lease.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// The object, to be replaced as it is; `None` if there is none. One that cannot be read has no record.
    pub(super) object: Option<Lease>,
    /// Why the object cannot be read, if it cannot.
    pub(super) unreadable: Option<&'static str>,
    /// The last record that there was. It holds on while the object is missing: whoever deleted that has not
    /// stopped the holder.
    pub record: LeaseSpec,
    /// When the record was first seen to be this one.
    pub since: Instant,
    /// When the last successful write of this process, which leads, was begun.
    pub renewed: Option<Instant>,
    /// What it wrote since then without getting an answer, and when each of these writes was begun.
    pub asked: Vec<(LeaseSpec, Instant)>,
}

impl Observed {
    /// Nothing was seen yet.
    pub(super) fn new(now: Instant) -> Self {
        let record = LeaseSpec::default();
        Self { object: None, unreadable: None, record, since: now, renewed: None, asked: Vec::new() }
    }

    /// Takes in the object as it was seen `now`.
    pub(super) fn see(&mut self, object: Option<Lease>, now: Instant) {
        let seen = object.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
        if let Some(record) = seen
            && record != self.record
        {
            (self.record, self.since) = (record, now);
        }
        self.object = object;
        self.unreadable = None;
    }

    /// Takes in an object that cannot be read, as it was seen `now`. The last record holds on. Another process may have
    /// taken and renewed the Lease since, so each version counts as a new record.
    pub(super) fn see_unreadable(&mut self, metadata: ObjectMeta, reason: &'static str, now: Instant) {
        let known = self.object.as_ref().and_then(|lease| lease.metadata.resource_version.as_ref());
        if self.unreadable.is_none() || known != metadata.resource_version.as_ref() {
            self.since = now;
        }
        self.object = Some(Lease { metadata, spec: None });
        self.unreadable = Some(reason);
    }

    /// Whether `object` is what this leader wrote without getting an answer. If so, it has renewed after all: where
    /// the API server is slow, there is no time to ask it for more.
    pub(super) fn confirm(&mut self, object: &Lease) -> bool {
        let found = self.asked.iter().find(|(record, _)| object.spec.as_ref() == Some(record));
        let Some((_, begun)) = found else { return false };
        self.renewed = Some(*begun);
        self.asked.clear();
        true
    }

    /// Who holds the Lease; "" is nobody.
    pub(super) fn holder(&self) -> &str {
        self.record.holder_identity.as_deref().unwrap_or_default()
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Write the Lease with this process as its holder, or find out that another was first.
    Claim,
    /// Nothing, before this moment or news.
    Wait(Instant),
    /// End: another may lead.
    Stop(Loss),
}

/// Why a leader has to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// It could not renew in time.
    NotRenewed,
    /// Another is written in the Lease; "" is nobody.
    Taken(String),
}

/// What the process `identity` does `now`.
pub(super) fn decide(now: Instant, observed: &Observed, identity: &str, timing: Timing) -> Decision {
    let is_mine = observed.holder() == identity;
    if let Some(renewed) = observed.renewed {
        let next = renewed + timing.period();
        return if !is_mine {
            Decision::Stop(Loss::Taken(observed.holder().to_owned()))
        } else if now >= renewed + timing.deadline() {
            Decision::Stop(Loss::NotRenewed)
        } else if observed.object.is_none() || observed.unreadable.is_some() || now >= next {
            // Nobody else can have taken it before this leader's deadline, so that what cannot be read is replaced.
            Decision::Claim
        } else {
            Decision::Wait(next)
        };
    }
    let promised = promised(&observed.record, timing);
    let is_readable = observed.unreadable.is_none();
    let end = observed.since + if is_readable { promised } else { promised.max(timing.lease()) };
    // A record of this very process means that a write arrived whose answer did not.
    let is_free = is_readable && (is_mine || observed.holder().is_empty()) || now >= end;
    if is_free { Decision::Claim } else { Decision::Wait(end) }
}

/// How long the holder of `record` is not disputed: what it wrote itself, as it may run with other flags.
fn promised(record: &LeaseSpec, timing: Timing) -> Duration {
    let seconds = record.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.filter(|seconds| *seconds > 0).map_or_else(|| timing.lease(), Duration::from_secs)
}

/// The record after `record` that makes `identity` the holder, or leaves it the holder, as client-go writes it.
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

/// The record after `record` that nobody holds. The duration is what client-go writes.
pub(super) fn released(record: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        acquire_time: Some(micro(now)),
        renew_time: Some(micro(now)),
        ..record.clone()
    }
}

/// As it comes back from the API server.
fn micro(now: Timestamp) -> MicroTime {
    MicroTime(Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now))
}

#[cfg(test)]
mod tests;
