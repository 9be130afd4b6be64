//! What happens in one run. All of it follows from the seed.

use std::time::Duration;

use fastrand::Rng;

use crate::{
    fault_profile::FaultProfile,
    hostile_objects,
    support::{faulty_plugin::FaultMode, identities::Identity, misbehaviour},
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
    /// The default group gets this number of workers.
    Scale(usize),
    /// The second group is created, or gets this number of workers.
    Extra(usize),
    /// The second group is deleted.
    NoExtra,
    /// A second cluster is created; after [`Step::NoSecondCluster`] it reuses the name.
    SecondCluster(usize),
    /// The second cluster is deleted.
    NoSecondCluster,
    /// Somebody deletes an idle worker of the default group.
    LoseWorker,
    /// Somebody deletes the scheduler's Service.
    LoseService,
    /// The controller is killed.
    Kill,
    /// The network between controller and API server drops all packets for a while.
    Blackhole(Duration),
    /// The controller's clock is off by this number of seconds from now on.
    Clock(i64),
    /// The faulty plugins begin to misbehave.
    Misbehave,
    /// The API server is killed and started again.
    RestartApiServer,
    /// A hostile user carries out the attack at this index of the table.
    Hostile(usize),
}

/// Everything that a seed decides about a run.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// The initial number of workers of the default group.
    pub(crate) workers: usize,
    pub(crate) faults: FaultProfile,
    /// Workers that the node has room for.
    pub(crate) room: usize,
    /// Indices into the table of misbehaviours.
    pub(crate) misbehaviours: Vec<usize>,
    /// Steps, and the pause before each.
    pub(crate) steps: Vec<(Duration, Step)>,
}

impl Scenario {
    /// Derives the scenario of `seed`.
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let workers = rng.usize(LEAST..=MOST);
        let faults = FaultProfile::of(&mut rng);
        let count = misbehaviour::all().len();
        let number = if rng.u8(0..3) == 0 { rng.usize(1..=4) } else { 0 };
        let misbehaviours = distinct((0..number).map(|_| rng.usize(0..count)).collect());
        let mut steps: Vec<(Duration, Step)> = Vec::new();
        for _ in 0..rng.usize(5..=12) {
            let pause = Duration::from_millis(rng.u64(0..2000));
            let step = step(&mut rng);
            // With the Service its children go, which are made again only if their plugin does not misbehave.
            let step = if step == Step::LoseService && !misbehaviours.is_empty() { Step::Kill } else { step };
            steps.push((pause, step));
        }
        if !misbehaviours.is_empty() {
            steps.insert(rng.usize(0..steps.len()), (Duration::ZERO, Step::Misbehave));
        }
        // A restart affects all runs that are in progress.
        if seed % 16 == 5 {
            steps.insert(rng.usize(0..steps.len()), (Duration::ZERO, Step::RestartApiServer));
        }
        // A generator of its own, so that these choices do not change the others of a seed.
        let mut rng = Rng::with_seed(seed ^ 0x686f_7374_696c_6521);
        let room = if rng.u8(0..3) == 0 { rng.usize(LEAST..=LEAST + 2) } else { usize::MAX };
        add_attacks(&mut rng, &mut steps);
        let faults = faults.with_lost_responses(&mut rng);
        Self { workers, faults, room, misbehaviours, steps }
    }
}

/// Adds attacks to every second run. The controller is killed after half of them, so that it starts beside what they stored.
fn add_attacks(rng: &mut Rng, steps: &mut Vec<(Duration, Step)>) {
    let attacks = selected_attacks();
    if rng.bool() || attacks.is_empty() {
        return;
    }
    for _ in 0..rng.usize(1..=4) {
        let place = rng.usize(0..=steps.len());
        steps.insert(place, (Duration::ZERO, Step::Hostile(attacks[rng.usize(0..attacks.len())])));
        if rng.bool() {
            steps.insert(place + 1, (Duration::from_millis(rng.u64(0..1000)), Step::Kill));
        }
    }
}

/// Returns the indices of the attacks that `HOSTILE` names; of all attacks if it is not set.
fn selected_attacks() -> Vec<usize> {
    let names = std::env::var("HOSTILE").ok().filter(|names| !names.is_empty());
    let is_selected = |name: &str| names.as_ref().is_none_or(|names| names.split(',').any(|selected| selected == name));
    let attacks = hostile_objects::attacks();
    attacks.iter().enumerate().filter(|(_, attack)| is_selected(attack.name)).map(|(index, _)| index).collect()
}

/// Removes duplicates, and the misbehaviours that need the certificate of the good plugin, which has none here.
fn distinct(mut misbehaviours: Vec<usize>) -> Vec<usize> {
    let catalogue = misbehaviour::all();
    misbehaviours.retain(|index| !matches!(catalogue[*index].mode, FaultMode::Identity(Identity::Stolen(_))));
    misbehaviours.sort_unstable();
    misbehaviours.dedup();
    misbehaviours
}

fn step(rng: &mut Rng) -> Step {
    match rng.u8(0..20) {
        0..=5 => Step::Scale(rng.usize(LEAST..=MOST)),
        6..=7 => Step::Extra(rng.usize(0..=5)),
        8 => Step::NoExtra,
        9..=10 => Step::SecondCluster(rng.usize(0..=3)),
        11 => Step::NoSecondCluster,
        12 => Step::LoseWorker,
        13 => Step::LoseService,
        14..=16 => Step::Kill,
        17 => Step::Blackhole(Duration::from_millis(rng.u64(200..5000))),
        _ => Step::Clock(*rng.choice(&[-86_400, -3_600, -30, 0, 30, 3_600, 864_000]).unwrap_or(&0)),
    }
}
