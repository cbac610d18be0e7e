//! `file://`: both record formats, rotation, and files that cannot be written.

use std::fs;
use std::os::fd::AsRawFd;

use crate::harness::{AS_DICT, Agent, PATIENCE, eventually, keys, ndjson, sorted_by_time};

#[test]
fn records_are_json_or_python() {
    let agent = Agent::new("files-forms");
    let (json, python) = (agent.folder.at("samples.json"), agent.folder.at("samples.py"));
    let agent = agent.everything_to(&[
        &format!("file://{}?json", json.display()),
        &format!("file://{}", python.display()),
    ]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ledger = running.stop().code(0).ledger();
    let text = fs::read_to_string(&json).unwrap();
    let samples = ndjson(&text);
    assert_eq!(samples.len() as u64, ledger.polled);
    assert!(text.is_ascii());
    assert!(samples.iter().all(|sample| keys(sample) == AS_DICT));
    sorted_by_time(&samples);
    // Python reads the other format and prints how it would have written both.
    let script = "import ast, json, sys\n\
        a, b = (open(f, encoding='utf-8').read().splitlines() for f in sys.argv[1:])\n\
        a, b = [json.loads(x) for x in a], list(zip(b, map(ast.literal_eval, b)))\n\
        assert len(a) == len(b), (len(a), len(b))\n\
        for x, (text, y) in zip(a, b):\n\
        \x20   assert x == y and list(x) == list(y) and repr(y) == text, (x, text)\n\
        assert all(json.dumps(x) == t for x, t in zip(a, open(sys.argv[1]).read().splitlines()))\n";
    let output = std::process::Command::new("python3")
        .args(["-c", script])
        .args([&json, &python])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn files_are_rotated() {
    let agent = Agent::new("files-rotation");
    let path = agent.folder.at("samples");
    let limit = 30_000;
    let publisher = format!("file://{}?json&max_bytes={limit}&backup_count=3", path.display());
    let agent = agent.everything_to(&[&publisher]);
    let running = agent.run();
    let old = |n: usize| agent.folder.at(&format!("samples.{n}"));
    eventually("three old files", PATIENCE, || old(3).exists().then_some(()));
    let ledger = running.stop().code(0).ledger();
    assert_eq!(ledger.publisher("file").pending, 0);
    assert!(!old(4).exists());
    let mut all = Vec::new();
    for file in [old(3), old(2), old(1), path] {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.len() < limit, "{} has {} bytes", file.display(), text.len());
        all.extend(ndjson(&text));
    }
    // No gap, no repetition and no reordering where one file ends and the next begins.
    sorted_by_time(&all);
}

#[test]
fn a_file_that_cannot_be_made_holds_until_it_can() {
    let agent = Agent::new("files-unwritable").set("shutdown_grace", "1s");
    let folder = agent.folder.at("later");
    // The parent folder is a file, so that no user, not even root, can write there.
    fs::write(&folder, "").unwrap();
    let path = folder.join("samples");
    let agent = agent.everything_to(&[&format!("file://{}?json", path.display())]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ledger = running.stop().code(69).ledger();
    let (file, before) = (ledger.publisher("file"), ledger.polled);
    assert_eq!((file.left, file.dropped, file.samples), (0, 0, ledger.polled), "{ledger:?}");

    let mut running = agent.run();
    running.wait_for_cycles(2);
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    eventually("the file", PATIENCE, || path.exists().then_some(()));
    running.wait_for_cycles(1);
    let ledger = running.stop().code(0).ledger();
    let samples = ndjson(&fs::read_to_string(&path).unwrap());
    // The samples of the first run were still in its spool, and the ledger continues.
    assert!(ledger.polled > before, "{ledger:?}");
    assert_eq!(samples.len() as u64, ledger.polled);
    sorted_by_time(&samples);
}

#[test]
fn a_full_disk_loses_nothing() {
    let agent = Agent::new("files-full");
    let disk = agent.folder.at("disk");
    fs::create_dir(&disk).unwrap();
    let url = format!("file://{}?json", disk.join("samples").display());
    let agent = agent.everything_to(&[&url]);
    let mut running = agent.run_on_small_disk(&disk, "256k", 200_000);
    running.wait_for_cycles(1);
    // The mount disappears with the agent's namespace, but an open folder keeps it.
    let seen = fs::File::open(format!("/proc/{}/root{}", running.pid(), disk.display())).unwrap();
    let seen = |name: &str| format!("/proc/self/fd/{}/{name}", seen.as_raw_fd());
    eventually("a full disk", PATIENCE, || {
        let warned = running.stderr().lines().any(|line| line.contains("\"WARN\""));
        warned.then_some(())
    });
    running.wait_for_cycles(2);
    fs::remove_file(seen("ballast")).unwrap();
    let size = || fs::metadata(seen("samples")).unwrap().len();
    let full = size();
    eventually("more in the file", PATIENCE, || (size() > full).then_some(()));
    // The rest of the disk also fills up at some time: the file must agree with the ledger.
    let ended = running.stop();
    let ledger = ended.ledger();
    let file = ledger.publisher("file");
    assert_eq!(file.dropped, 0, "{ledger:?}");
    assert_eq!(ended.status.code(), Some(if file.pending == 0 { 0 } else { 69 }));
    let text = fs::read_to_string(seen("samples")).unwrap();
    assert!(text.ends_with('\n'), "a torn record at the end: {:?}", text.lines().last());
    let samples = ndjson(&text);
    sorted_by_time(&samples);
    if file.pending == 0 {
        assert_eq!(samples.len() as u64, ledger.polled);
    } else {
        assert!((samples.len() as u64) < ledger.polled);
    }
    let mut ids: Vec<_> = samples.iter().map(|sample| sample["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), samples.len(), "a sample stands in the file twice");
}
