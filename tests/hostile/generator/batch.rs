//! One agent and a batch of cases: checks them, runs them, and reloads them while the agent runs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;

use serde_json::json;

use super::super::{allowance, honest_samples};
use super::SINKS;
use super::case::Case;
use crate::harness::{Agent, Ended, PATIENCE, Resident, Running, component};

/// The results of a batch.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    pub(super) refused: usize,
    pub(super) accepted: usize,
    /// Log lines about failures and reached limits of accepted cases.
    pub(super) failed: usize,
    /// Peak memory of an agent in KiB.
    pub(super) memory: u64,
}

impl Outcome {
    pub(super) fn add(&mut self, other: &Self) {
        self.refused += other.refused;
        self.accepted += other.accepted;
        self.failed += other.failed;
        self.memory = self.memory.max(other.memory);
    }
}

/// How the agent receives a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The cases that `check` accepts are present from the start.
    Start,
    /// All cases arrive while the agent runs.
    Reload,
}

/// The content of `pipeline.yaml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Sinks for the cases, but without the cases, and no samples for them.
    Empty,
    /// Sinks with the cases, but no samples for them.
    Idle,
    /// All sinks receive samples.
    Working,
}

/// Runs these cases with one agent; the error describes what went wrong.
pub(super) fn run(cases: &[Case]) -> Result<Outcome, String> {
    let way = if (cases[0].number / SINKS).is_multiple_of(2) { Way::Reload } else { Way::Start };
    let agent = agent(cases);
    let refused = check(&agent, cases)?;
    let accepted: Vec<&Case> = cases.iter().filter(|case| !refused.contains(&*case.name)).collect();
    let ended = match way {
        Way::Start => start(&agent, &accepted)?,
        Way::Reload => reload(&agent, cases, (&refused, &accepted))?,
    };
    let (ended, memory) = ended;
    after(&ended, &accepted)?;
    let failed = ["component failed", "component limit exceeded"];
    Ok(Outcome {
        refused: refused.len(),
        accepted: accepted.len(),
        failed: failed.iter().map(|message| ended.logged(message).len()).sum(),
        memory,
    })
}

/// An agent with the files of these cases.
fn agent(cases: &[Case]) -> Agent {
    let mut agent = Agent::new("generated").libvirt("sim://?domains=2&seed=1");
    let folder = agent.folder.at("components");
    fs::create_dir(&folder).unwrap();
    fs::copy(component("rate_of_change"), folder.join("rate_of_change.wasm")).unwrap();
    for Case { name, bytes, memory, .. } in cases {
        fs::write(folder.join(format!("{name}.wasm")), bytes).unwrap();
        agent = agent.set(
            &format!("components.by_name.{name}"),
            json!({
                "on_error": "drop",
                "limits": { "cpu": "100ms", "wall": "1s", "memory": memory },
            }),
        );
    }
    // Samples that a publisher never sends stay pending: do not wait for them at shutdown.
    let grace = if cases.iter().any(|case| case.publishes) { "2s" } else { "60s" };
    agent.set("components.path", json!([folder])).set("shutdown_grace", grace)
}

/// Replaces the pipeline atomically.
fn pipeline(agent: &Agent, phase: Phase, cases: &[&Case]) {
    let mut sinks = String::new();
    for Case { name, publishes, .. } in cases {
        let (transformer, publisher) = match (phase, publishes) {
            (Phase::Empty, _) => ("[]".to_owned(), "file:///dev/null".to_owned()),
            (_, true) => ("[]".to_owned(), format!("{name}://127.0.0.1:9/")),
            (_, false) => {
                (format!("[{{name: {name}, parameters: {{}}}}]"), "file:///dev/null".to_owned())
            }
        };
        sinks += &format!(
            "- {{name: to-{name}, transformers: {transformer}, publishers: ['{publisher}']}}\n"
        );
    }
    // With an interval of a year, the sinks of the cases receive nothing.
    let interval = if phase == Phase::Working { 1 } else { 31_536_000 };
    let names: Vec<String> = cases.iter().map(|case| format!("to-{}", case.name)).collect();
    let source = if cases.is_empty() {
        String::new()
    } else {
        format!("- {{name: hostile, interval: {interval}, meters: ['cpu'], sinks: {names:?}}}\n")
    };
    let text = format!(
        "sources:\n\
         - {{name: all, interval: 1, meters: ['cpu'], sinks: [honest]}}\n\
         {source}\
         sinks:\n\
         - name: honest\n\
         \x20 transformers: [{{name: rate_of_change, parameters: {{target: {{name: cpu_util}}}}}}]\n\
         \x20 publishers: ['file://{}?json']\n\
         {sinks}",
        agent.folder.at("honest").display()
    );
    let unfinished = agent.folder.write("pipeline.unfinished", text);
    fs::rename(unfinished, agent.folder.at("pipeline.yaml")).unwrap();
}

