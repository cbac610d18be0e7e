//! A disk that fails or hangs: what it holds is not written over, and whoever does not need it goes on.

use std::fs;

use serde_json::{Value, json};

use super::agent::disk;
use crate::harness::{Agent, PATIENCE, Running, closed_port, component, eventually, ndjson, text};

fn samples(agent: &Agent, file: &str) -> usize {
    ndjson(&fs::read_to_string(agent.folder.at(file)).unwrap_or_default()).len()
}

fn logged(running: &Running, message: &str) -> Vec<Value> {
    eventually(message, PATIENCE, || {
        Some(running.logged(message)).filter(|lines| !lines.is_empty())
    })
}

/// The ids of the envelopes in a spool, in their order.
fn held(agent: &Agent, spool: &str) -> Vec<String> {
    let export = agent.execute(&["spool", "export", spool]).code(0);
    ndjson(&export.stdout).iter().map(|one| text(one, "id").to_owned()).collect()
}

/// While the store could not be opened, a reload gave a publisher an empty spool whose numbers began
/// at 1: what came next was written over what the spool held.
#[test]
fn a_publisher_that_comes_while_the_disk_fails_keeps_what_its_spool_holds() {
    let agent = Agent::new("faults-unread").set("shutdown_grace", "1s");
    let (library, flag) = (disk(&agent), agent.folder.at("readonly"));
    let away = format!("notifier://guest:guest@127.0.0.1:{}/?topic=kept", closed_port());
    let file = format!("file://{}?json", agent.folder.at("out").display());
    let agent = agent
        .variable("LD_PRELOAD", &library)
        .variable("FAULT_READONLY", flag.to_str().unwrap())
        .everything_to(&[&away]);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    running.stop().code(69);
    let spools = agent.execute(&["spool", "ls", "--json"]).code(0);
    let spools: Value = serde_json::from_str(&spools.stdout).unwrap();
    let spool = text(&spools[0], "spool").to_owned();
    let before = held(&agent, &spool);
    assert!(before.len() >= 3, "{before:?}");

    let agent = agent.everything_to(&[&file]);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    fs::write(&flag, "").unwrap();
    logged(&running, "store write failed");
    let agent = agent.everything_to(&[&file, &away]);
    let refused = agent.execute(&["reload"]);
    running.wait_for_cycles(2);
    fs::remove_file(&flag).unwrap();
    logged(&running, "store writable again");
    let taken = agent.execute(&["reload"]);
    running.wait_for_cycles(2);
    running.stop().code(69);
    let after = held(&agent, &spool);
    assert_eq!(after[..before.len().min(after.len())], before, "what was held comes first");
    assert!(after.len() > before.len(), "the publisher is at work: {after:?}");
    refused.code(78).reports("agent.redb");
    taken.code(0).reports("topic=kept: added");
}

/// A sink that lagged while the disk failed gave up all batches that were only on disk.
#[test]
fn a_sink_that_lags_while_the_disk_fails_waits_for_it() {
    let agent = Agent::new("faults-lag").set("shutdown_grace", "1s");
    let (library, flag) = (disk(&agent), agent.folder.at("readonly"));
    let components = agent.folder.at("components");
    fs::create_dir(&components).unwrap();
    let put = |name: &str| {
        let beside = components.join(".new");
        fs::copy(component(name), &beside).unwrap();
        fs::rename(beside, components.join("counting.wasm")).unwrap();
    };
    put("counting-crash");
    let out = format!("file://{}?json", agent.folder.at("out").display());
    let agent = agent
        .set("components.path", json!([components]))
        .variable("LD_PRELOAD", &library)
        .variable("FAULT_READONLY", flag.to_str().unwrap())
        .through("[{name: counting, parameters: {}}]", &[&out]);
    let mut running = agent.run();
    logged(&running, "component failed twice on a batch");
    running.wait_for_cycles(4);
    running.stop().code(69);

    // What is in the journal is on disk alone now.
    let mut running = agent.run();
    logged(&running, "component failed twice on a batch");
    fs::write(&flag, "").unwrap();
    logged(&running, "store write failed");
    put("counting");
    eventually("a batch that is not read", PATIENCE, || {
        let given_up = running.logged("journal batch unreadable");
        let waits = running.logged("journal read failed, sink waiting");
        (!given_up.is_empty() || !waits.is_empty()).then_some(())
    });
    fs::remove_file(&flag).unwrap();
    logged(&running, "store writable again");
    running.wait_for_cycles(1);
    eventually("a sink at the head", PATIENCE, || {
        let status = agent.execute(&["status", "--json"]).code(0);
        let status: Value = serde_json::from_str(&status.stdout).unwrap();
        (status["sinks"][0]["state"] == "running" && samples(&agent, "out") > 0).then_some(())
    });
    let ended = running.stop().code(0);
    let ledger = ended.ledger();
    let sink = &ledger.sinks["out"];
    assert_eq!((sink.dropped, sink.left), (0, ledger.polled), "{ledger:?}");
}

