//! A URL is never printed with its password.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_config::fuzz::url(data));
