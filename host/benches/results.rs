//! Appends results to the file that `scripts/bench-report` reads. Criterion keeps its own results.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::SystemTime;

use serde_json::json;

/// Appends one result. A figure is named `group/row/column`; its latest result counts.
pub(super) fn record(figure: &str, value: f64, unit: &str) {
    let group = figure.split('/').next().unwrap();
    record_of(figure, value, unit, &format!("cargo bench -p nephometer-bench -- {group}"));
}

/// Appends a result of another command.
pub(super) fn record_of(figure: &str, value: f64, unit: &str, command: &str) {
    assert_eq!(figure.matches('/').count(), 2, "{figure}");
    let time = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    fs::create_dir_all(&folder).unwrap();
    let mut file =
        OpenOptions::new().create(true).append(true).open(folder.join("results.jsonl")).unwrap();
    let row = json!({
        "figure": figure, "value": value, "unit": unit, "command": command, "time": time,
    });
    writeln!(file, "{row}").unwrap();
}
