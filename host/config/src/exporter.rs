//! The options of `ceilometer.conf` for the exporter of the polling agent, which depend on each other.

use super::error::Report;
use super::oslo::{Key, OsloFile, OsloOption, truth};

const SECTION: &str = "polling";
const CERTIFICATE: &str = "prometheus_tls_certfile";
const KEY: &str = "prometheus_tls_keyfile";

/// The options that [`keys`] reads.
pub(super) const OPTIONS: [&str; 5] = [
    "enable_prometheus_exporter",
    "prometheus_listen_addresses",
    "prometheus_tls_enable",
    CERTIFICATE,
    KEY,
];

/// The keys of `nephometer.yaml` that the options set.
pub(super) fn keys(file: &OsloFile, report: &mut Report) -> Vec<Key> {
    let option = |key| file.named(key, SECTION);
    let origin = |option: &OsloOption| {
        let location = file.location(option);
        format!("{}:{}", location.file, location.line)
    };
    let mut enabled = |key| {
        let found = option(key)?;
        (truth(file.value(found, report)?) == "true").then_some(found)
    };
    let Some(exporter) = enabled("enable_prometheus_exporter") else { return Vec::new() };
    let tls = enabled("prometheus_tls_enable");
    let mut keys = Vec::new();
    match option("prometheus_listen_addresses") {
        Some(found) => {
            if let Some(value) = file.value(found, report) {
                keys.push((&["prometheus", "listen"][..], value, origin(found)));
            }
        }
        None => {
            let default = "127.0.0.1:9101".to_owned();
            keys.push((&["prometheus", "listen"], default, origin(exporter)));
        }
    }
    let Some(tls) = tls else { return keys };
    let files: [(&str, &'static [&'static str]); 2] = [
        (CERTIFICATE, &["prometheus", "tls", "certificate"]),
        (KEY, &["prometheus", "tls", "key"]),
    ];
    for (name, path) in files {
        match option(name).filter(|found| !found.is_empty()) {
            Some(found) => {
                if let Some(value) = file.value(found, report) {
                    keys.push((path, value, origin(found)));
                }
            }
            None => report.fault(
                &file.location(tls),
                format!("[{SECTION}] prometheus_tls_enable needs {name}, which is not set"),
                "set it to the path of a PEM file",
            ),
        }
    }
    keys
}
