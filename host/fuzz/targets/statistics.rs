//! No statistics of libvirt crash their reader.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nephometer_libvirt::fuzz::statistics(data));
