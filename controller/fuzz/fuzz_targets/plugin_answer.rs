//! Fuzz target: answers of a plugin about a subject.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dask_operator::fuzzing::plugin_answer(bytes));
