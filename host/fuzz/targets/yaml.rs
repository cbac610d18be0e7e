//! Any bytes are parsed as a pipeline, or refused with a place.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_config::fuzz::yaml(data));
