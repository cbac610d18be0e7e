//! Whatever a broker sends, the AMQP library parses nothing that is nested too deep.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_pipeline::publish::fuzz::amqp(data));
