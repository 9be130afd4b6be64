//! Fuzz target: HTTP answers of a scheduler.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dask_operator::fuzzing::scheduler_http(bytes));
