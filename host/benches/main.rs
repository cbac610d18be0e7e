//! Benchmarks: calls of a component, the path from a poll to encoded envelopes, delivery and reloads.
//!
//! `make bench` builds the measured components. `docs/performance.md` has the figures and explains them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a benchmark that fails should stop"
)]

mod crossing;
mod delivery;
mod encode;
mod limits;
mod path;
mod results;
mod swap;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::Criterion;
use nephometer_config::ComponentsSpec;

/// The scale of `cpu_util`, which reads one value of the metadata.
const SCALE: &str = "100.0 / (10**9 * (resource_metadata.cpu_number or 1))";

/// The folder with the components of `make bench`.
fn components() -> ComponentsSpec {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/components");
    assert!(path.join("rate_of_change.wasm").exists(), "no components: run `make bench`");
    ComponentsSpec { path: vec![path], ..ComponentsSpec::default() }
}

/// A cache for benchmarks only, so that new builds are measured.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench-cache")
}

/// A runtime with one thread, the least that an agent needs. Components have their own threads.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Prints results that criterion does not measure to standard output, as criterion does.
fn print(text: &str) {
    io::stdout().write_all(text.as_bytes()).unwrap();
}

/// Records the median, the 99th percentile and the largest of a figure in milliseconds, and returns them
/// as text. The figure is named without its column.
fn percentiles(figure: &str, mut values: Vec<Duration>) -> String {
    values.sort();
    let Some(last) = values.len().checked_sub(1) else { return "no values".to_owned() };
    let at = |share: usize| values[(last * share).div_ceil(100)];
    for (column, share) in [("median", 50), ("p99", 99), ("largest", 100)] {
        results::record(&format!("{figure}/{column}"), at(share).as_secs_f64() * 1e3, "ms");
    }
    format!("median {:?}, p99 {:?}, max {:?}", at(50), at(99), at(100))
}

/// Whether to run a benchmark outside criterion: without a filter, or with one that matches.
fn is_selected(name: &str) -> bool {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    filter.is_none_or(|filter| name.starts_with(&filter))
}

fn main() {
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    crossing::benches(&mut criterion);
    path::benches(&mut criterion);
    swap::benches(&mut criterion);
    criterion.final_summary();
    if is_selected("limits") {
        limits::measure();
    }
    if is_selected("delivery") {
        delivery::measure();
    }
    if is_selected("encode") {
        encode::measure();
    }
    if is_selected("swap") {
        swap::measure();
    }
}
