//! What the fuzz targets in `host/fuzz` call; only they see it.

use super::error::Report;
use super::oslo::OsloFile;
use super::{BrokerSpec, parse_pipeline};

/// Any bytes as a `pipeline.yaml`. Every fault has a place in it.
pub fn yaml(data: &[u8]) {
    match parse_pipeline(data, "fuzz.yaml", &BrokerSpec::default()) {
        Ok((spec, _)) => assert!(spec.sources.len() + spec.sinks.len() <= data.len()),
        Err(error) => assert!(!error.problems.is_empty()),
    }
}

/// Any text as a `ceilometer.conf`.
pub fn oslo(data: &[u8]) {
    let mut report = Report::default();
    let file = OsloFile::read("fuzz.conf", &String::from_utf8_lossy(data), &mut report);
    for option in file.options() {
        // A value that refers to itself has none, and is told.
        drop(file.value(option, &mut report));
    }
}
