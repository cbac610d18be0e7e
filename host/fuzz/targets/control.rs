//! What a client of the control socket sends is a request, or is refused in one line.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer::control::fuzz::control(data));
