//! What the tests stand on: a folder each, the agent as a process, labs with the real services, a
//! consumer at the broker, and readers of what comes out.
//!
//! Everything waits for states, never for times; everything that a test starts ends with it.

mod agent;
mod broker;
mod folder;
mod lab;
mod ledger;
mod proxy;
mod resident;
mod samples;
mod verify;

use std::time::{Duration, Instant};

pub(crate) use agent::{Agent, Ended, Running, component};
pub(crate) use broker::{Arrival, Consumer, at_broker, declare};
pub(crate) use folder::Folder;
pub(crate) use lab::{Lab, Relay, broker, closed_port, hypervisor};
pub(crate) use ledger::{Balance, Ledger};
pub(crate) use proxy::{Cut, Proxy};
pub(crate) use resident::Resident;
pub(crate) use samples::{
    AS_DICT, CATALOGUE, MESSAGE, field, keys, ndjson, number, sorted_by_time, text,
};
pub(crate) use verify::{verify, verify_python2};

/// How long something may take that normally takes a moment: generous, because machines that test
/// are busy. Only a test that fails ever waits for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until there is something to see.
pub(crate) fn eventually<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// `NEPHOMETER_TEST_SCALE`: `small` unless it says `full`.
pub(crate) fn scaled(small: usize, full: usize) -> usize {
    match std::env::var("NEPHOMETER_TEST_SCALE").as_deref() {
        Ok("full") => full,
        Ok("small") | Err(_) => small,
        Ok(other) => panic!("NEPHOMETER_TEST_SCALE={other}: it is small or full"),
    }
}

/// The folder that holds the project.
pub(crate) fn root() -> &'static std::path::Path {
    std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Makes `certificate.pem` and `key.pem` in a folder: for `localhost`, and signed by nobody else.
pub(crate) fn certificate(folder: &Folder) {
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
