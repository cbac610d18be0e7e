//! Bytes from a client of the control socket are a request, or are refused with one line.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer::control::fuzz::control(data));
