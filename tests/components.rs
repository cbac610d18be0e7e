//! Misbehaving components: their own sink loses only what the configuration allows, other sinks
//! lose nothing. Also the cache of compiled components, and components of other contract versions.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};

use crate::harness::{Agent, Ended, PATIENCE, component, eventually, ndjson, number, root, text};

/// One source, a sink with `misbehaving` in this mode, and a sink without components.
fn agent(mode: &str, on_error: &str) -> Agent {
    // Shutdown does not wait long for samples that stay pending.
    let grace = if on_error == "hold" { "1s" } else { "60s" };
    // First use of much memory takes some machines most of a second.
    let cpu = if mode == "huge-answer" { "5s" } else { "200ms" };
    let wall = if mode == "huge-answer" { "10s" } else { "2s" };
    let agent = Agent::new(&format!("components-{mode}")).set("shutdown_grace", grace).set(
        "components.by_name.misbehaving",
        json!({
            "on_error": on_error,
            "limits": { "cpu": cpu, "wall": wall, "memory": "128MiB" },
        }),
    );
    let (bad, good) = (agent.folder.at("bad"), agent.folder.at("good"));
    agent.pipeline(&format!(
        "sources: [{{name: all, interval: 1, meters: ['*'], sinks: [bad, good]}}]\n\
         sinks:\n\
         - name: bad\n\
         \x20 transformers: [{{name: misbehaving, parameters: {{mode: {mode}}}}}]\n\
         \x20 publishers: ['file://{}?json']\n\
         - name: good\n\
         \x20 publishers: ['file://{}?json']\n",
        bad.display(),
        good.display()
    ))
}

/// The samples of a file; without a last line that is not written whole yet.
fn samples(agent: &Agent, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(agent.folder.at(file)).unwrap_or_default();
    ndjson(text.rfind('\n').map_or("", |end| &text[..end]))
}

/// Runs until the good sink has received samples, and for two more polling cycles.
fn run(agent: &Agent) -> Ended {
    let mut running = agent.run();
    running.wait_for_cycles(1);
    eventually("the good sink's samples", PATIENCE, || {
        (!samples(agent, "good").is_empty()).then_some(())
    });
    running.wait_for_cycles(2);
    running.stop()
}

/// Failure modes, and part of the reason in the log.
const FAILURES: [(&str, &str); 22] = [
    ("loop-transform", "components.by_name.misbehaving.limits.cpu"),
    ("memory-bomb", "components.by_name.misbehaving.limits.memory"),
    ("huge-answer", "components.by_name.misbehaving.limits.returned"),
    ("deep-recursion", "call stack exhausted"),
    ("trap-transform", "this mode traps"),
    ("broken", "this mode is broken"),
    ("unequal-columns", "column time has"),
    ("bad-meter", "column meter: number 0xf4240 is unknown"),
    ("bad-resource", "column resource: number 0xf4240 is unknown"),
    ("bad-origin", "column origin: row 1000000 is out of range"),
    ("derive-out-of-range", "column origin: row "),
    ("derive-descending", ": not ascending"),
    ("nan", "NaN is not finite"),
    ("infinity", "inf is not finite"),
    ("time-zero", "1970-01-01T00:00:00 is before 1980"),
    ("time-future", " is before 1980 or after "),
    ("too-many-entries", "new_meters"),
    ("bad-metadata", "metadata is not a JSON object"),
    ("keep-descending", " is not ascending"),
    ("keep-out-of-range", " is out of range (the batch has "),
    ("reject", "this mode rejects"),
    ("loop-flush", "components.by_name.misbehaving.limits.cpu"),
];

#[test]
fn every_failure_is_logged_and_leaves_other_sinks_intact() {
    let wrong = side_by_side(&FAILURES, |(mode, reason)| {
        let agent = agent(mode, "drop");
        let ended = run(&agent);
        let ledger = ended.ledger();
        let good = samples(&agent, "good").len() as u64;
        let lost = ledger.transformer("misbehaving").dropped;
        // This mode passes all samples and fails only in `flush`.
        let passes = *mode == "loop-flush";
        let ok = good == ledger.polled
            && ended.stderr.contains(reason)
            && (lost == 0) == passes
            && ended.status.code() == Some(0);
        let report = || {
            format!(
                "== {mode}: {reason:?}? {good} good ones, {}; {ledger:#?}\n{}",
                ended.status,
                warnings(&ended)
            )
        };
        if ok { String::new() } else { report() }
    });
    assert!(wrong.is_empty(), "{wrong}");
}

/// Runs `each` for all items in parallel and joins their reports: most of the time is waiting.
fn side_by_side<T: Sync>(items: &[T], each: impl Fn(&T) -> String + Sync) -> String {
    let each = &each;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.iter().map(|item| scope.spawn(move || each(item))).collect();
        threads.into_iter().map(|thread| thread.join().expect("panic was printed")).collect()
    })
}

