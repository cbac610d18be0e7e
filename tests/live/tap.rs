//! `nephometer tap`: points, filters, limits, and a reader that does not read.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{RATE, agent};
use crate::harness::{Agent, Ledger, PATIENCE, Terminal, eventually, ndjson, text};

/// The lines of `tap --json` with these arguments; the last one is the end.
fn tap(agent: &Agent, arguments: &[&str]) -> Vec<Value> {
    let arguments = [&["tap", "--json"][..], arguments].concat();
    ndjson(&agent.execute(&arguments).code(0).stdout)
}

fn samples(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter(|line| line["sample"].is_object()).collect()
}

#[test]
fn samples_are_shown_at_each_point_and_filtered() {
    let agent = agent("tap-points");
    let mut running = agent.run();
    running.wait_for_cycles(2);
    for (arguments, at, sink, meter) in [
        (&["--source", "--meter", "cpu"][..], "source", None, "cpu"),
        (&["--before", "--sink", "rates"], "before", Some("rates"), "cpu"),
        (&["--after", "rate_of_change"], "after", Some("rates"), "cpu_util"),
        (&["--after", "0"], "after", Some("rates"), "cpu_util"),
        (&["--sink", "rates"], "after", Some("rates"), "cpu_util"),
        (&["--sink", "raw", "--meter", "memory*"], "before", Some("raw"), "memory"),
    ] {
        let lines = tap(&agent, &[&["--count", "3"][..], arguments].concat());
        let shown = samples(&lines);
        assert_eq!(shown.len(), 3, "{arguments:?}: {lines:#?}");
        for one in shown {
            assert_eq!((text(one, "at"), one["sink"].as_str()), (at, sink), "{arguments:?}");
            assert!(text(&one["sample"], "name").starts_with(meter), "{arguments:?}: {one}");
        }
        let end = lines.last().unwrap();
        assert_eq!((text(end, "end"), &end["shown"]), ("count", &3.into()), "{end}");
    }
    let one = tap(&agent, &["--count", "1"]);
    let instance = text(&one[0]["sample"]["resource_metadata"], "instance_id").to_owned();
    for resource in
        [&instance, &text(&one[0]["sample"]["resource_metadata"], "display_name").to_owned()]
    {
        let lines = tap(&agent, &["--sink", "raw", "--resource", resource, "--count", "20"]);
        for one in samples(&lines) {
            assert_eq!(text(&one["sample"]["resource_metadata"], "instance_id"), instance);
        }
    }
    for (arguments, reason) in [
        (&["--sink", "none"][..], "known sinks: raw, rates"),
        (&["--after", "none"], "known transformers: 0 rate_of_change"),
        (&["--seconds", "4000"], "tap_time"),
    ] {
        agent.execute(&[&["tap"][..], arguments].concat()).code(64).reports(reason);
    }
    assert!(running.stop().code(0).ledger().polled > 0);
}

#[test]
fn what_is_not_shown_is_counted_and_a_tap_ends_by_itself() {
    let agent = agent("tap-limits");
    let mut running = agent.run();
    running.wait_for_cycles(1);
    let lines = tap(&agent, &["--sink", "raw", "--rate", "2", "--seconds", "3"]);
    let not_shown: u64 = lines
        .iter()
        .filter(|line| line["reason"] == "rate")
        .map(|line| line["not_shown"].as_u64().unwrap())
        .sum();
    let end = lines.last().unwrap();
    assert_eq!((text(end, "end"), end["not_shown"].as_u64()), ("seconds", Some(not_shown)));
    assert!(not_shown > 100 && samples(&lines).len() <= 8, "{end}");

    let printed =
        agent.execute(&["tap", "--sink", "rates", "--rate", "1", "--seconds", "3"]).code(0);
    assert!(printed.stdout.starts_with("TIME "), "{}", printed.stdout);
    assert!(printed.stdout.contains("rates/0 rate_of_change"), "{}", printed.stdout);
    assert!(
        printed.stderr.contains("samples were not shown: more in a second"),
        "{}",
        printed.stderr
    );
    assert!(printed.stderr.contains("ok: "), "{}", printed.stderr);

    // The agent ends while a tap is open.
    let looking = agent.start(agent.command(&["tap", "--meter", "none"]), None);
    eventually("the header", PATIENCE, || {
        let shown = std::fs::read_to_string(agent.folder.at("stdout-3")).unwrap_or_default();
        (!shown.is_empty()).then_some(())
    });
    running.stop().code(0);
    looking.ended(PATIENCE).code(69).reports("the agent has ended");
}

