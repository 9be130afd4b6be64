//! Fuzzing entry points: the parsers of schedulers' answers.

use futures::FutureExt as _;
use serde::de::IgnoredAny;

use super::{
    Worker, codec,
    http::{Counts, Idle, Target, WorkerList},
    lenient::{Entries, Scalar},
    message::{self, Identity},
};

/// The content of one reply, parsed as the reply to each kind of call.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The connected workers.
    pub workers: Vec<Worker>,
    /// The order in which workers would be closed.
    pub order: Vec<String>,
    /// The number of workers that the scheduler wants.
    pub wanted: Option<u64>,
    /// The time since which the scheduler is idle, in epoch seconds.
    pub idle_since: Option<f64>,
}

/// Reads all messages of a connection.
pub fn frames(mut bytes: &[u8]) -> Vec<Said> {
    let (mut received, mut said) = (Vec::new(), Vec::new());
    // All bytes are available, so no read ever waits.
    while let Some(Ok(frame)) = codec::read(&mut bytes, &mut received).now_or_never() {
        drop(message::decode::<IgnoredAny>(&frame));
        said.push(reply(&frame));
    }
    said
}

/// Reads one reply of the RPC.
pub fn reply(frame: &[u8]) -> Said {
    let identity = message::decode_reply::<Identity>(frame);
    let order = message::decode_reply::<Entries<()>>(frame);
    drop(message::decode_reply::<Entries<IgnoredAny>>(frame).map(Entries::into_addresses));
    let scalar = message::decode_reply::<Scalar>(frame).unwrap_or_default();
    Said {
        workers: identity.map(Identity::into_workers).unwrap_or_default(),
        order: order.map(|order| order.0.into_iter().map(|(address, ())| address).collect()).unwrap_or_default(),
        wanted: scalar.count(),
        idle_since: scalar.seconds(),
    }
}

/// Reads one reply by HTTP.
pub fn http_reply(body: &[u8]) -> Said {
    drop(serde_json::from_slice::<Counts>(body).map(|counts| counts.is_idle()));
    let retired = serde_json::from_slice::<Entries<IgnoredAny>>(body).map(Entries::into_addresses);
    Said {
        workers: serde_json::from_slice(body).map(WorkerList::into_workers).unwrap_or_default(),
        order: retired.unwrap_or_default().into_iter().collect(),
        wanted: serde_json::from_slice(body).map(|Target { workers }| workers).ok(),
        idle_since: serde_json::from_slice(body).ok().and_then(|Idle { idle_since }| idle_since),
    }
}