/// Two sinks that kept a failing input on a disk that hangs took both threads of the agent with them.
#[test]
fn a_disk_that_hangs_holds_up_only_who_writes_to_it() {
    let agent = Agent::new("faults-hang")
        .set("shutdown_grace", "60s")
        .set("components.by_name.misbehaving", json!({"on_error": "drop"}));
    let (library, flag) = (disk(&agent), agent.folder.at("hangs"));
    let out = |sink: &str| format!("'file://{}?json'", agent.folder.at(sink).display());
    let bad = "transformers: [{name: misbehaving, parameters: {mode: trap-transform}}]";
    let pipeline = format!(
        "sources:\n\
         - {{name: a, interval: 1, meters: [cpu], sinks: [one, good]}}\n\
         - {{name: b, interval: 1, meters: [cpu], sinks: [two]}}\n\
         sinks:\n\
         - {{name: one, {bad}, publishers: [{}]}}\n\
         - {{name: two, {bad}, publishers: [{}]}}\n\
         - {{name: good, publishers: [{}]}}\n",
        out("one"),
        out("two"),
        out("good")
    );
    let agent = agent
        .variable("LD_PRELOAD", &library)
        .variable("FAULT_HANG", flag.to_str().unwrap())
        .variable("FAULT_HANG_AT", "/failures/")
        .pipeline(&pipeline);
    fs::write(&flag, "").unwrap();
    let mut running = agent.run();
    let failures = agent.folder.at("store/failures");
    let begun = || fs::read_dir(&failures).map_or(0, |files| files.count());
    eventually("a fixture that is begun", PATIENCE, || (begun() > 0).then_some(()));
    let before = samples(&agent, "good");
    running.wait_for_cycles(6);
    eventually("samples of the sink that needs no such file", PATIENCE, || {
        (samples(&agent, "good") > before + 6).then_some(())
    });
    agent.execute(&["status"]).code(0).reports("sink good");
    let whole =
        fs::read_dir(&failures).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    assert_eq!(whole.sum::<u64>(), 0, "the disk did not hang");
    fs::remove_file(&flag).unwrap();
    running.stop().code(0);
}

/// A recording is a copy for people. On a disk that hung, nothing was sampled any more.
#[test]
fn a_recording_on_a_disk_that_hangs_ends_and_nothing_else_does() {
    let agent = Agent::new("faults-recording");
    let (library, flag) = (disk(&agent), agent.folder.at("hangs"));
    let out = format!("file://{}?json", agent.folder.at("out").display());
    let agent = agent
        .variable("LD_PRELOAD", &library)
        .variable("FAULT_HANG", flag.to_str().unwrap())
        .variable("FAULT_HANG_AT", "/recording")
        .everything_to(&[&out]);
    let recording = agent.folder.at("recording");
    let arguments = ["run", "--log-format", "json", "--log", "debug", "--record"];
    let mut command = agent.command(&arguments[..5]);
    command.arg(arguments[5]).arg(&recording);
    let mut running = agent.start(command, None);
    eventually("a batch in the recording", PATIENCE, || {
        fs::metadata(&recording).ok().filter(|found| found.len() > 0)
    });
    fs::write(&flag, "").unwrap();
    running.wait_for_cycles(2);
    let ended = logged(&running, "recording stopped, write failed");
    assert!(ended[0]["reason"].as_str().unwrap().contains("recording"), "{ended:?}");
    let before = samples(&agent, "out");
    running.wait_for_cycles(3);
    eventually("more samples", PATIENCE, || (samples(&agent, "out") > before).then_some(()));
    // It hangs to the end.
    let ledger = running.stop().code(0).ledger();
    assert_eq!(ledger.sinks["out"].left, ledger.polled);
    fs::remove_file(&flag).unwrap();
    assert!(!ndjson(&fs::read_to_string(&recording).unwrap()).is_empty());
}
