//! A damaged store still opens.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_store::fuzz::spool(data));
