//! No schema and no options bring the check of options down.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_wasm::fuzz::options(data));
