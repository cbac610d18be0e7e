//! Exports as Parquet, read by DuckDB.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{moment, stored};
use crate::harness::{Agent, Collector, ndjson, root, text};

const READ: &str = r#"
import duckdb, json, sys
files = f"read_parquet('{sys.argv[1]}/*.parquet', filename = true)"
types = duckdb.sql(f"DESCRIBE SELECT * FROM {files}").fetchall()
print(json.dumps({name: kind for name, kind, *_ in types}))
found = duckdb.sql(f"SELECT * REPLACE (epoch_us(timestamp) AS timestamp, epoch_us(recorded_at) AS recorded_at, "
                   f"parse_filename(filename) AS filename) FROM {files}")
for row in found.fetchall():
    print(json.dumps(dict(zip(found.columns, row))))
"#;

/// The types of the columns, and the rows.
fn read(folder: &Path) -> (Value, Vec<Value>) {
    let python = root().join("target/tools/duckdb/bin/python");
    assert!(python.exists(), "DuckDB is missing; install it with: scripts/duckdb");
    let output = Command::new(python).args(["-c", READ]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut lines = ndjson(&String::from_utf8(output.stdout).unwrap());
    let rows = lines.split_off(1);
    (lines.remove(0), rows)
}

/// Asserts that the files have exactly the samples of the store.
fn assert_same(collector: &Collector, rows: &[Value]) {
    let mut expected: BTreeMap<String, Value> = stored(collector);
    for row in rows {
        let sample = expected.remove(text(row, "message_id")).unwrap_or_else(|| panic!("{row}"));
        for name in ["meter", "type", "unit", "resource_id", "project_id", "user_id", "source"] {
            assert_eq!(row[name], sample[name], "{name} of {row}");
        }
        for name in ["timestamp", "recorded_at"] {
            let micros = moment(&sample[name]).as_microsecond();
            assert_eq!(row[name], json!(micros), "{name} of {row}");
        }
        assert_eq!(text(row, "filename")[..7], text(&sample, "timestamp")[..7], "{row}");
        assert_eq!(row["volume"].as_f64(), sample["volume"].as_f64(), "{row}");
    }
    assert!(expected.is_empty(), "{} samples are missing", expected.len());
}

#[test]
fn another_program_reads_what_is_exported() {
    let mut lines = String::new();
    let volumes = [json!(null), json!(0), json!(-7), json!(1.5), json!(i64::MAX), json!(1e300)];
    for (number, volume) in (0..).zip(volumes) {
        let project = if number == 2 { Value::Null } else { json!(format!("p{}", number % 2)) };
        let line = json!({
            "id": format!("00000000-0000-4000-8000-{number:012}"), "name": "m", "type": "gauge",
            "unit": "%", "volume": volume, "user_id": null, "project_id": project,
            "resource_id": format!("Größe-{number}"), "source": "openstack",
            "timestamp": format!("2026-{}T23:59:59.99999{number}", ["09-30", "10-01"][number % 2]),
            "resource_metadata": {"name": "ü\u{1F600}", "list": [1, {"a": null}]},
        });
        lines += &format!("{line}\n");
    }
    // What a real agent has sent.
    let agent = Agent::new("collector-export-agent").libvirt("sim://?domains=3&seed=5");
    let sent = agent.folder.at("sent");
    let agent = agent.everything_to(&[&format!("file://{}?json", sent.display())]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    running.stop().code(0);
    let collector = Collector::new("collector-export").set("store.window", "40000d");
    let collector = collector.set("store.keep", "forever").set("store.rollups", "forever");
    let made = collector.folder.write("made", lines);
    let files = [made.to_str().unwrap(), sent.to_str().unwrap()];
    collector.execute(&[&["import", "--unsigned"], &files[..]].concat()).code(0);

    let folder = collector.folder.at("export");
    let shown = folder.to_str().unwrap();
    let done = collector.execute(&["export", shown]).code(0);
    assert!(done.stdout.contains("ok: 3 samples in"), "{}", done.stdout);
    let (types, rows) = read(&folder);
    assert_same(&collector, &rows);
    assert_eq!(types["timestamp"], "TIMESTAMP WITH TIME ZONE");
    assert_eq!((&types["volume"], &types["volume_integer"]), (&json!("DOUBLE"), &json!("BIGINT")));
    assert_eq!((&types["metadata"], types.as_object().unwrap().len()), (&json!("VARCHAR"), 14));
    let one = |number: usize| {
        let id = format!("00000000-0000-4000-8000-{number:012}");
        rows.iter().find(|row| row["message_id"] == *id).unwrap()
    };
    // Whole numbers keep all digits.
    assert_eq!(one(4)["volume_integer"], json!(i64::MAX));
    assert_eq!((&one(3)["volume_integer"], &one(0)["volume"]), (&Value::Null, &Value::Null));
    let metadata: Value = serde_json::from_str(text(one(1), "metadata")).unwrap();
    assert_eq!(metadata, json!({"name": "ü\u{1F600}", "list": [1, {"a": null}]}));

    // Files that are there stay; a part of the samples; what there is not.
    let again = collector.execute(&["export", shown]).code(64);
    assert!(again.stderr.contains("2026-09.parquet is there already"), "{}", again.stderr);
    let part = collector.folder.at("part");
    let some = ["--month", "2026-10", "--project", "p1", "--meter", "m"];
    collector.execute(&[&["export", part.to_str().unwrap()], &some[..]].concat()).code(0);
    let (_, rows) = read(&part);
    let mut ids: Vec<&str> = rows.iter().map(|row| text(row, "message_id")).collect();
    ids.sort_unstable();
    let last: Vec<&str> = ids.iter().map(|id| &id[35..]).collect();
    assert_eq!(last, ["1", "3", "5"]);
    let none = collector.execute(&["export", shown, "--month", "2020-01"]).code(64);
    assert!(none.stderr.contains("no samples of 2020-01; `status` lists"), "{}", none.stderr);
}
