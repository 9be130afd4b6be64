#![no_main]

// The controller catches panics of the interpreter, and libfuzzer's hook would end the process before it can.
libfuzzer_sys::fuzz_target!(init: drop(std::panic::take_hook()), |bytes: &[u8]| {
    dask_operator::fuzzing::match_expression(bytes)
});
