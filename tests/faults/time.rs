//! Faults in time: an agent that is down or suspended, and clock steps. Missing samples are
//! reported as gaps.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Agent, PATIENCE, Running, eventually, ndjson, number, text};

fn gaps(agent: &Agent) -> Vec<Value> {
    let ended = agent.execute(&["gaps", "--json"]).code(0);
    serde_json::from_str::<Value>(&ended.stdout).unwrap().as_array().unwrap().clone()
}

/// Three domains; samples and gaps go to one file, rates to another.
fn agent(name: &str) -> Agent {
    let agent = Agent::new(name);
    let (raw, rates) = (agent.folder.at("raw"), agent.folder.at("rates"));
    let rate = "{name: rate_of_change, parameters: {target: {name: cpu_util, unit: '%', type: gauge, scale: '100.0 / (10**9 * (resource_metadata.cpu_number or 1))'}}}";
    agent.pipeline(&format!(
        "sources: [{{name: s, interval: 1, meters: [cpu, nephometer.gap], sinks: [raw, rates]}}]\n\
         sinks:\n\
         - {{name: raw, publishers: ['file://{}?json']}}\n\
         - {{name: rates, transformers: [{rate}], publishers: ['file://{}?json']}}\n",
        raw.display(),
        rates.display()
    ))
}

/// The samples of a meter, once by id: after a kill, those that were sent last may be sent again, as
/// they were.
fn samples(agent: &Agent, file: &str, meter: &str) -> Vec<Value> {
    let all = ndjson(&fs::read_to_string(agent.folder.at(file)).unwrap());
    let mut known = HashMap::new();
    let mut first = Vec::new();
    for sample in all.into_iter().filter(|sample| text(sample, "name") == meter) {
        match known.insert(text(&sample, "id").to_owned(), sample.clone()) {
            None => first.push(sample),
            Some(before) => assert_eq!(before, sample, "two samples with the same id"),
        }
    }
    first
}

/// Asserts that every rate is possible for a processor.
fn assert_plausible_rates(agent: &Agent, at_least: usize) {
    let rates = samples(agent, "rates", "cpu_util");
    assert!(rates.len() >= at_least, "{} rates", rates.len());
    for rate in &rates {
        assert!((0.0..=101.0).contains(&number(rate)), "{rate}");
    }
}

#[test]
fn agent_that_was_down_or_suspended_reports_gaps() {
    let agent = agent("faults-down");
    let mut running = agent.run();
    running.wait_for_cycles(2);
    running.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(4));
    running.signal(Signal::CONT);
    running.wait_for_cycles(2);
    let seen = gaps(&agent);
    let [skipped] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((text(skipped, "reason"), text(skipped, "resource")), ("skipped", "*"));
    assert!(skipped["seconds"].as_f64().unwrap() >= 3.0, "{skipped}");
    // Checked now: the simulation restarts with the next run, which resets its counters.
    assert_plausible_rates(&agent, 9);
    running.signal(Signal::KILL);
    running.ended(PATIENCE);
    std::thread::sleep(Duration::from_secs(4));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    running.stop().code(0);
    // The first gap is read from disk now.
    let seen = gaps(&agent);
    let [_, down] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((text(down, "reason"), text(down, "source")), ("agent_down", "s"));
    assert_eq!(down["meters"], serde_json::json!(["cpu", "nephometer.gap"]));
    assert!(down["seconds"].as_f64().unwrap() >= 3.0, "{down}");
    // Samples of the meter match.
    let reported = samples(&agent, "raw", "nephometer.gap");
    let reported: Vec<(&str, f64, &str)> = reported
        .iter()
        .map(|one| {
            let reason = one["resource_metadata"]["gap"]["reason"].as_str().unwrap();
            (text(one, "resource_id"), number(one), reason)
        })
        .collect();
    let of = |gap: &Value| gap["seconds"].as_f64().unwrap();
    assert_eq!(
        reported,
        [("compute-1", of(&seen[0]), "skipped"), ("compute-1", of(&seen[1]), "agent_down")]
    );
}

