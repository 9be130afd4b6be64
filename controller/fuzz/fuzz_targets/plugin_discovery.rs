//! Fuzz target: discovery answers of a plugin.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dask_operator::fuzzing::plugin_discovery(bytes));