fn warnings(ended: &Ended) -> String {
    let serious = |line: &&str| line.contains("\"WARN\"") || line.contains("\"ERROR\"");
    ended.stderr.lines().filter(serious).map(|line| format!("{line}\n")).collect()
}

#[test]
fn unusual_but_valid_behaviour_loses_no_samples() {
    let modes = [
        "passthrough",
        "slow",
        "log-flood",
        "big-log-line",
        "save-fails",
        "restore-fails",
        "keep-even",
    ];
    side_by_side(&modes, |mode| {
        let agent = agent(mode, "hold");
        let ended = run(&agent).code(0);
        let (bad, polled) = (samples(&agent, "bad").len() as u64, ended.ledger().polled);
        if *mode == "keep-even" {
            assert_eq!(bad, ended.ledger().transformer("misbehaving").passed, "{mode}");
            assert!(bad > 0 && bad < polled, "{mode}");
        } else {
            assert_eq!(bad, polled, "{mode}:\n{}", warnings(&ended));
        }
        assert!(ended.stderr.len() < 1 << 20, "{mode}: {} bytes of log", ended.stderr.len());
        String::new()
    });
}

#[test]
fn on_error_holds_drops_or_keeps_samples() {
    // `hold`: nothing is lost; the sink waits, and the exit code reports it.
    let held = agent("trap-transform", "hold");
    let ledger = run(&held).code(69).ledger();
    let sink = &ledger.sinks["bad"];
    assert_eq!((sink.left, sink.dropped, sink.pending), (0, 0, ledger.polled), "{ledger:?}");
    assert_eq!(samples(&held, "bad"), Vec::<Value>::new());

    let dropped = agent("trap-transform", "drop");
    let ledger = run(&dropped).code(0).ledger();
    assert_eq!(ledger.transformer("misbehaving").dropped, ledger.polled, "{ledger:?}");
    assert_eq!(samples(&dropped, "bad"), Vec::<Value>::new());

    let kept = agent("trap-transform", "keep");
    let ledger = run(&kept).code(0).ledger();
    assert_eq!(ledger.transformer("misbehaving").passed, ledger.polled, "{ledger:?}");
    assert_eq!(samples(&kept, "bad"), samples(&kept, "good"));
}

/// `docs/contract.md`, "Errors": `rejected` drops only this batch, `broken` is a failure like a
/// trap and is retried until the batch passes.
#[test]
fn rejected_batch_is_dropped_at_once_and_broken_component_is_retried() {
    let rejecting = agent("reject", "hold");
    let ended = run(&rejecting).code(0);
    let transformer = ended.ledger().transformer("misbehaving").clone();
    assert_eq!(
        transformer.dropped,
        ended.ledger().polled,
        "on_error does not apply: {transformer:?}"
    );
    assert!(
        ended.logged("component failed").is_empty() && ended.logged("chain recovered").is_empty()
    );

    let broken = agent("broken", "hold");
    let mut running = broken.run();
    // Two attempts at once, the second on a new instance; then one attempt after each wait.
    eventually("a third and a fourth attempt", PATIENCE, || {
        (running.logged("component failed").len() >= 4).then_some(())
    });
    assert_eq!(running.logged("component failed twice on a batch").len(), 1, "logged once");
    assert!(samples(&broken, "bad").is_empty());
    // After the operator changes the options, the pending batch and all later batches pass.
    let pipeline = fs::read_to_string(broken.folder.at("pipeline.yaml")).unwrap();
    broken.folder.write("pipeline.yaml", pipeline.replace("mode: broken", "mode: passthrough"));
    eventually("what was held", PATIENCE, || (!samples(&broken, "bad").is_empty()).then_some(()));
    running.wait_for_cycles(1);
    running.stop().code(0);
    assert_eq!(samples(&broken, "bad"), samples(&broken, "good"));
}

/// A recording of one domain with one polling cycle for each of these numbers of bytes read.
pub(crate) fn recording(agent: &Agent, reads: &[u64]) -> String {
    let golden = root().join("tests/golden/27.0.0");
    let folder = agent.folder.at("recording");
    fs::create_dir_all(folder.join("xml")).unwrap();
    fs::create_dir_all(folder.join("domstats")).unwrap();
    let xml = "xml/11111111-2222-4333-8444-555555555555.xml";
    fs::copy(golden.join(xml), folder.join(xml)).unwrap();
    let stats = fs::read_to_string(golden.join("domstats/1795380803.895156065.txt")).unwrap();
    let section = stats.split("Domain: ").find(|text| text.starts_with("'peers-new-0'")).unwrap();
    for (cycle, read) in reads.iter().enumerate() {
        let lines = section.lines().map(|line| match line.trim().split_once('=') {
            Some(("block.0.rd.bytes", _)) => format!("  block.0.rd.bytes={read}\n"),
            _ => format!("{line}\n"),
        });
        let text = format!("Domain: {}", lines.collect::<String>());
        fs::write(
            folder.join(format!("domstats/{}.000000000.txt", 1_795_380_800 + 10 * cycle)),
            text,
        )
        .unwrap();
    }
    format!("replay://{}", folder.display())
}