#[test]
fn clock_step_makes_no_implausible_rate() {
    let agent = agent("faults-clock");
    let jump = agent.folder.at("jump");
    fs::write(&jump, "+0").unwrap();
    let agent = agent.wall_clock(&jump);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let leap = |running: &mut Running, by: &str| {
        fs::write(&jump, by).unwrap();
        running.wait_for_cycles(3);
    };
    leap(&mut running, "+3h");
    leap(&mut running, "-2h");
    leap(&mut running, "+0");
    running.stop().code(0);
    // The clock did step: three hours forward, then five back.
    let times: Vec<i64> = samples(&agent, "raw", "cpu")
        .iter()
        .filter(|sample| {
            text(sample, "resource_id") == text(&samples(&agent, "raw", "cpu")[0], "resource_id")
        })
        .map(|sample| {
            let time = format!("{}Z", text(sample, "timestamp"));
            time.parse::<jiff::Timestamp>().unwrap().as_second()
        })
        .collect();
    let steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().any(|step| *step > 10_000), "{steps:?}");
    assert!(steps.iter().any(|step| *step < -17_000), "{steps:?}");
    assert_plausible_rates(&agent, 20);
    assert!(gaps(&agent.variable("LD_PRELOAD", "")).is_empty(), "nothing is missing");
}

#[test]
fn dropped_samples_are_gaps_by_resource_and_meter() {
    let agent = Agent::new("faults-dropped")
        .set("shutdown_grace", "1s")
        .everything_to(&["notifier://?topic=dropped&policy=queue&max_queue_length=1"]);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    eventually("a gap", PATIENCE, || (!gaps(&agent).is_empty()).then_some(()));
    let ended = running.stop().code(69);
    let ledger = ended.ledger();
    let dropped = gaps(&agent);
    assert!(ledger.publisher("notifier").dropped > 0);
    for gap in &dropped {
        assert_eq!(text(gap, "reason"), "dropped");
        assert!(text(gap, "source").starts_with("out/notifier://"), "{gap}");
        assert!(!gap["meters"].as_array().unwrap().is_empty());
    }
    let lost: u64 = dropped_samples(&ended.stderr).values().sum();
    assert!(lost >= 3 * 30, "{}", ended.stderr);
    let of_one = agent.execute(&["gaps", "--resource", text(&dropped[0], "resource")]).code(0);
    // Besides the header.
    assert!(of_one.stdout.lines().count() - 1 < dropped.len(), "{}", of_one.stdout);
}

/// Dropped samples by meter, from the ledger.
fn dropped_samples(ledger: &str) -> BTreeMap<String, u64> {
    let line = regex::Regex::new(r"(?m)^      \w+: (\d+) samples of (\S+)$").unwrap();
    let found = line.captures_iter(ledger);
    found.map(|one| (one[2].to_owned(), one[1].parse().unwrap())).collect()
}

#[test]
fn meters_in_keep_longest_are_dropped_last() {
    let agent = Agent::new("faults-longest")
        .libvirt("sim://?domains=20&seed=1")
        .set("shutdown_grace", "1s")
        .set("store.bytes", "1500KiB")
        .set("store.keep_longest", serde_json::json!(["cpu", "network.*.bytes"]))
        .everything_to(&["notifier://?topic=longest"]);
    let mut running = agent.run();
    let first = eventually("something dropped", PATIENCE, || {
        let status = agent.execute(&["status"]).stdout;
        Some(dropped_samples(&status)).filter(|dropped| dropped.contains_key("memory.resident"))
    });
    let kept =
        |meter: &str| meter == "cpu" || meter.starts_with("network.") && meter.ends_with(".bytes");
    assert!(!first.keys().any(|meter| kept(meter)), "{first:?}");
    running.wait_for_cycles(1);
    let ended = running.stop().code(69);
    let publisher = ended.ledger().publisher("notifier").clone();
    assert!(publisher.reasons.contains_key("spool_full"), "{publisher:?}");
    let held: u64 =
        serde_json::from_str::<Value>(&agent.execute(&["spool", "ls", "--json"]).code(0).stdout)
            .unwrap()[0]["bytes"]
            .as_u64()
            .unwrap();
    assert!(held <= 1_500 << 10, "{held} bytes");
}
