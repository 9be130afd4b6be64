//! Fuzz target: CEL match expressions of plugins.

#![no_main]

// The controller catches panics of the interpreter, but libfuzzer's hook would abort the process before that.
libfuzzer_sys::fuzz_target!(init: drop(std::panic::take_hook()), |bytes: &[u8]| {
    dask_operator::fuzzing::match_expression(bytes)
});
