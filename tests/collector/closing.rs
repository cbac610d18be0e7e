//! Closed months and erased projects, on the command line and beside a running collector.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Collector, api_of, ndjson, request};

/// The month before the present one, as `2026-10`, and a sample in it.
fn last_month() -> String {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let before = today.first_of_month().yesterday().unwrap();
    before.strftime("%Y-%m").to_string()
}

fn sample(number: u32, time: &str, name: &str) -> Value {
    json!({
        "message_id": format!("3a5f2c1e-6821-41e5-9d70-{number:012}"),
        "counter_name": "cpu", "counter_type": "gauge", "counter_unit": "%",
        "counter_volume": number, "user_id": "u1", "project_id": "p1", "resource_id": "r1",
        "source": "openstack", "timestamp": time, "resource_metadata": {"display_name": name},
    })
}

fn import(collector: &Collector, samples: &[Value]) {
    let lines: Vec<String> = samples.iter().map(Value::to_string).collect();
    let file = collector.folder.write("samples", lines.join("\n"));
    let stored = format!("ok: {} stored", samples.len());
    collector.execute(&["import", "--unsigned", file.to_str().unwrap()]).code(0).reports(&stored);
}

#[test]
fn a_month_is_closed_beside_a_running_collector() {
    let month = last_month();
    // Wide enough for the whole month before.
    let collector = Collector::new("collector-closing").set("store.window", "70d");
    let at = |number: u32, day: &str| sample(number, &format!("{month}-{day}"), "x");
    import(&collector, &[at(1, "02T10:00:00"), at(2, "20T23:30:00-01:00")]);
    let running = collector.run();
    let address = api_of(&running);
    let close = || collector.execute(&["close-month", &month, "--format", "json"]).code(0);
    let closing = ndjson(&close().stdout).remove(0);
    assert_eq!((&closing["new"], &closing["samples"]), (&json!(true), &json!(2)), "{closing}");
    assert_eq!(closing["sums"][0]["sum"], 3.0, "{closing}");
    let none = collector.execute(&["corrections", &month]).code(0);
    assert!(none.stdout.contains("ok: no corrections since"), "{}", none.stdout);
    // A late sample over the API of the collector that runs all the time.
    let late = json!([{"counter_name": "cpu", "counter_type": "gauge", "counter_unit": "%",
        "counter_volume": 40, "resource_id": "r2", "project_id": "p1",
        "timestamp": format!("{month}-05T00:00:00")}]);
    let posted = request(&address, "POST", "/v2/meters/cpu", &[], &late.to_string());
    assert_eq!(posted.status, 201, "{posted:?}");
    let listed = collector.execute(&["corrections", &month]).code(0);
    assert!(listed.stdout.contains("1 samples since"), "{}", listed.stdout);
    let json = ["corrections", &month, "--format", "json"];
    let corrections = ndjson(&collector.execute(&json).code(0).stdout).remove(0);
    let one = &corrections["corrections"][0];
    assert_eq!((&one["project_id"], &one["sum"]), (&json!("p1"), &json!(40.0)), "{corrections}");
    assert_eq!(corrections["digest"], closing["digest"]);
    let again = ndjson(&close().stdout).remove(0);
    assert_eq!((&again["new"], &again["digest"]), (&json!(false), &closing["digest"]));
    assert_eq!((&again["sums"], &again["closed"]), (&closing["sums"], &closing["closed"]));
    running.stop().code(0);
    let state = collector.state();
    assert_eq!(
        (&state["closed_months"], &state["counts"]["corrections"]),
        (&json!([month]), &json!(1))
    );

    // Backup and restore keep both.
    let target = collector.folder.at("backup");
    collector.execute(&["backup", target.to_str().unwrap()]).code(0);
    let restored = collector.folder.at("restored");
    let collector = collector.set("store.path", restored.to_str().unwrap());
    collector.execute(&["restore", target.to_str().unwrap()]).code(0);
    let there = ndjson(&collector.execute(&json).code(0).stdout).remove(0);
    assert_eq!(there, corrections);
    for (month, expected) in [("2026-13", "write it like 2026-11"), ("2500-01", "it ends at")] {
        collector.execute(&["close-month", month]).code(64).reports(expected);
    }
    collector.execute(&["corrections", "2000-01"]).code(64).reports("it is not closed");
}

/// Whether a text is in a file of a folder.
fn is_on_disk(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

#[test]
fn names_are_erased_beside_a_running_collector() {
    let collector = Collector::new("collector-erasing");
    let store = collector.folder.at("store");
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S").to_string();
    import(&collector, &[sample(1, &now, "Ada Lovelace"), sample(2, &now, "Ada Byron")]);
    let running = collector.run();
    let address = api_of(&running);
    let names = || {
        let found = request(&address, "GET", "/v2/samples", &[], "").body;
        let found = found.as_array().unwrap().clone();
        found.into_iter().map(|one| one["metadata"]["display_name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names().len(), 2);
    assert!(is_on_disk(&store, "Ada"));
    let erased = collector.execute(&["erase-project", "p1", "--keep-erasing"]).code(0);
    assert!(
        erased.stdout.contains("ok: 2 metadata of 1 resources erased in 1 files"),
        "{}",
        erased.stdout
    );
    assert_eq!(names(), [Value::Null, Value::Null]);
    let late = json!([{"counter_name": "cpu", "counter_type": "gauge", "counter_unit": "%",
        "counter_volume": 40, "resource_id": "r1", "project_id": "p1",
        "resource_metadata": {"display_name": "Ada Lovelace"}}]);
    let posted = request(&address, "POST", "/v2/meters/cpu", &[], &late.to_string());
    assert_eq!(posted.status, 201, "{posted:?}");
    assert_eq!(names(), [Value::Null, Value::Null, Value::Null]);
    running.stop().code(0);
    assert!(!is_on_disk(&store, "Ada"), "a name is in a file of the store");
    let status = collector.execute(&["status"]).code(0);
    assert!(status.stdout.contains("erased on arrival: p1"), "{}", status.stdout);
    collector.execute(&["erase-project", "p1", "--stop-erasing"]).code(0);
    collector.execute(&["erase-project", "p1", "--stop-erasing"]).code(64);
}
