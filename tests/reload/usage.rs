//! `usage` in a running agent whose clock leaps from hour to hour, replaced in the middle of a window.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::{agent, bytes, install, logged, samples, status, variant};
use crate::harness::{Agent, Running, number, text};

const USAGE: &str =
    "[{name: usage, parameters: {meters: [cpu], window: hour, grace: 60, gap: 900, gaps: hold}}]";

/// Sets how many seconds the clock of the agent is ahead, and waits for samples of that time.
fn leap(agent: &Agent, running: &mut Running, seconds: i64) {
    fs::write(agent.folder.at("jump"), format!("+{seconds}")).unwrap();
    running.wait_for_cycles(3);
}

fn instant(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_window_goes_on_in_a_replaced_component_and_is_exact() {
    let agent = agent("usage", USAGE);
    install(&agent, "usage", &bytes("usage"));
    // Ten minutes past an hour, so that the first window has room for a leap.
    let ahead = 4_200 - jiff::Timestamp::now().as_second() % 3_600;
    let jump = agent.folder.write("jump", format!("+{ahead}"));
    let agent = agent.wall_clock(&jump);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    install(&agent, "usage", &variant(&bytes("usage"), 1));
    logged(&running, "transformers replaced", 2);
    running.wait_for_cycles(2);
    for minutes in [30, 60, 120] {
        leap(&agent, &mut running, ahead + 60 * minutes);
    }
    let agent = agent.variable("LD_PRELOAD", "");
    assert_eq!(status(&agent, "out")["reloads"], 2);
    running.stop().code(0);

    let mut counters: BTreeMap<String, Vec<(jiff::Timestamp, f64)>> = BTreeMap::new();
    for sample in samples(&agent, "raw") {
        let time = instant(&format!("{}Z", text(&sample, "timestamp")));
        let counter = counters.entry(text(&sample, "resource_id").to_owned()).or_default();
        counter.push((time, number(&sample)));
    }
    let windows = samples(&agent, "out");
    assert_eq!(windows.len(), 2 * counters.len(), "two hours have ended for each guest");
    let mut total = 0.0;
    for sample in &windows {
        assert_eq!((text(sample, "name"), text(sample, "type")), ("cpu.usage", "delta"));
        let window = &sample["resource_metadata"]["window"];
        let counter = &counters[text(sample, "resource_id")];
        // All hours end in gaps, in which nothing counts before they end.
        let at = |time: &Value| {
            let time = instant(time.as_str().unwrap());
            let before = counter.iter().take_while(|(taken, _)| *taken <= time);
            before.last().unwrap_or(&counter[0]).1
        };
        let grown = at(&window["end"]) - at(&window["start"]);
        assert_eq!(number(sample), grown, "{sample}");
        total += grown;
        assert!(window["gap_seconds"].as_f64() > Some(900.0), "{sample}");
        assert_eq!(sample["resource_metadata"]["window"]["resets"], 0);
        let inside = |(taken, _): &&(jiff::Timestamp, f64)| {
            instant(text(window, "start")) <= *taken && *taken < instant(text(window, "end"))
        };
        assert_eq!(window["samples"], counter.iter().filter(inside).count());
    }
    // Some guests are paused.
    assert!(total > 0.0);
}
