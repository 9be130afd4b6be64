//! How calls to the API server go wrong. What happens to the n-th call of a kind follows from the seed alone, so that
//! it does not depend on what else goes on.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use fastrand::Rng;

use crate::support::proxy::Fault;

/// Shares of calls in a thousand, and times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    seed: u64,
    /// Calls that fail in one of the ways of [`Fault`].
    fails: u32,
    /// Calls that are answered late.
    slow: u32,
    /// Writes in the middle of which the controller is killed.
    kills: u32,
    /// Parts of watches that come late, each by itself: news of different kinds change places.
    late: u32,
    /// Parts of watches after which the connection ends.
    cuts: u32,
    /// Workers whose creation is done and not answered. Then news of workers are late as well: who makes one again, before
    /// he has heard of it, must make the same.
    lost: u32,
    longest: Duration,
}

/// How late news of workers are where answers to their creation are lost: longer than the first pause after a failure.
const UNHEARD: Duration = Duration::from_secs(2);

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is answered after this time.
    Answered(Duration),
    Fails(Fault),
    /// The API server does what it is asked for, and the controller is killed before it knows.
    Kills,
}

/// What happens to a part of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passage {
    pub(crate) delay: Duration,
    pub(crate) cut: bool,
}

impl Weather {
    pub(crate) fn of(rng: &mut Rng) -> Self {
        // One run in four has no faults of one sort, so that each sort is also seen alone.
        let mut share = |most: u32| if rng.u8(0..4) == 0 { 0 } else { rng.u32(0..most) };
        let (fails, slow, kills, late, cuts) = (share(250), share(300), share(12), share(500), share(80));
        let longest = Duration::from_millis(rng.u64(50..2500));
        Self { seed: rng.u64(..), fails, slow, kills, late, cuts, lost: 0, longest }
    }

    /// This weather, in one run of three with answers to the creation of workers that are lost.
    pub(crate) fn losing(self, rng: &mut Rng) -> Self {
        Self { lost: if rng.u8(0..3) == 0 { 400 } else { 0 }, ..self }
    }

    /// The fate of the `nth` call of this kind, such as `patch daskclusters`.
    pub(crate) fn fate(&self, call: &str, nth: usize) -> Fate {
        if call == "create deployments" && self.rng("loss of an answer", nth).u32(0..1000) < self.lost {
            return Fate::Fails(Fault::LostAnswer);
        }
        let mut rng = self.rng(call, nth);
        let dice = rng.u32(0..1000);
        if dice < self.fails {
            return Fate::Fails(fault(call, &mut rng));
        }
        let is_write = !["get ", "list ", "watch "].iter().any(|verb| call.starts_with(verb));
        if is_write && rng.u32(0..1000) < self.kills {
            return Fate::Kills;
        }
        let slow = rng.u32(0..1000) < self.slow;
        Fate::Answered(if slow { self.longest.mul_f64(rng.f64()) } else { Duration::ZERO })
    }

    /// What happens to the `nth` part of all watches of this kind.
    pub(crate) fn passage(&self, call: &str, nth: usize) -> Passage {
        if call == "part of watch deployments" && self.lost > 0 {
            return Passage { delay: UNHEARD, cut: false };
        }
        let mut rng = self.rng(call, nth);
        let late = rng.u32(0..1000) < self.late;
        let delay = if late { self.longest.mul_f64(rng.f64()) } else { Duration::ZERO };
        Passage { delay, cut: rng.u32(0..1000) < self.cuts }
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
    // A hung call is given up after 15 s, in which nothing else happens: it is rare.
    if rng.u8(0..20) == 0 {
        return Fault::Hang;
    }
    let any = Fault::OF_ANY.iter().filter(|fault| **fault != Fault::Hang);
    let possible: Vec<Fault> = any.chain(of_writes).copied().collect();
    possible[rng.usize(0..possible.len())]
}
