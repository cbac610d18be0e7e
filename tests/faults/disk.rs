//! A disk that fails or hangs: stored data is not overwritten, and sinks that do not need the disk
//! go on.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Agent, PATIENCE, Running, closed_port, component, eventually, ndjson, text};

fn samples(agent: &Agent, file: &str) -> usize {
    ndjson(&fs::read_to_string(agent.folder.at(file)).unwrap_or_default()).len()
}

/// Waits until a message is logged; returns its lines.
fn wait_for_log(running: &Running, message: &str) -> Vec<Value> {
    eventually(message, PATIENCE, || {
        Some(running.logged(message)).filter(|lines| !lines.is_empty())
    })
}

/// The ids of the envelopes in a spool, in order.
fn spooled(agent: &Agent, spool: &str) -> Vec<String> {
    let export = agent.execute(&["spool", "export", spool]).code(0);
    ndjson(&export.stdout).iter().map(|one| text(one, "id").to_owned()).collect()
}

/// Once, a reload while the store could not be opened gave a publisher an empty spool with numbers
/// from 1: new envelopes overwrote stored ones.
#[test]
fn publisher_added_while_the_disk_fails_keeps_its_spool() {
    let agent = Agent::new("faults-unread").set("shutdown_grace", "1s");
    let flag = agent.folder.at("readonly");
    let away = format!("notifier://guest:guest@127.0.0.1:{}/?topic=kept", closed_port());
    let file = format!("file://{}?json", agent.folder.at("out").display());
    let agent = agent
        .preload("disk", &[("FAULT_READONLY", flag.to_str().unwrap())])
        .everything_to(&[&away]);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    running.stop().code(69);
    let spools = agent.execute(&["spool", "ls", "--json"]).code(0);
    let spools: Value = serde_json::from_str(&spools.stdout).unwrap();
    let spool = text(&spools[0], "spool").to_owned();
    let before = spooled(&agent, &spool);
    assert!(before.len() >= 3, "{before:?}");

    let agent = agent.everything_to(&[&file]);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    fs::write(&flag, "").unwrap();
    wait_for_log(&running, "store write failed");
    let agent = agent.everything_to(&[&file, &away]);
    let rejected = agent.execute(&["reload"]);
    running.wait_for_cycles(2);
    fs::remove_file(&flag).unwrap();
    wait_for_log(&running, "store writable again");
    // The agent may have tried again by itself.
    agent.execute(&["reload"]).code(0);
    let added = |event: &Value| text(event, "changes").contains("topic=kept: added");
    eventually("the publisher", PATIENCE, || {
        running.logged("reload applied").iter().any(added).then_some(())
    });
    running.wait_for_cycles(2);
    running.stop().code(69);
    let after = spooled(&agent, &spool);
    assert_eq!(after[..before.len().min(after.len())], before, "what was held comes first");
    assert!(after.len() > before.len(), "the publisher spools new envelopes: {after:?}");
    rejected.code(78).reports("agent.redb");
}

/// Once, a sink that lagged behind while the disk failed dropped all batches that were only on
/// disk.
#[test]
fn lagging_sink_waits_while_the_disk_fails() {
    let agent = Agent::new("faults-lag").set("shutdown_grace", "1s");
    let flag = agent.folder.at("readonly");
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
        .preload("disk", &[("FAULT_READONLY", flag.to_str().unwrap())])
        .through("[{name: counting, parameters: {}}]", &[&out]);
    let mut running = agent.run();
    wait_for_log(&running, "component failed twice on a batch");
    running.wait_for_cycles(4);
    running.stop().code(69);

    // After a restart the batches of the journal are only on disk.
    let mut running = agent.run();
    wait_for_log(&running, "component failed twice on a batch");
    fs::write(&flag, "").unwrap();
    wait_for_log(&running, "store write failed");
    put("counting");
    eventually("a batch that is not read", PATIENCE, || {
        let dropped = running.logged("journal batch unreadable");
        let waits = running.logged("journal read failed, sink waiting");
        (!dropped.is_empty() || !waits.is_empty()).then_some(())
    });
    fs::remove_file(&flag).unwrap();
    wait_for_log(&running, "store writable again");
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

/// Once, two sinks that wrote failing inputs to a hung disk blocked both threads of the agent.
#[test]
fn hung_disk_blocks_only_sinks_that_write_to_it() {
    let agent = Agent::new("faults-hang")
        .set("shutdown_grace", "60s")
        .set("components.by_name.misbehaving", json!({"on_error": "drop"}));
    let flag = agent.folder.at("hangs");
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
        .preload("disk", &[("FAULT_HANG", flag.to_str().unwrap()), ("FAULT_HANG_AT", "/failures/")])
        .pipeline(&pipeline);
    fs::write(&flag, "").unwrap();
    let mut running = agent.run();
    let failures = agent.folder.at("store/failures");
    let fixtures = || fs::read_dir(&failures).map_or(0, |files| files.count());
    eventually("a fixture file", PATIENCE, || (fixtures() > 0).then_some(()));
    let before = samples(&agent, "good");
    running.wait_for_cycles(6);
    eventually("samples of the other sink", PATIENCE, || {
        (samples(&agent, "good") > before + 6).then_some(())
    });
    agent.execute(&["status"]).code(0).reports("sink good");
    let sizes =
        fs::read_dir(&failures).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    assert_eq!(sizes.sum::<u64>(), 0, "the disk did not hang");
    fs::remove_file(&flag).unwrap();
    running.stop().code(0);
}

/// Once, a recording on a hung disk stopped polling. A recording is only a copy.
#[test]
fn recording_on_a_hung_disk_ends_and_polling_goes_on() {
    let agent = Agent::new("faults-recording");
    let flag = agent.folder.at("hangs");
    let out = format!("file://{}?json", agent.folder.at("out").display());
    let agent = agent
        .preload("disk", &[("FAULT_HANG", flag.to_str().unwrap()), ("FAULT_HANG_AT", "/recording")])
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
    let ended = wait_for_log(&running, "recording stopped, write failed");
    assert!(ended[0]["reason"].as_str().unwrap().contains("recording"), "{ended:?}");
    let before = samples(&agent, "out");
    running.wait_for_cycles(3);
    eventually("more samples", PATIENCE, || (samples(&agent, "out") > before).then_some(()));
    // The disk hangs until after the agent has ended.
    let ledger = running.stop().code(0).ledger();
    assert_eq!(ledger.sinks["out"].left, ledger.polled);
    fs::remove_file(&flag).unwrap();
    assert!(!ndjson(&fs::read_to_string(&recording).unwrap()).is_empty());
}
