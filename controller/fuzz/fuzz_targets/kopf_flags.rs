//! Fuzz target: flags and environment variables of kopf.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dask_operator::fuzzing::kopf_flags(bytes));
