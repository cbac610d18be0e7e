//! Many reloads in a row, and kills at every step of a reload: no sample is missing, duplicated or
//! different.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::{agent, bytes, install, samples, status, variant};
use crate::harness::{Agent, PATIENCE, Running, eventually, number, scaled, text};

/// An agent with two sinks of the same transformers and samples. The components of `calm` never
/// change.
fn storm_agent() -> Agent {
    let agent = agent("storm", "[]").libvirt("sim://?domains=100&seed=5");
    let transformers = |rate: &str, count: &str| {
        format!(
            "[{{name: {rate}, parameters: {{target: {{name: cpu_util, type: gauge}}}}}}, {{name: {count}, parameters: {{}}}}]"
        )
    };
    let (out, calm) = (agent.folder.at("out"), agent.folder.at("calm"));
    agent.folder.write(
        "pipeline.yaml",
        format!(
            "sources: [{{name: s, interval: 1, meters: [cpu], sinks: [out, calm]}}]\n\
             sinks:\n\
             - {{name: out, transformers: {}, publishers: ['file://{}?json']}}\n\
             - {{name: calm, transformers: {}, publishers: ['file://{}?json']}}\n",
            transformers("rate", "counting"),
            out.display(),
            transformers("rate_calm", "counting_calm"),
            calm.display()
        ),
    );
    for (name, component) in [
        ("rate", "rate_of_change"),
        ("rate_calm", "rate_of_change"),
        ("counting", "counting-v2"),
        ("counting_calm", "counting-v2"),
    ] {
        install(&agent, name, &bytes(component));
    }
    agent
}

/// Volumes by time, resource and meter: what a consumer sees without ids, which differ between
/// sinks.
fn consumed(samples: &[Value]) -> BTreeMap<[String; 3], f64> {
    let key =
        |one: &Value| ["timestamp", "resource_id", "name"].map(|field| text(one, field).to_owned());
    let consumed: BTreeMap<_, _> = samples.iter().map(|one| (key(one), number(one))).collect();
    assert_eq!(consumed.len(), samples.len(), "a sample was published twice");
    consumed
}

#[test]
fn many_reloads_in_a_row_do_not_change_the_output() {
    let agent = storm_agent();
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let (rate, count) = (bytes("rate_of_change"), bytes("counting-v2"));
    let swaps = scaled(60, 600);
    let takeovers = |running: &Running| running.logged("transformers replaced").len();
    let mut before = 0;
    for swap in 0..swaps {
        if swap % 10 == 0 {
            before = takeovers(&running);
        }
        match swap % 10 {
            0 => install(&agent, "counting", b"no wasm"),
            1 => install(&agent, "counting", &bytes("counting-bad")),
            2 => install(&agent, "counting", &bytes("counting-v3")),
            3 => install(&agent, "rate", &rate[..rate.len() / 3]),
            4 => fs::remove_file(agent.folder.at("components/counting.wasm")).unwrap(),
            5 if swap % 20 == 5 => {
                install(&agent, "counting", &variant(&bytes("counting-crash"), swap));
                running.wait_for_cycles(4);
            }
            6 | 7 => install(&agent, "rate", &variant(&rate, swap)),
            _ => install(&agent, "counting", &variant(&count, swap)),
        }
        std::thread::sleep(Duration::from_millis(120));
        if swap % 10 == 9 {
            // Ten changes end with two valid files: without time for them, a machine of another pace sees refusals only.
            eventually("a takeover", PATIENCE, || (takeovers(&running) > before).then_some(()));
        }
    }
    install(&agent, "counting", &variant(&count, swaps));
    install(&agent, "rate", &variant(&rate, swaps));
    running.wait_for_cycles(4);
    let took_over = takeovers(&running);
    let refused = running.logged("reload refused").len();
    let one = status(&agent, "out");
    let ended = running.stop().code(0);
    println!("{took_over} takeovers, {refused} rejected, {} rollbacks", one["rollbacks"]);
    assert!(took_over > swaps / 10 && refused > swaps / 10, "{took_over}, {refused}");
    assert_eq!(ended.ledger().sinks["out"].pending, 0);
    let (out, calm) = (consumed(&samples(&agent, "out")), consumed(&samples(&agent, "calm")));
    let different: Vec<_> =
        calm.iter().filter(|(key, value)| out.get(*key) != Some(*value)).collect();
    assert!(different.is_empty() && out.len() == calm.len(), "{different:?}");
}

