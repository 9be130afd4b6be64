//! Which calls to the API server fail, and how. The fault of the n-th call of a kind follows from the seed alone, so that
//! it does not depend on other calls.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use fastrand::Rng;

use crate::support::proxy::Fault;

/// How often each fault occurs, in calls per thousand, and how long delays last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FaultProfile {
    seed: u64,
    /// Calls that fail with a [`Fault`].
    fails: u32,
    /// Calls that are answered late.
    slow: u32,
    /// Writes in the middle of which the controller is killed.
    kills: u32,
    /// Watch events that arrive late. Each is delayed by itself, so that events of different kinds change their order.
    late: u32,
    /// Watch events after which the connection ends.
    cuts: u32,
    /// New workers for which the response to the creation is lost. Their watch events are late then as well: a
    /// controller that repeats the creation before it observed the worker must create the same one.
    lost: u32,
    longest: Duration,
}

/// The delay of watch events of workers while responses to their creation are lost: longer than the first retry delay.
const UNOBSERVED: Duration = Duration::from_secs(2);

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallFault {
    /// The response is delayed by this time.
    Delay(Duration),
    Fail(Fault),
    /// The API server carries out the call, and the controller is killed before it gets the response.
    KillController,
}

/// What happens to a watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchFault {
    pub(crate) delay: Duration,
    pub(crate) cut: bool,
}

impl FaultProfile {
    pub(crate) fn of(rng: &mut Rng) -> Self {
        // A quarter of the runs has no faults of a given kind, so that each kind also occurs alone.
        let mut share = |most: u32| if rng.u8(0..4) == 0 { 0 } else { rng.u32(0..most) };
        let (fails, slow, kills, late, cuts) = (share(250), share(300), share(12), share(500), share(80));
        let longest = Duration::from_millis(rng.u64(50..2500));
        Self { seed: rng.u64(..), fails, slow, kills, late, cuts, lost: 0, longest }
    }

    /// Adds lost responses to the creation of workers in one run of three.
    pub(crate) fn with_lost_responses(self, rng: &mut Rng) -> Self {
        Self { lost: if rng.u8(0..3) == 0 { 400 } else { 0 }, ..self }
    }

    /// Returns what happens to the `nth` call of this kind, such as `patch daskclusters`.
    pub(crate) fn call_fault(&self, call: &str, nth: usize) -> CallFault {
        if call == "create deployments" && self.rng("loss of an answer", nth).u32(0..1000) < self.lost {
            return CallFault::Fail(Fault::LostAnswer);
        }
        let mut rng = self.rng(call, nth);
        let dice = rng.u32(0..1000);
        if dice < self.fails {
            return CallFault::Fail(fault(call, &mut rng));
        }
        let is_write = !["get ", "list ", "watch "].iter().any(|verb| call.starts_with(verb));
        if is_write && rng.u32(0..1000) < self.kills {
            return CallFault::KillController;
        }
        let slow = rng.u32(0..1000) < self.slow;
        CallFault::Delay(if slow { self.longest.mul_f64(rng.f64()) } else { Duration::ZERO })
    }

    /// Returns what happens to the `nth` event of all watches of this kind.
    pub(crate) fn watch_fault(&self, call: &str, nth: usize) -> WatchFault {
        if call == "part of watch deployments" && self.lost > 0 {
            return WatchFault { delay: UNOBSERVED, cut: false };
        }
        let mut rng = self.rng(call, nth);
        let late = rng.u32(0..1000) < self.late;
        let delay = if late { self.longest.mul_f64(rng.f64()) } else { Duration::ZERO };
        WatchFault { delay, cut: rng.u32(0..1000) < self.cuts }
    }

    fn rng(&self, call: &str, nth: usize) -> Rng {
        let mut hasher = DefaultHasher::new();
        (self.seed, call, nth).hash(&mut hasher);
        Rng::with_seed(hasher.finish())
    }
}

fn fault(call: &str, rng: &mut Rng) -> Fault {
    if call.starts_with("watch ") {
        return Fault::OF_WATCHES[rng.usize(0..Fault::OF_WATCHES.len())];
    }
    let is_read = call.starts_with("get ") || call.starts_with("list ");
    let of_writes: &[Fault] = if is_read { &[] } else { &Fault::OF_WRITES };
    // Rare, because the controller waits 15 s for a call that hangs.
    if rng.u8(0..20) == 0 {
        return Fault::Hang;
    }
    let any = Fault::OF_ANY.iter().filter(|fault| **fault != Fault::Hang);
    let possible: Vec<Fault> = any.chain(of_writes).copied().collect();
    possible[rng.usize(0..possible.len())]
}
