//! What happens in one run: all of it follows from the seed.

use std::time::Duration;

use fastrand::Rng;

use crate::{
    fault_profile::Weather,
    hostile_objects,
    support::{faulty_plugin::Way, identities::Identity, misbehaviour},
};

/// Workers that compute and must not be lost.
pub(crate) const BUSY: usize = 2;
/// A group is never smaller: one idle worker more than may be deleted behind the controller's back, so that no
/// busy one has to go.
const LEAST: usize = BUSY + 2;
const MOST: usize = 12;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The default group is to have so many workers.
    Scale(usize),
    /// The second group comes, or is to have so many workers.
    Extra(usize),
    /// The second group is deleted.
    NoExtra,
    /// A second cluster comes; after [`Step::NoBrief`] it is a namesake.
    Brief(usize),
    /// The second cluster is deleted.
    NoBrief,
    /// Somebody deletes an idle worker of the default group.
    LoseWorker,
    /// Somebody deletes the scheduler's Service.
    LoseService,
    /// The controller is killed.
    Kill,
    /// The network between controller and API server says nothing for a while.
    Dark(Duration),
    /// The controller's clock is so many seconds off from now on.
    Clock(i64),
    /// The plugins begin to sin.
    Sin,
    /// The API server is killed and started again.
    RestartApiServer,
    /// A hostile user does what stands at this place in the list of all acts.
    Hostile(usize),
}

/// All of a run.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// Workers of the default group in the beginning.
    pub(crate) workers: usize,
    pub(crate) weather: Weather,
    /// Workers that the node has room for.
    pub(crate) room: usize,
    /// Places in the list of all sins.
    pub(crate) sins: Vec<usize>,
    /// Each after a pause.
    pub(crate) steps: Vec<(Duration, Step)>,
}

impl Script {
    /// What `seed` decides.
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let workers = rng.usize(LEAST..=MOST);
        let weather = Weather::of(&mut rng);
        let count = misbehaviour::all().len();
        let sins = if rng.u8(0..3) == 0 { rng.usize(1..=4) } else { 0 };
        let sins = distinct((0..sins).map(|_| rng.usize(0..count)).collect());
        let mut steps: Vec<(Duration, Step)> = Vec::new();
        for _ in 0..rng.usize(5..=12) {
            let pause = Duration::from_millis(rng.u64(0..2000));
            let step = step(&mut rng);
            // With the Service its children go, which are made again only if their plugin does not sin.
            let step = if step == Step::LoseService && !sins.is_empty() { Step::Kill } else { step };
            steps.push((pause, step));
        }
        if !sins.is_empty() {
            steps.insert(rng.usize(0..steps.len()), (Duration::ZERO, Step::Sin));
        }
        // It concerns all runs that go on at the time.
        if seed % 16 == 5 {
            steps.insert(rng.usize(0..steps.len()), (Duration::ZERO, Step::RestartApiServer));
        }
        // Of its own, so that all else is as it was before there were these.
        let mut rng = Rng::with_seed(seed ^ 0x686f_7374_696c_6521);
        let room = if rng.u8(0..3) == 0 { rng.usize(LEAST..=LEAST + 2) } else { usize::MAX };
        hostility(&mut rng, &mut steps);
        let weather = weather.losing(&mut rng);
        Self { workers, weather, room, sins, steps }
    }
}

/// In every second run. The controller is killed after each other act: it has to begin beside what is stored.
fn hostility(rng: &mut Rng, steps: &mut Vec<(Duration, Step)>) {
    let acts = chosen();
    if rng.bool() || acts.is_empty() {
        return;
    }
    for _ in 0..rng.usize(1..=4) {
        let place = rng.usize(0..=steps.len());
        steps.insert(place, (Duration::ZERO, Step::Hostile(acts[rng.usize(0..acts.len())])));
        if rng.bool() {
            steps.insert(place + 1, (Duration::from_millis(rng.u64(0..1000)), Step::Kill));
        }
    }
}

/// Places of the acts whose names are in `HOSTILE`, of all unless it is set.
fn chosen() -> Vec<usize> {
    let names = std::env::var("HOSTILE").ok().filter(|names| !names.is_empty());
    let is_chosen = |name: &str| names.as_ref().is_none_or(|names| names.split(',').any(|chosen| chosen == name));
    let acts = hostile_objects::acts();
    acts.iter().enumerate().filter(|(_, act)| is_chosen(act.name)).map(|(place, _)| place).collect()
}

/// Each once, and none that needs another plugin's certificate: the good one has none.
fn distinct(mut sins: Vec<usize>) -> Vec<usize> {
    let catalogue = misbehaviour::all();
    sins.retain(|place| !matches!(catalogue[*place].way, Way::Identity(Identity::Stolen(_))));
    sins.sort_unstable();
    sins.dedup();
    sins
}

fn step(rng: &mut Rng) -> Step {
    match rng.u8(0..20) {
        0..=5 => Step::Scale(rng.usize(LEAST..=MOST)),
        6..=7 => Step::Extra(rng.usize(0..=5)),
        8 => Step::NoExtra,
        9..=10 => Step::Brief(rng.usize(0..=3)),
        11 => Step::NoBrief,
        12 => Step::LoseWorker,
        13 => Step::LoseService,
        14..=16 => Step::Kill,
        17 => Step::Dark(Duration::from_millis(rng.u64(200..5000))),
        _ => Step::Clock(*rng.choice(&[-86_400, -3_600, -30, 0, 30, 3_600, 864_000]).unwrap_or(&0)),
    }
}