/// Log messages, with the field `step`, at each step of a reload and of a save.
const STEPS: [(&str, Option<&str>); 9] = [
    ("reload step", Some("preparing")),
    ("component loaded", None),
    ("reload step", Some("configured")),
    ("reload step", Some("caught up")),
    ("reload step", Some("taken over")),
    ("transformers replaced", None),
    ("reload applied", None),
    ("state save started", None),
    ("state saved", None),
];

#[test]
fn a_kill_at_any_step_of_a_reload_or_a_save_does_not_change_the_output() {
    let rate = "{name: rate_of_change, parameters: {target: {name: cpu_util, type: gauge}}}";
    let agent = agent("kill", &format!("[{{name: counting, parameters: {{}}}}, {rate}]"));
    install(&agent, "rate_of_change", &bytes("rate_of_change"));
    install(&agent, "counting", &bytes("counting-v2"));
    let rounds = scaled(STEPS.len() + 2, 100);
    for round in 0..rounds {
        let mut running = agent.run();
        running.wait_for_cycles(1);
        let before = STEPS.get(round % (STEPS.len() + 1));
        let known = before.map_or(0, |step| steps(&running, step));
        install(&agent, "counting", &variant(&bytes("counting-v2"), round));
        match before {
            Some(step) => {
                eventually(&format!("{step:?}"), PATIENCE, || {
                    (steps(&running, step) > known).then_some(())
                });
            }
            // At any other time, such as between batches.
            None => std::thread::sleep(Duration::from_millis(137 * (round as u64 % 11))),
        }
        running.signal(Signal::KILL);
        running.ended(PATIENCE);
    }
    let mut running = agent.run();
    running.wait_for_cycles(12);
    running.stop().code(0);
    check_output(&agent);
}

fn steps(running: &Running, (message, step): &(&str, Option<&str>)) -> usize {
    let lines = running.logged(message);
    lines.iter().filter(|line| step.is_none_or(|step| line["step"] == step)).count()
}

/// Asserts that the output of both sinks, without repeated ids, is that of an agent that was never
/// killed.
fn check_output(agent: &Agent) {
    let distinct = |file: &str| -> Vec<Value> {
        let mut known = BTreeSet::new();
        let all = samples(agent, file);
        all.into_iter().filter(|one| known.insert(text(one, "id").to_owned())).collect()
    };
    let (raw, out) = (distinct("raw"), distinct("out"));
    let counted: Vec<f64> =
        out.iter().filter(|one| text(one, "resource_id") == "count").map(number).collect();
    // `rate_of_change` also computes rates of the counts: samples per second.
    assert!(!counted.is_empty());
    let mut series: HashMap<&str, Vec<(f64, f64)>> = HashMap::new();
    for one in &raw {
        let at = seconds(text(one, "timestamp"));
        series.entry(text(one, "resource_id")).or_default().push((at, number(one)));
    }
    let mut expected = BTreeMap::new();
    for (resource, mut points) in series {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in points.windows(2) {
            let growth = if pair[1].1 < pair[0].1 { pair[1].1 } else { pair[1].1 - pair[0].1 };
            let key = (resource.to_owned(), format!("{:.6}", pair[1].0));
            expected.insert(key, growth / (pair[1].0 - pair[0].0));
        }
    }
    let mut got = BTreeMap::new();
    for one in out.iter().filter(|one| text(one, "resource_id") != "count") {
        let key = (
            text(one, "resource_id").to_owned(),
            format!("{:.6}", seconds(text(one, "timestamp"))),
        );
        assert!(
            got.insert(key, number(one)).is_none(),
            "published twice with different ids: {one}"
        );
    }
    let missing: Vec<_> = expected.keys().filter(|key| !got.contains_key(*key)).collect();
    let extra: Vec<_> = got.keys().filter(|key| !expected.contains_key(*key)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:?}, extra {extra:?}");
    for (key, rate) in &expected {
        // The clocks of two processes agree to some microseconds.
        let wrong = (got[key] - rate).abs() > 1e-3 * rate.abs().max(1.0);
        assert!(!wrong, "{key:?}: {} instead of {rate}", got[key]);
    }
}

/// Converts an ISO 8601 time to seconds since the month before began.
fn seconds(time: &str) -> f64 {
    let (date, clock) = time.split_once('T').unwrap();
    let day: f64 = date.rsplit('-').next().unwrap().parse().unwrap();
    let parts: Vec<f64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
    ((day * 24.0 + parts[0]) * 60.0 + parts[1]) * 60.0 + parts[2]
}