#[test]
fn state_survives_a_trap() {
    let agent = agent("trap-666", "drop");
    let uri = recording(&agent, &[1, 2, 666, 3, 4]);
    let agent = agent.libvirt(&uri);
    let ended = agent.execute(&["run"]).code(0).reports("a volume is 666");
    let rows = ended.ledger().polled / 5;
    assert_eq!(ended.ledger().transformer("misbehaving").dropped, rows);
    // Counts the samples of all batches except the one that trapped.
    let counts: Vec<u64> = samples(&agent, "bad")
        .iter()
        .filter(|sample| text(sample, "name") == "misbehaving.count")
        .map(|sample| sample["volume"].as_f64().unwrap().round().to_string().parse().unwrap())
        .collect();
    let unlike = |wrong: &str| format!("{wrong}: {counts:?}, {rows} rows a cycle");
    assert!(counts.is_sorted(), "{}", unlike("it goes back"));
    for cycle in 1..=4 {
        assert!(counts.contains(&(cycle * rows)), "{}", unlike("a number is missing"));
    }
    assert_eq!(counts.last(), Some(&(4 * rows)));
}

#[test]
fn state_persists_from_batch_to_batch() {
    let agent = agent("counter", "hold");
    let uri = recording(&agent, &[1, 2, 3]);
    let agent = agent.libvirt(&uri);
    let rows = agent.execute(&["run"]).code(0).ledger().polled / 3;
    let counts: Vec<f64> = samples(&agent, "bad")
        .iter()
        .filter(|sample| text(sample, "name") == "misbehaving.count")
        .map(number)
        .collect();
    let rows = f64::from(u32::try_from(rows).unwrap());
    assert_eq!(counts, [rows, 2.0 * rows, 3.0 * rows]);
}

#[test]
fn unusable_options_and_settings_are_configuration_errors() {
    for (mode, reason) in [
        ("option-error", "this mode refuses its options"),
        ("nonsense", "unknown mode"),
        ("loop-configure", "components.by_name.misbehaving.limits.cpu"),
        ("bad-settings-glob", "pattern"),
    ] {
        let agent = agent(mode, "hold");
        let ended = agent.execute(&["check"]).code(78).reports(reason);
        assert!(ended.stdout.contains("pipeline.yaml:4:"), "{mode}: {}", ended.stdout);
        agent.execute(&["run"]).code(78).reports(reason);
    }
}

