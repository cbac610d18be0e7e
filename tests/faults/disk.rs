//! A disk that hangs: whoever does not need it goes on.

use std::fs;

use serde_json::{Value, json};

use super::agent::disk;
use crate::harness::{Agent, PATIENCE, Running, eventually, ndjson};

fn samples(agent: &Agent, file: &str) -> usize {
    ndjson(&fs::read_to_string(agent.folder.at(file)).unwrap_or_default()).len()
}

fn logged(running: &Running, message: &str) -> Vec<Value> {
    eventually(message, PATIENCE, || {
        Some(running.logged(message)).filter(|lines| !lines.is_empty())
    })
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
    running.wait_for_ticks(6);
    eventually("samples of the sink that needs no such file", PATIENCE, || {
        (samples(&agent, "good") > before + 6).then_some(())
    });
    agent.does(&["status"]).code(0).says("sink good");
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
    running.wait_for_ticks(2);
    let ended = logged(&running, "the recording cannot be written and ends here");
    assert!(ended[0]["reason"].as_str().unwrap().contains("recording"), "{ended:?}");
    let before = samples(&agent, "out");
    running.wait_for_ticks(3);
    eventually("more samples", PATIENCE, || (samples(&agent, "out") > before).then_some(()));
    // It hangs to the end.
    let ledger = running.stop().code(0).ledger();
    assert_eq!(ledger.sinks["out"].left, ledger.polled);
    fs::remove_file(&flag).unwrap();
    let from = recording.to_str().unwrap();
    assert!(ndjson(&fs::read_to_string(from).unwrap()).len() >= 1);
}
