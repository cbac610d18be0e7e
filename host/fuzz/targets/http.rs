//! Bytes from a client of an HTTP listener are requests that are answered, or end the connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_http::fuzz::http(data));
