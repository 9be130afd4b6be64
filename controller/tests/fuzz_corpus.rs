//! Runs the inputs of `controller/fuzz/corpus`, and small changes of each, without a fuzzer: where none is installed,
//! what was found once stays found.
#![expect(clippy::unwrap_used, reason = "in tests, what fails must fail loudly")]

use std::{
    alloc::System,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dask_operator::fuzzing::{ENTRIES, Entry};
use fastrand::Rng;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// Counts all that is allocated. This program has one test, so that nothing else is counted.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What an input may allocate in all, however short it is: the objects beside it, and the interpreter's tables.
const BYTES: usize = 2 << 20;
/// What a short expression may allocate in all.
const BYTES_OF_AN_EXPRESSION: usize = 64 << 20;
/// What an input may allocate in all for each of its own bytes. A map of one short entry takes more than half a
/// kilobyte, and is copied.
const BYTES_PER_BYTE: usize = 1024;
/// On a busy machine. Only what is far worse than linear takes so long.
const TIME: Duration = Duration::from_secs(30);
/// Changes of each input.
const CHANGES: usize = 30;

#[test]
fn no_kept_input_and_no_small_change_of_one_panics_or_takes_more_than_its_size_explains() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let names: BTreeSet<String> = entries_of(&corpus).iter().map(|folder| name_of(folder)).collect();
    assert_eq!(names, ENTRIES.iter().map(|(name, _)| (*name).to_owned()).collect());
    let mut problems = Vec::new();
    for (name, entry) in ENTRIES {
        for file in entries_of(&corpus.join(name)) {
            let (input, place) = (fs::read(&file).unwrap(), format!("{name}/{}", name_of(&file)));
            let bytes = if name == "match_expression" { BYTES_OF_AN_EXPRESSION } else { BYTES };
            problems.extend(problem((entry, bytes), &input, &place));
            let mut rng = Rng::with_seed(7);
            for nth in 0..CHANGES {
                problems.extend(problem(
                    (entry, bytes),
                    &changed(&input, &mut rng),
                    &format!("change {nth} of {place}"),
                ));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn entries_of(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// What is wrong with how `entry` reads `input`, which may allocate so many `bytes` however short it is.
fn problem((entry, bytes): (Entry, usize), input: &[u8], place: &str) -> Option<String> {
    let (region, begin) = (Region::new(ALLOCATOR), Instant::now());
    let outcome = std::panic::catch_unwind(|| entry(input));
    let (allocated, time) = (region.change().bytes_allocated, begin.elapsed());
    let bound = bytes + BYTES_PER_BYTE * input.len();
    if outcome.is_err() {
        Some(format!("{place} panics: {}", input.escape_ascii()))
    } else if allocated > bound {
        Some(format!("{place} of {} bytes allocates {allocated} bytes in all, and may {bound}", input.len()))
    } else {
        (time > TIME).then(|| format!("{place} takes {time:?}"))
    }
}

/// `input` with a piece removed, repeated, moved or overwritten, or cut short.
fn changed(input: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let begin = rng.usize(0..=bytes.len());
    let end = (begin + rng.usize(0..64)).min(bytes.len());
    let piece = bytes[begin..end].to_vec();
    match rng.u8(0..5) {
        0 => drop(bytes.drain(begin..end)),
        1 => drop(bytes.splice(begin..begin, piece)),
        2 => {
            let place = rng.usize(0..=bytes.len());
            drop(bytes.splice(place..place, piece));
        }
        3 => bytes[begin..end].iter_mut().for_each(|byte| *byte = rng.u8(..)),
        _ => bytes.truncate(begin),
    }
    bytes
}
