//! No message crashes the parser of the collector, and what it reads is within the bounds of the store.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_collector::fuzz::message(data));