#[test]
fn files_that_are_not_components_are_refused_with_a_reason() {
    let agent = Agent::new("components-files");
    let real = fs::read(component("rate_of_change")).unwrap();
    let core = b"\0asm\x01\0\0\0".to_vec();
    for (name, content, reason) in [
        ("core", core, "component"),
        ("garbage", b"this is no wasm".to_vec(), "component"),
        ("empty", Vec::new(), "component"),
        ("truncated", real[..real.len() / 2].to_vec(), "component"),
    ] {
        let file = agent.folder.write(&format!("{name}.wasm"), content);
        let arguments = ["component", "run", file.to_str().unwrap()];
        let ended = agent.execute_with_input(&arguments, "").code(78).reports(reason);
        assert!(ended.stderr.contains(file.to_str().unwrap()), "{}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
    let missing = agent.folder.at("missing.wasm");
    agent
        .execute(&["component", "run", missing.to_str().unwrap()])
        .code(78)
        .reports("missing.wasm");
}

/// A component with its contract version replaced by 0.3.0.
fn of_another_contract(name: &str) -> Vec<u8> {
    let mut bytes = fs::read(component(name)).unwrap();
    let (old, new) = (b"@0.2.0", b"@0.3.0");
    let found: Vec<usize> = bytes
        .windows(old.len())
        .enumerate()
        .filter(|(_, part)| part == old)
        .map(|(at, _)| at)
        .collect();
    assert!(!found.is_empty(), "{name} names no version of the contract");
    for at in found {
        bytes[at..at + new.len()].copy_from_slice(new);
    }
    bytes
}

// Regression: the error named an import instead of the version.
#[test]
fn a_component_of_another_contract_version_is_refused_with_both_versions_and_the_remedy() {
    let agent = Agent::new("components-contract");
    let folder = agent.folder.at("components");
    fs::create_dir(&folder).unwrap();
    for (name, of) in [("newer", "rate_of_change"), ("newerpub", "statsd")] {
        fs::write(folder.join(format!("{name}.wasm")), of_another_contract(of)).unwrap();
    }
    let mut agent = agent.set("components.path", json!([folder]));
    for (transformers, publisher) in
        [("[{name: newer, parameters: {}}]", "test://"), ("[]", "newerpub://127.0.0.1:8125")]
    {
        agent = agent.through(transformers, &[publisher]);
        let ended = agent.execute(&["check"]).code(78);
        for part in ["version 0.3.0", "0.2.x", "rebuild it", "agent"] {
            assert!(ended.stdout.contains(part), "{part:?} is not in:\n{}", ended.stdout);
        }
        assert!(!ended.stdout.contains(": imports "), "{}", ended.stdout);
    }
}

/// An agent with a cached component, and the cache file.
fn cached(name: &str) -> (Agent, std::path::PathBuf) {
    let agent =
        Agent::new(name).through("[{name: rate_of_change, parameters: {}}]", &["file:///dev/null"]);
    agent.execute(&["check"]).code(0);
    let mut files = Vec::new();
    let mut folders = vec![agent.folder.at("cache")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    let compiled = files.into_iter().max_by_key(|file| fs::metadata(file).unwrap().len());
    (agent, compiled.expect("compiled code in the cache"))
}

/// Whether components were loaded from the cache, according to the log.
fn from_cache(agent: &Agent) -> HashSet<bool> {
    let mut command = agent.command(&["once", "--log-format", "json"]);
    command.env("NEPHOMETER_LOG", "info");
    let ended = agent.start(command, None).ended(PATIENCE).code(0);
    ended.logged("component loaded").iter().map(|line| line["cached"].as_bool().unwrap()).collect()
}

#[test]
fn a_damaged_cache_is_rebuilt() {
    let (agent, file) = cached("components-cache");
    assert_eq!(from_cache(&agent), HashSet::from([true]));
    let good = fs::read(&file).unwrap();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for damaged in [flipped, good[..good.len() / 2].to_vec(), Vec::new()] {
        fs::write(&file, damaged).unwrap();
        assert_eq!(from_cache(&agent), HashSet::from([false]));
        assert_eq!(from_cache(&agent), HashSet::from([true]), "the cache was rebuilt");
    }
}

#[test]
fn a_cache_that_others_could_have_written_is_refused() {
    // A link instead of the file.
    let (agent, file) = cached("components-linked-file");
    let elsewhere = agent.folder.at("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    assert_eq!(from_cache(&agent), HashSet::from([false]));

    // A world-writable folder.
    let (agent, file) = cached("components-open-cache");
    fs::set_permissions(file.parent().unwrap(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(from_cache(&agent), HashSet::from([false]));

    // Owned by another user: only root can change the owner.
    if rustix::process::geteuid().is_root() {
        let (agent, file) = cached("components-foreign-cache");
        std::os::unix::fs::chown(&file, Some(65_534), None).unwrap();
        assert_eq!(from_cache(&agent), HashSet::from([false]));
    }

    // A link instead of the folder.
    let (agent, _) = cached("components-linked-folder");
    let (cache, moved) = (agent.folder.at("cache"), agent.folder.at("moved"));
    fs::rename(&cache, &moved).unwrap();
    symlink(&moved, &cache).unwrap();
    assert_eq!(from_cache(&agent), HashSet::from([false]));
}

#[test]
fn components_of_released_contract_versions_keep_running() {
    let released = root().join("tests/contract");
    let mut versions = 0;
    let entries = fs::read_dir(released).unwrap().map(|entry| entry.unwrap().path());
    for version in entries.filter(|path| path.is_dir()) {
        versions += 1;
        // A slow machine is still compiling when the agent is stopped.
        let agent = Agent::new("components-golden").set("shutdown_grace", "60s");
        let folder = agent.folder.at("components");
        fs::create_dir(&folder).unwrap();
        for name in ["rate_of_change", "misbehaving"] {
            let golden = version.join(format!("golden-{name}.wasm"));
            fs::copy(golden, folder.join(format!("{name}.wasm"))).unwrap();
        }
        let out = format!("file://{}?json", agent.folder.at("out").display());
        let agent = agent.set("components.path", json!([folder])).through(
            "[{name: misbehaving, parameters: {mode: counter}}, \
             {name: rate_of_change, parameters: {target: {name: rate}}}]",
            &[&out],
        );
        let mut running = agent.run();
        running.wait_for_cycles(3);
        running.stop().code(0);
        let samples = samples(&agent, "out");
        assert!(samples.iter().any(|sample| text(sample, "resource_id") == "misbehaving"));
        assert!(samples.iter().all(|sample| text(sample, "name") == "rate"));
    }
    assert!(versions > 0);
}
