//! A store that is damaged opens all the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_store::fuzz::spool(data));
