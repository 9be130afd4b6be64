//! Fuzz target: RPC replies of a scheduler.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dask_operator::fuzzing::scheduler_reply(bytes));
