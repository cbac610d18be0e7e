//! The test harness: a folder per test, the agent as a process, labs with real services, a consumer
//! at the broker, and readers of the agent's output.
//!
//! Helpers wait for states, never for fixed times. Everything that a test starts ends with the
//! test.

mod agent;
mod broker;
mod browser;
pub(crate) mod clickhouse;
mod collector;
mod folder;
mod lab;
mod ledger;
mod openapi;
mod openstack;
mod proxy;
mod resident;
mod samples;
mod server;
mod stream;
mod terminal;
mod verify;

use std::time::{Duration, Instant};

pub(crate) use agent::{Agent, Ended, Running, component};
pub(crate) use broker::{Arrival, Consumer, at_broker, declare};
pub(crate) use browser::Browser;
pub(crate) use collector::{Collector, Reply, api_of, request};
pub(crate) use folder::Folder;
pub(crate) use lab::{Lab, Relay, broker, closed_port, hypervisor};
pub(crate) use ledger::{Balance, Ledger};
pub(crate) use openapi::{document, validate};
pub(crate) use openstack::{Cloud, cloud};
pub(crate) use proxy::{Cut, Proxy};
pub(crate) use resident::{Resident, high_water};
pub(crate) use samples::{
    AS_DICT, CATALOGUE, MESSAGE, field, keys, ndjson, number, sorted_by_time, text,
};
pub(crate) use server::Server;
pub(crate) use stream::{StreamMessage, public_keys, verify_arrivals, verify_stream};
pub(crate) use terminal::Terminal;
pub(crate) use verify::{verify, verify_python2};

/// Timeout of all waiting. Generous, because test machines are busy; only a failing test waits this
/// long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Polls `condition` until it returns a value; panics with `what` after `timeout`.
pub(crate) fn eventually<T>(
    what: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + timeout;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "not within {timeout:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Ends a child process: with SIGTERM, and after ten seconds with SIGKILL.
pub(crate) fn end(child: &mut std::process::Child) {
    let pid = rustix::process::Pid::from_child(child);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    for _ in 0..100 {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Picks a count by `NEPHOMETER_TEST_SCALE`: `small` (default) or `full`.
pub(crate) fn scaled(small: usize, full: usize) -> usize {
    match std::env::var("NEPHOMETER_TEST_SCALE").as_deref() {
        Ok("full") => full,
        Ok("small") | Err(_) => small,
        Ok(other) => panic!("NEPHOMETER_TEST_SCALE={other}: expected small or full"),
    }
}

/// The library that changes the clock of programs that load it.
pub(crate) fn faketime() -> &'static str {
    let names = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    ];
    let mut found = names.into_iter().filter(|path| std::path::Path::new(path).exists());
    found.next().expect("libfaketime; make test installs it")
}

/// The root of the repository.
pub(crate) fn root() -> &'static std::path::Path {
    std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Makes `certificate.pem` and `key.pem` in a folder: self-signed, for `localhost`.
pub(crate) fn certificate(folder: &Folder) {
    let output = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
