//! Fuzz target: objects of the watched kinds.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dask_operator::fuzzing::object(bytes));
