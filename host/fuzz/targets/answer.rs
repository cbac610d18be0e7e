//! An answer of a component is refused, or fit to be published.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_wasm::fuzz::answer(data));
