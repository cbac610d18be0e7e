//! What the crossing into a component costs, and the whole path from a poll to encoded envelopes.
//!
//! `make bench` builds the components that this measures. Figures and their reading are in
//! `docs/performance.md`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a measurement that cannot be made should stop"
)]

mod crossing;
mod delivery;
mod limits;
mod path;
mod swap;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::Criterion;
use nephometer_config::ComponentsSpec;

/// The scale of `cpu_util`, which reads one value of the metadata.
const SCALE: &str = "100.0 / (10**9 * (resource_metadata.cpu_number or 1))";

/// Where `make bench` puts the components.
fn components() -> ComponentsSpec {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/components");
    assert!(path.join("rate_of_change.wasm").exists(), "no components: run `make bench`");
    ComponentsSpec { path: vec![path], ..ComponentsSpec::default() }
}

/// A cache of its own, so that what is measured is what was just built.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench-cache")
}

/// One thread for what waits, as little as an agent needs; guests have their own.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// What is no measurement of criterion's goes to standard output like those.
fn say(text: &str) {
    io::stdout().write_all(text.as_bytes()).unwrap();
}

/// The median, the 99th percentile and the largest.
fn percentiles(mut values: Vec<Duration>) -> String {
    values.sort();
    let Some(last) = values.len().checked_sub(1) else { return "nothing".to_owned() };
    let at = |share: usize| values[(last * share).div_ceil(100)];
    format!("median {:?}, 99 % {:?}, largest {:?}", at(50), at(99), at(100))
}

/// Whether what is not criterion's is wanted too: without a filter, or with its name.
fn wanted(name: &str) -> bool {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    filter.is_none_or(|filter| name.starts_with(&filter))
}

fn main() {
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    crossing::benches(&mut criterion);
    path::benches(&mut criterion);
    swap::benches(&mut criterion);
    criterion.final_summary();
    if wanted("limits") {
        limits::measure();
    }
    if wanted("delivery") {
        delivery::measure();
    }
    if wanted("swap") {
        swap::measure();
    }
}
