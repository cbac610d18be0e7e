//! No URL shows its password, whatever stands in it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_config::fuzz::url(data));
