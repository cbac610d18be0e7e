//! Hostile components, configurations, files and peers. Each component is a valid transformer with one
//! minimal change. It must be refused or ended with a helpful reason, while another sink continues and
//! the agent's memory stays bounded.

mod answers;
mod broker;
mod checked;
mod compiler;
mod compiling;
mod config;
mod deliveries;
mod dictionary;
pub(crate) mod emissions;
mod files;
mod generator;
mod outbound;
mod parts;
mod peer;
mod publisher;
mod requests;
mod states;
mod traps;
mod working;

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Agent, Ended, PATIENCE, Resident, Running, component, eventually, ndjson};

/// KiB of resident memory that the agent may use beyond its idle use and the limits of its
/// components. Each of these components tries to use gigabytes.
const OVERHEAD: u64 = 64 << 10;

#[derive(Debug, Clone)]
struct Case {
    name: &'static str,
    file: Vec<u8>,
    /// Part of the reason that it is refused or ended with.
    reason: &'static str,
    /// Its memory limit, MiB.
    memory: u64,
}

fn case(name: &'static str, file: Vec<u8>, reason: &'static str) -> Case {
    Case { name, file, reason, memory: 2 }
}

impl Case {
    /// Sets the memory limit, MiB.
    fn with_memory(self, memory: u64) -> Self {
        Self { memory, ..self }
    }
}

/// KiB of resident memory that this command may use, without that of its components.
fn allowance(command: &str) -> u64 {
    static IDLE: OnceLock<(u64, u64)> = OnceLock::new();
    let (check, run) = IDLE.get_or_init(|| {
        let agent = agent("idle", &[]);
        let (ended, check) =
            measure_memory(agent.start(agent.command(&["check"]), None), Running::ended);
        ended.code(0);
        let (ended, run) = measure_memory(agent.run(), |mut running, patience| {
            running.wait_for_cycles(3);
            running.terminate();
            running.ended(patience)
        });
        ended.code(0);
        (check, run)
    });
    OVERHEAD + if command == "check" { *check } else { *run }
}

/// Asserts that the memory is within the allowance and the limits of the components.
fn assert_memory_within(resident: u64, command: &str, cases: &[Case]) {
    let max = allowance(command) + cases.iter().map(|case| case.memory << 10).sum::<u64>();
    assert!(resident <= max, "{command} used {resident} KiB, at most {max} KiB");
}

/// An agent with a sink per case, and one with an honest component.
fn agent(group: &str, cases: &[Case]) -> Agent {
    let mut agent = Agent::new(&format!("hostile-{group}")).set("shutdown_grace", "60s");
    let folder = agent.folder.at("hostile");
    fs::create_dir(&folder).unwrap();
    fs::copy(component("rate_of_change"), folder.join("rate_of_change.wasm")).unwrap();
    let mut sinks = String::new();
    let mut names = vec!["honest".to_owned()];
    for Case { name, file, memory, .. } in cases {
        fs::write(folder.join(format!("{name}.wasm")), file).unwrap();
        agent = agent.set(
            &format!("components.by_name.{name}"),
            json!({
                "on_error": "drop",
                "limits": { "cpu": "100ms", "wall": "5s", "memory": memory << 20 },
            }),
        );
        names.push(format!("to-{name}"));
        sinks += &format!(
            "- {{name: to-{name}, transformers: [{{name: {name}, parameters: {{}}}}], publishers: ['file://{}?json']}}\n",
            agent.folder.at(&format!("to-{name}")).display()
        );
    }
    let honest = agent.folder.at("honest");
    agent.set("components.path", json!([folder])).pipeline(&format!(
        "sources: [{{name: all, interval: 1, meters: ['cpu'], sinks: {names:?}}}]\n\
         sinks:\n\
         - name: honest\n\
         \x20 transformers: [{{name: rate_of_change, parameters: {{target: {{name: cpu_util}}}}}}]\n\
         \x20 publishers: ['file://{}?json']\n\
         {sinks}",
        honest.display()
    ))
}

/// Waits for the end of a running agent, and measures its peak resident memory in KiB.
fn measure_memory(running: Running, work: impl FnOnce(Running, Duration) -> Ended) -> (Ended, u64) {
    let resident = Resident::of(&running);
    (work(running, 3 * PATIENCE), resident.most())
}

/// Asserts that `check` reports every case with its reason, all at once.
fn assert_refused_by_check(group: &str, cases: &[Case]) {
    let agent = agent(group, cases);
    let running = agent.start(agent.command(&["check"]), None);
    let (ended, resident) = measure_memory(running, Running::ended);
    let ended = ended.code(78);
    for Case { name, reason, .. } in cases {
        let reported =
            ended.stdout.lines().any(|line| line.contains(name) && line.contains(reason));
        assert!(reported, "{name}: not {reason:?} in\n{}", ended.stdout);
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert_memory_within(resident, "check", cases);
}

/// Asserts that `run` ends every case with its reason, while the honest sink loses nothing.
fn assert_ended_by_run(group: &str, cases: &[Case]) -> Ended {
    let agent = agent(group, cases);
    let (ended, resident) = measure_memory(agent.run(), |running, patience| {
        wait_for_failures(&agent, running, cases).ended(patience)
    });
    let ended = ended.code(0);
    let ledger = ended.ledger();
    assert_eq!(ledger.transformer("rate_of_change").dropped, 0, "{ledger:?}");
    assert_eq!(ledger.sinks["honest"].pending, 0, "{ledger:?}");
    for Case { name, reason, .. } in cases {
        let reported = ended.logged("component failed").into_iter().any(|line| {
            line["component"] == *name && line["reason"].as_str().unwrap().contains(reason)
        });
        let lines = ended.stderr.lines().filter(|line| line.contains(name));
        let lines: String = lines.take(5).map(|line| format!("{line}\n")).collect();
        assert!(reported, "{name}: not {reason:?} in\n{lines}");
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert!(ended.stderr.len() < 4 << 20, "{} bytes of log", ended.stderr.len());
    assert_memory_within(resident, "run", cases);
    ended
}

/// Waits until every case has failed and the honest sink has continued, then terminates the agent.
fn wait_for_failures(agent: &Agent, mut running: Running, cases: &[Case]) -> Running {
    running.wait_for_cycles(2);
    eventually("a failure of each component", PATIENCE, || {
        let log = running.stderr();
        cases.iter().all(|case| has_failed(&log, case.name)).then_some(())
    });
    // The honest sink still processes new batches.
    let before = honest_samples(agent);
    running.wait_for_cycles(2);
    eventually("the honest sink's samples", PATIENCE, || {
        (honest_samples(agent) > before).then_some(())
    });
    running.terminate();
    running
}

fn has_failed(log: &str, name: &str) -> bool {
    log.lines().any(|line| line.contains("component failed") && line.contains(&format!("{name:?}")))
}

fn honest_samples(agent: &Agent) -> usize {
    ndjson(&fs::read_to_string(agent.folder.at("honest")).unwrap_or_default()).len()
}