/// Returns the cases that `check` refuses.
fn check(agent: &Agent, cases: &[Case]) -> Result<BTreeSet<String>, String> {
    let all: Vec<&Case> = cases.iter().collect();
    pipeline(agent, Phase::Working, &all);
    let running = agent.start(agent.command(&["check"]), None);
    let (ended, _) = measure_memory(running, "check", &all, |_| Ok(()))?;
    let problems = ended.stdout.lines().filter(|line| !line.starts_with("warning:"));
    let refused = named(problems, cases);
    let code = if refused.is_empty() { 0 } else { 78 };
    if ended.status.code() != Some(code) {
        return Err(format!("check ended with {}, not {code}:\n{}", ended.status, ended.stdout));
    }
    Ok(refused)
}

/// The cases that these lines name.
fn named<'a>(lines: impl Iterator<Item = &'a str>, cases: &[Case]) -> BTreeSet<String> {
    let lines: Vec<&str> = lines.collect();
    let named = |case: &&Case| lines.iter().any(|line| line.contains(&case.name));
    cases.iter().filter(named).map(|case| case.name.clone()).collect()
}

/// Runs all accepted cases from the start.
fn start(agent: &Agent, accepted: &[&Case]) -> Result<(Ended, u64), String> {
    pipeline(agent, Phase::Working, accepted);
    measure_memory(agent.run(), "run", accepted, |running| work(agent, running))
}

/// Reloads all cases while the agent runs, and asserts that it refuses those that `check` refused.
fn reload(
    agent: &Agent,
    cases: &[Case],
    (refused, accepted): (&BTreeSet<String>, &[&Case]),
) -> Result<(Ended, u64), String> {
    let all: Vec<&Case> = cases.iter().collect();
    pipeline(agent, Phase::Empty, &all);
    measure_memory(agent.run(), "run", accepted, |running| {
        running.wait_for_cycles(1);
        pipeline(agent, Phase::Idle, &all);
        let asked = agent.start(agent.command(&["reload"]), None).ended(2 * PATIENCE);
        if !matches!(asked.status.code(), Some(0 | 78)) {
            return Err(format!("the reload ended with {}: {}", asked.status, asked.stderr));
        }
        let problems = asked.stdout.lines().filter(|line| line.starts_with("refused: "));
        let found = named(problems, cases);
        if found != *refused {
            return Err(format!(
                "check refuses {refused:?}, the agent refuses {found:?}:\n{}",
                asked.stdout
            ));
        }
        pipeline(agent, Phase::Working, &all);
        work(agent, running)
    })
}

/// Runs for some polling cycles and asserts that the honest sink receives samples.
fn work(agent: &Agent, running: &mut Running) -> Result<(), String> {
    running.wait_for_cycles(3);
    let before = honest_samples(agent);
    running.wait_for_cycles(2);
    crate::harness::eventually("the honest sink's samples", PATIENCE, || {
        (honest_samples(agent) > before).then_some(())
    });
    running.terminate();
    Ok(())
}

/// Waits until a process ends, and fails after a signal, a panic or excess memory. Returns the peak
/// memory in KiB.
fn measure_memory(
    mut running: Running,
    command: &str,
    cases: &[&Case],
    work: impl FnOnce(&mut Running) -> Result<(), String>,
) -> Result<(Ended, u64), String> {
    let resident = Resident::of(&running);
    let worked = work(&mut running);
    if worked.is_err() {
        running.terminate();
    }
    let ended = running.ended(3 * PATIENCE);
    let most = resident.most();
    let limits: u64 = cases.iter().map(|case| case.memory >> 10).sum();
    let allowed = allowance(command) + limits;
    if let Some(signal) = ended.status.signal() {
        return Err(format!("{command} was ended by signal {signal} with {most} KiB"));
    }
    // A panic inside a log line is the compiler child's, which is allowed.
    if let Some(line) = ended.stderr.lines().find(|line| line.starts_with("thread '")) {
        return Err(format!("{command}: {line}"));
    }
    if most > allowed {
        return Err(format!("{command} had {most} KiB, and may have {allowed}"));
    }
    worked.map(|()| (ended, most))
}

/// Asserts that the ledger adds up and that only the cases lost samples.
fn after(ended: &Ended, accepted: &[&Case]) -> Result<(), String> {
    let publishes = accepted.iter().any(|case| case.publishes);
    match ended.status.code() {
        Some(0) => {}
        Some(69) if publishes => {}
        code => return Err(format!("run ended with {code:?}:\n{}", ended.stdout)),
    }
    let ledger = ended.ledger();
    let well = ledger.sinks["honest"].pending == 0
        && ledger.transformer("rate_of_change").dropped == 0
        && ledger.publisher("honest").left == ledger.publisher("honest").entered;
    if !well {
        return Err(format!("the honest sink: {ledger:?}"));
    }
    for case in accepted {
        let sink = &ledger.sinks[&format!("to-{}", case.name)];
        if sink.entered == 0 || (sink.pending > 0 && !case.publishes) {
            return Err(format!("{} was not processed: {sink:?}", case.name));
        }
    }
    Ok(())
}
