//! Bytes from a broker never make the AMQP library parse values that are nested too deep.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_amqp::fuzz::amqp(data));
