//! Any bytes are a component that may be compiled, or are refused before anything is compiled.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_wasm::fuzz::component(data));
