//! Answers that stand for many times their size: rows of one resource with much metadata.

use std::collections::HashSet;
use std::fs;

use serde_json::json;

use super::parts::{stores, transformer, word};
use super::watched;
use crate::harness::{Agent, PATIENCE, Running, eventually, ndjson, text};

/// Rows of a new resource with so many bytes of metadata, in place of the one sample of a batch.
pub(crate) fn multiplies(rows: u32, metadata: u32) -> Vec<u8> {
    let (before, after) = (r#"{"a":""#, r#""}"#);
    let [before_length, after_length] =
        [before, after].map(|text| u32::try_from(text.len()).unwrap());
    let start = 131_072;
    let resource = start + metadata + 64;
    let origins = (resource + 64).next_multiple_of(16);
    let resources = origins + 4 * rows + 16;
    let times = (resources + 4 * rows).next_multiple_of(16) + 16;
    let zeros = (times + 8 * rows).next_multiple_of(16) + 16;
    let pages = (zeros + 8 * rows) / 65_536 + 2;
    let quoted = |text: &str| text.replace('"', "\\22");
    let fill = |address: u32, byte: u32, length: u32| {
        format!("(memory.fill (i32.const {address}) (i32.const {byte}) (i32.const {length}))")
    };
    // Its id is the text at 2048, its owner nobody.
    let numbers = [2048, 7, 2048, 7, 0, 0, 0, 0, 0, 0, start, metadata].map(word).concat();
    let more = format!(
        "(data (i32.const {start}) \"{}\") (data (i32.const {}) \"{}\") \
         (data (i32.const {resource}) \"{numbers}\") \
         (func $fill-up (local i32) (local.set 0 (i32.const {resources})) (loop $next \
         (i32.store (local.get 0) (i32.const 1)) \
         (local.set 0 (i32.add (local.get 0) (i32.const 4))) \
         (br_if $next (i32.lt_u (local.get 0) (i32.const {})))))",
        quoted(before),
        start + metadata - after_length,
        quoted(after),
        resources + 4 * rows,
    );
    let initialize = [
        fill(start + before_length, 120, metadata - before_length - after_length),
        fill(origins, 255, 4 * rows),
        fill(times, 23, 8 * rows),
        "(call $fill-up)".to_owned(),
    ];
    let answer = [
        (1152, 0),
        (1156, 2),
        (1160, 0),
        (1164, 0),
        (1168, resource),
        (1172, 1),
        (1176, origins),
        (1180, rows),
        (1184, zeros),
        (1188, rows),
        (1192, resources),
        (1196, rows),
        (1200, times),
        (1204, rows),
        (1208, zeros),
        (1212, rows),
    ];
    transformer(&[
        ("MEMORY", &pages.to_string()),
        ("MORE", &more),
        ("INITIALIZE", &initialize.concat()),
        ("TRANSFORM", &stores(&answer)),
    ])
}

/// All that a batch makes was once encoded before anything of it was spooled, several times over: 4 GB
/// for 20,000 rows of 200 KB. Now it is encoded and written in pieces, in one transaction.
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
    running.wait_for_ticks(2);
    running.terminate();
    let (ended, resident) = watched(running, Running::ended);
    // The broker is not there: what is for it stays in the spool.
    let ledger = ended.code(69).ledger();
    let made = usize::try_from(ledger.stage("multiplies").made).unwrap();
    let written = lines(&out);
    let written = ndjson(&written);
    assert_eq!((written.len(), made), (rows, rows));
    let ids: HashSet<&str> = written.iter().map(|sample| text(sample, "id")).collect();
    assert_eq!(ids.len(), made);
    let broker = ledger.publisher("notifier");
    assert_eq!((broker.samples, broker.held), (ledger.stage("multiplies").made, broker.entered));
    assert_eq!(ndjson(&lines(&honest)).len() as u64, ledger.sinks["honest"].entered);
    println!("{resident} KiB for batches of {} bytes", rows * metadata as usize);
    assert!(resident < 160 << 10, "{resident} KiB");
}
