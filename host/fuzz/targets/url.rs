//! No URL shows its password, whatever stands in it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer::config::fuzz::url(data));
