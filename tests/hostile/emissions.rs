//! Answers that expand to many times their size: rows of one resource with much metadata.

use std::collections::HashSet;
use std::fs;

use serde_json::json;

use super::measure_memory;
use super::parts::{Answer, OWN, TEXT, data, pages, repeats, resource, transformer};
use crate::harness::{Agent, PATIENCE, Running, eventually, ndjson, text};

/// A component that replaces the one sample of a batch with `rows` rows of a new resource.
/// `metadata` is the size of the resource's metadata in bytes.
pub(crate) fn multiplies(rows: u32, metadata: u32) -> Vec<u8> {
    let (before, after) = (r#"{"a":""#, r#""}"#);
    let [before_length, after_length] =
        [before, after].map(|text| u32::try_from(text.len()).unwrap());
    let start = 131_072;
    let entry = start + metadata + 64;
    let origins = (entry + 64).next_multiple_of(16);
    let resources = origins + 4 * rows + 16;
    let times = (resources + 4 * rows).next_multiple_of(16) + 16;
    let zeros = (times + 8 * rows).next_multiple_of(16) + 16;
    let quoted = |text: &str| text.replace('"', "\\22");
    let fill = |address: u32, byte: u32, length: u32| {
        format!("(memory.fill (i32.const {address}) (i32.const {byte}) (i32.const {length}))")
    };
    let more = [
        format!("(data (i32.const {start}) \"{}\")", quoted(before)),
        format!("(data (i32.const {}) \"{}\")", start + metadata - after_length, quoted(after)),
        data(entry, &resource(OWN, TEXT, (start, metadata))),
        repeats("write-numbers", resources, &[OWN], rows),
    ];
    let initialize = [
        fill(start + before_length, 120, metadata - before_length - after_length),
        fill(origins, 255, 4 * rows),
        fill(times, 23, 8 * rows),
        "(call $write-numbers)".to_owned(),
    ];
    // The only meter of the input has number 0.
    let answer = Answer {
        meters: (0, 0),
        resources: (entry, 1),
        origin: (origins, rows),
        meter: (zeros, rows),
        resource: (resources, rows),
        time: (times, rows),
        volume: (zeros, rows),
        exact: (0, 0),
    };
    transformer(&[
        ("MEMORY", &pages(zeros + 8 * rows)),
        ("MORE", &more.concat()),
        ("INITIALIZE", &initialize.concat()),
        ("TRANSFORM", &answer.transformed()),
    ])
}

/// Regression: the whole output of a batch was encoded several times before any of it was spooled,
/// which took 4 GB for 20,000 rows of 200 KB. It is encoded and written in pieces, in one
/// transaction.
#[test]
fn rows_of_a_large_resource_are_spooled_in_pieces() {
    let (rows, metadata) = (3_000, 20_000);
    let agent = Agent::new("hostile-emissions").libvirt("sim://?domains=1&seed=1");
    let agent = agent.set("shutdown_grace", "60s");
    let folder = agent.folder.at("hostile");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("multiplies.wasm"), multiplies(rows, metadata)).unwrap();
    let [out, honest] = ["out", "honest"].map(|name| agent.folder.at(name));
    let agent = agent.set("components.path", json!([folder])).pipeline(&format!(
        "sources:\n\
         - {{name: once, interval: 3600, meters: [cpu], sinks: [many]}}\n\
         - {{name: all, interval: 1, meters: [cpu], sinks: [honest]}}\n\
         sinks:\n\
         - name: many\n\
         \x20 transformers: [{{name: multiplies, parameters: {{}}}}]\n\
         \x20 publishers: ['file://{}?json', 'notifier://']\n\
         - {{name: honest, publishers: ['file://{}?json']}}\n",
        out.display(),
        honest.display()
    ));
    let rows = usize::try_from(rows).unwrap();
    let lines = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default();
    let mut running = agent.run();
    eventually("its batch", 2 * PATIENCE, || (lines(&out).lines().count() == rows).then_some(()));
    running.wait_for_cycles(2);
    running.terminate();
    let (ended, resident) = measure_memory(running, Running::ended);
    // No broker is running: its samples stay in the spool.
    let ledger = ended.code(69).ledger();
    let made = usize::try_from(ledger.transformer("multiplies").created).unwrap();
    let written = lines(&out);
    let written = ndjson(&written);
    assert_eq!((written.len(), made), (rows, rows));
    let ids: HashSet<&str> = written.iter().map(|sample| text(sample, "id")).collect();
    assert_eq!(ids.len(), made);
    let broker = ledger.publisher("notifier");
    assert_eq!(
        (broker.samples, broker.pending),
        (ledger.transformer("multiplies").created, broker.entered)
    );
    assert_eq!(ndjson(&lines(&honest)).len() as u64, ledger.sinks["honest"].entered);
    println!("{resident} KiB for batches of {} bytes", rows * metadata as usize);
    assert!(resident < 160 << 10, "{resident} KiB");
}
