//! Fuzz target: the frames on a connection to a scheduler.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dask_operator::fuzzing::scheduler_frames(bytes));