#[test]
fn a_tap_that_is_not_read_slows_nothing_down() {
    // Many sinks with the same samples: each cycle is many batches.
    let names: Vec<String> = (0..30).map(|at| format!("k{at}")).collect();
    let sinks: Vec<String> = names
        .iter()
        .map(|name| {
            format!("- {{name: {name}, transformers: [{RATE}], publishers: ['test://']}}\n")
        })
        .collect();
    let agent = Agent::new("tap-unread").libvirt("sim://?domains=30&seed=1").pipeline(&format!(
        "sources: [{{name: all, interval: 1, meters: ['cpu'], sinks: [{}]}}]\nsinks:\n{}",
        names.join(", "),
        sinks.concat()
    ));
    let mut running = agent.run();
    running.wait_for_cycles(1);
    // Relative to the folder: the length of a socket path is limited.
    let socket = format!("/proc/{}/cwd/agent.sock", running.pid().as_raw_nonzero());
    let open = || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"{\"command\": \"tap\", \"rate\": 10000}\n").unwrap();
        stream
    };
    let mut unread: Vec<UnixStream> = (0..4).map(|_| open()).collect();
    running.wait_for_cycles(10);
    // One more is refused, other requests are served.
    let mut refused = String::new();
    BufReader::new(open()).read_line(&mut refused).unwrap();
    assert!(refused.contains("control_taps"), "{refused}");
    let status = agent.execute(&["status", "--json"]).code(0).stdout;
    let status: Value = serde_json::from_str(&status).unwrap();
    let ledger = Ledger::read(text(&status, "ledger_text"));
    assert!(ledger.sinks.values().all(|sink| sink.pending <= 60), "at most two cycles: {ledger:?}");

    // What it did not take is counted.
    let mut reader = BufReader::new(unread.pop().unwrap());
    let began = Instant::now();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["reason"] == "busy" {
            assert!(line["not_shown"].as_u64().unwrap() > 0, "{line}");
            break;
        }
        assert!(began.elapsed() < PATIENCE, "nothing was counted");
    }
    drop((reader, unread));
    eventually("the end of the taps", Duration::from_secs(10), || {
        let ended = agent.execute(&["tap", "--count", "1"]);
        ended.status.success().then_some(())
    });
    let ledger = running.stop().code(0).ledger();
    assert_eq!(ledger.sinks["k0"].pending, 0);
}

#[test]
fn on_a_terminal_a_tap_is_a_table_until_it_is_interrupted() {
    let agent = agent("tap-terminal");
    let mut running = agent.run();
    running.wait_for_cycles(1);
    let binary = env!("CARGO_BIN_EXE_nephometer");
    let command = format!(
        "trap : INT; cd '{}'; {binary} tap --socket agent.sock --meter cpu_util; echo ended with $?; sleep 300",
        agent.folder.path().display()
    );
    let terminal = Terminal::start(&agent, 160, 30, &command);
    eventually("rows", PATIENCE, || {
        let shown = terminal.shown();
        let rows = shown.lines().filter(|line| line.contains("cpu_util") && line.ends_with('%'));
        (shown.starts_with("TIME ") && rows.count() >= 3).then_some(())
    });
    terminal.tmux(&["send-keys", "C-c"]);
    eventually("the end", PATIENCE, || terminal.shown().contains("ended with").then_some(()));
    running.stop().code(0);
}
