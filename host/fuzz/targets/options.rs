//! No schema and no options crash the check of options.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_wasm::fuzz::options(data));
