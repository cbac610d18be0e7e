//! No request crashes the parsers of the query API.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_collector::fuzz::query(data));
