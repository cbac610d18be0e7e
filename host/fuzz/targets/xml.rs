//! Any text is parsed as the description of a domain, or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_libvirt::fuzz::xml(data));
