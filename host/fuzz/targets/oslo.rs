//! No ceilometer.conf crashes its reader.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_config::fuzz::oslo(data));
