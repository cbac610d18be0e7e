//! Malicious publishers that abuse their imports: sockets, lookups and output. Limits apply to each
//! of them, and the log names the limit; the sink beside it continues and the agent responds.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::publisher::publisher;
use crate::harness::{Agent, PATIENCE, Running, component, eventually, ndjson, root};

/// An agent with an honest sink and a sink whose publishers have these URLs, all for the component
/// `hostile`.
pub(super) fn agent(name: &str, file: &[u8], publishers: &[String]) -> Agent {
    let agent = Agent::new(&format!("hostile-outbound-{name}")).set("shutdown_grace", "20s");
    let folder = agent.folder.at("components");
    fs::create_dir(&folder).unwrap();
    fs::copy(component("rate_of_change"), folder.join("rate_of_change.wasm")).unwrap();
    fs::write(folder.join("hostile.wasm"), file).unwrap();
    let honest = agent.folder.at("honest");
    agent.set("components.path", json!([folder])).pipeline(&format!(
        "sources: [{{name: all, interval: 1, meters: ['cpu'], sinks: [honest, hostile]}}]\n\
         sinks:\n\
         - name: honest\n\
         \x20 transformers: [{{name: rate_of_change, parameters: {{target: {{name: cpu_util}}}}}}]\n\
         \x20 publishers: ['file://{}?json']\n\
         - {{name: hostile, publishers: {publishers:?}}}\n",
        honest.display()
    ))
}

fn honest(agent: &Agent) -> usize {
    ndjson(&fs::read_to_string(agent.folder.at("honest")).unwrap_or_default()).len()
}

/// Asserts that the honest sink receives samples during two more polling cycles.
pub(super) fn goes_on(agent: &Agent, running: &mut Running) {
    let before = honest(agent);
    running.wait_for_cycles(2);
    eventually("the honest sink's samples", PATIENCE, || (honest(agent) > before).then_some(()));
}

/// The rows of `component status` for the hostile publishers; empty until they are created.
fn status(agent: &Agent) -> Vec<Value> {
    let mut status = Command::new(env!("CARGO_BIN_EXE_nephometer"));
    status.args(["component", "status", "--json", "--socket", "agent.sock"]);
    status.current_dir(agent.folder.path());
    let answer = agent.start(status, None).ended(PATIENCE);
    if answer.stderr.contains("no agent answers") {
        return Vec::new();
    }
    let rows: Vec<Value> = serde_json::from_str(&answer.code(0).stdout).unwrap();
    rows.into_iter().filter(|row| row["component"] == "hostile").collect()
}

/// Waits until the row of a hostile publisher matches.
fn seen(agent: &Agent, what: &str, like: impl Fn(&Value) -> bool) -> Value {
    eventually(what, PATIENCE, || status(agent).into_iter().find(&like))
}

/// Waits for a failed call whose reason contains this text.
pub(super) fn failed(agent: &Agent, reason: &str) {
    seen(agent, reason, |row| {
        row["last_failure"].as_str().is_some_and(|last| last.contains(reason))
    });
}

/// The limits that were logged as reached, sorted.
pub(super) fn bounds(running: &Running) -> Vec<String> {
    let lines = running.logged("outbound limit reached");
    let mut bounds: Vec<String> =
        lines.iter().map(|line| line["limit"].as_str().unwrap().to_owned()).collect();
    bounds.sort();
    bounds
}

/// Waits until this many envelopes have been published or attempted.
fn published(agent: &Agent, wanted: u64) {
    seen(agent, &format!("{wanted} envelopes"), |row| {
        // Three calls initialise an instance, and the last call may be in progress.
        row["calls"].as_u64().unwrap() > 3 + wanted
    });
}

const SOCKETS: &str = r#"
    (import "wasi:sockets/udp-create-socket@0.2.12" "create-udp-socket" (func $udp (param i32 i32)))
    (import "wasi:sockets/tcp-create-socket@0.2.12" "create-tcp-socket" (func $tcp (param i32 i32)))
    (import "wasi:sockets/udp@0.2.12" "[resource-drop]udp-socket" (func $drop-udp (param i32)))
    (import "wasi:sockets/tcp@0.2.12" "[resource-drop]tcp-socket" (func $drop-tcp (param i32)))
"#;

/// `$make` opens socket `$i` and stores its handle, `$drop` drops it: a UDP socket if `$i` is even,
/// else TCP. `$refused` asserts that no further socket can be opened.
const SOCKET: &str = r#"
    (func $make (param $i i32)
      (if (i32.and (local.get $i) (i32.const 1))
        (then (call $tcp (i32.const 0) (i32.const 4096)))
        (else (call $udp (i32.const 0) (i32.const 4096))))
      (if (i32.load8_u (i32.const 4096)) (then unreachable))
      (i32.store offset=8192 (i32.shl (local.get $i) (i32.const 2)) (i32.load (i32.const 4100))))
    (func $drop (param $i i32) (local $handle i32)
      (local.set $handle (i32.load offset=8192 (i32.shl (local.get $i) (i32.const 2))))
      (if (i32.and (local.get $i) (i32.const 1))
        (then (call $drop-tcp (local.get $handle)))
        (else (call $drop-udp (local.get $handle)))))
    (func $refused
      (call $udp (i32.const 0) (i32.const 4096))
      ;; An error, and which: new-socket-limit.
      (if (i32.ne (i32.load8_u (i32.const 4096)) (i32.const 1)) (then unreachable))
      (if (i32.ne (i32.load8_u (i32.const 4100)) (i32.const 10)) (then unreachable)))
"#;

/// Regression: a publisher opened a thousand sockets, and the agent ran out of file descriptors.
#[test]
fn sockets_of_a_publisher_are_bounded_and_released() {
    // The first call of an instance opens and drops all available sockets twice, opens them again,
    // and keeps them. The second call gets none and traps, so that a new instance gets the same
    // envelope.
    let body = r"
        (if (i32.gt_u (global.get $calls) (i32.const 1)) (then (call $refused) unreachable))
        (loop $again
          (local.set $i (i32.const 0))
          (loop $more
            (call $make (local.get $i))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $i) (i32.const 16))))
          (call $refused)
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (if (i32.lt_u (local.get $n) (i32.const 3)) (then
            (local.set $i (i32.const 0))
            (loop $all
              (call $drop (local.get $i))
              (local.set $i (i32.add (local.get $i) (i32.const 1)))
              (br_if $all (i32.lt_u (local.get $i) (i32.const 16))))
            (br $again))))
    ";
    let file = publisher(SOCKETS, SOCKET, body);
    let agent = agent("sockets", &file, &["hostile://127.0.0.1:9".to_owned()]);
    let mut running = agent.run();
    goes_on(&agent, &mut running);
    let row = seen(&agent, "two instances", |row| row["restarts"].as_u64().unwrap() > 1);
    assert!(row["refused"].as_u64().unwrap() >= 3 + 1 + 3, "{row}");
    assert_eq!(bounds(&running), ["sockets"], "once for each bound");
    let ended = running.stop().code(0);
    let ledger = ended.ledger();
    let count = ledger.publisher("/hostile://");
    assert!(count.left > 1 && count.dropped == 0, "{count:?}\n{}", ended.stderr);
}

/// Opens all available sockets and asks for more.
const GREEDY: &str = r"
        (loop $more
          (call $udp (i32.const 0) (i32.const 4096))
          (call $tcp (i32.const 0) (i32.const 4096))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $more (i32.lt_u (local.get $i) (i32.const 300))))
";

#[test]
fn publishers_cannot_exhaust_file_descriptors() {
    let file = publisher(SOCKETS, "", GREEDY);
    let urls: Vec<String> = (1..=12).map(|port| format!("hostile://127.0.0.1:{port}")).collect();
    let agent = agent("descriptors", &file, &urls);
    let arguments = ["run", "--log-format", "json", "--log", "info,nephometer=debug"];
    let script = "ulimit -n 256; exec \"$@\"";
    let mut running = agent.start(agent.within(&["env"], script, &arguments), None);
    // Half of the descriptors are reserved for the agent: twelve publishers that may have sixteen
    // sockets each share 128.
    eventually("a refusal for each", PATIENCE, || {
        let refused = |row: &Value| row["refused"].as_u64().unwrap() > 0;
        let rows = status(&agent);
        (rows.len() == 12 && rows.iter().all(refused)).then_some(())
    });
    let bounds = bounds(&running);
    let total = bounds.iter().filter(|bound| *bound == "components.totals.sockets").count();
    let own = bounds.iter().filter(|bound| *bound == "sockets").count();
    assert!(total >= 4 && total + own == bounds.len(), "{bounds:?}");
    goes_on(&agent, &mut running);
    let pid = running.pid().as_raw_nonzero();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert!((128..200).contains(&open), "{open} files are open");
    agent.execute(&["status"]).code(0);
    let lowered =
        running.logged("components.totals.sockets lowered, raise the limit on open files");
    assert_eq!(lowered.len(), 1);
    assert_eq!(
        (&lowered[0]["effective"], &lowered[0]["file_descriptors"]),
        (&json!(128), &json!(256))
    );
    let ended = running.stop().code(0);
    assert_eq!(ended.logged("file watching unavailable, scanning every 10 s").len(), 0);
    assert_eq!(ended.ledger().sinks["honest"].pending, 0);
}

#[test]
fn sockets_of_all_publishers_are_bounded_by_the_configuration() {
    let urls = ["hostile://127.0.0.1:1".to_owned(), "hostile://127.0.0.1:2".to_owned()];
    let agent = agent("totals", &publisher(SOCKETS, "", GREEDY), &urls)
        .set("components.totals.sockets", 20);
    let mut running = agent.run();
    eventually("a refusal by the total", PATIENCE, || {
        let lines = running.logged("outbound limit reached");
        let total = |line: &&Value| line["limit"] == "components.totals.sockets";
        lines.iter().find(total).map(|line| assert_eq!(line["max"], 20))
    });
    goes_on(&agent, &mut running);
    running.stop().code(0);
}

/// Regression: a publisher that opened its output again for each line wrote 69 MB of log in 8 s.
#[test]
fn a_publisher_cannot_fill_the_log() {
    let imports = r#"
        (import "wasi:cli/stdout@0.2.12" "get-stdout" (func $stdout (result i32)))
        (import "wasi:cli/stderr@0.2.12" "get-stderr" (func $stderr (result i32)))
        (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-write-and-flush"
          (func $write (param i32 i32 i32 i32)))
        (import "wasi:io/streams@0.2.12" "[resource-drop]output-stream" (func $drop (param i32)))
        (import "nephometer:metering/log@0.2.0" "write" (func $log (param i32 i32 i32)))
    "#;
    let body = r"
        (memory.fill (i32.const 8192) (i32.const 10) (i32.const 4096))
        (loop $more
          (local.set $one
            (if (result i32) (i32.and (local.get $i) (i32.const 1))
              (then (call $stdout)) (else (call $stderr))))
          (call $write (local.get $one) (i32.const 8192) (i32.const 4096) (i32.const 4096))
          (call $drop (local.get $one))
          (call $log (i32.const 3) (i32.const 2048) (i32.const 7))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $more (i32.lt_u (local.get $i) (i32.const 100))))
        ;; The next instance has no more lines than this one.
        (if (i32.gt_u (global.get $calls) (i32.const 1)) (then unreachable))
    ";
    let file = publisher(imports, "", body);
    let agent = agent("lines", &file, &["hostile://127.0.0.1:9".to_owned()]);
    let mut running = agent.run();
    goes_on(&agent, &mut running);
    seen(&agent, "a million lines", |row| row["lines_dropped"].as_u64().unwrap() > 1_000_000);
    let ended = running.stop();
    let dropped = ended.logged("component log lines dropped");
    assert!(dropped.iter().all(|line| line["component"] == "hostile" && line["max_lines"] == 100));
    // A window is reported when it is over, the last one when the instance is removed.
    let written = ended.stderr.lines().filter(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        line["component"] == "hostile"
            && ["", "hostile"].iter().any(|text| line["message"] == *text)
    });
    let (written, windows) = (written.count(), dropped.len() + 1);
    assert!((100..=100 * windows).contains(&written), "{written} lines in {windows} windows");
    assert!(ended.stderr.len() < 1 << 20, "{} bytes of log", ended.stderr.len());
}

/// An agent in its own network namespace, with a DNS server that never answers.
fn run_without_answers(agent: &Agent) -> Running {
    let bind = |name: &str, text: &str| {
        let file = agent.folder.write(name, text);
        format!("[ ! -e /etc/{name} ] || mount --bind '{}' /etc/{name}; ", file.display())
    };
    let script = format!(
        "{}{}exec python3 '{}' \"$@\"",
        bind("resolv.conf", "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n"),
        bind("nsswitch.conf", "hosts: files dns\n"),
        Path::new(root()).join("tests/hostile/silent.py").display()
    );
    let all = ["unshare", "--mount", "--net", "--propagation", "private", "--map-root-user"];
    let root = rustix::process::geteuid().is_root();
    let wrapper = if root { &all[..all.len() - 1] } else { &all[..] };
    let arguments = ["run", "--log-format", "json", "--log", "debug"];
    agent.start(agent.within(wrapper, &script, &arguments), None)
}

const LOOKUPS: &str = r#"
    (import "wasi:sockets/instance-network@0.2.12" "instance-network" (func $network (result i32)))
    (import "wasi:sockets/ip-name-lookup@0.2.12" "resolve-addresses"
      (func $resolve (param i32 i32 i32 i32)))
    (import "wasi:sockets/ip-name-lookup@0.2.12" "[method]resolve-address-stream.resolve-next-address"
      (func $next (param i32 i32)))
    (import "wasi:sockets/ip-name-lookup@0.2.12" "[method]resolve-address-stream.subscribe"
      (func $subscribe (param i32) (result i32)))
    (import "wasi:sockets/ip-name-lookup@0.2.12" "[resource-drop]resolve-address-stream"
      (func $drop (param i32)))
    (import "wasi:io/poll@0.2.12" "[method]pollable.block" (func $block (param i32)))
"#;

const NAME: &str = r#"(data (i32.const 3072) "silent.example")"#;

/// Regression: 900 lookups of a name whose server is silent delayed every reload by 100 s and more.
#[test]
fn unanswered_lookups_delay_no_other_publisher() {
    // The first call starts as many lookups as allowed and keeps them; then it drops them and asks
    // for more.
    let body = r"
        (local.set $one (call $network))
        (loop $more
          (call $resolve (local.get $one) (i32.const 3072) (i32.const 14) (i32.const 4096))
          (if (i32.load8_u (i32.const 4096))
            (then
              ;; temporary-resolver-failure
              (if (i32.ne (i32.load8_u (i32.const 4100)) (i32.const 19)) (then unreachable)))
            (else
              (i32.store offset=8192 (i32.shl (local.get $n) (i32.const 2)) (i32.load (i32.const 4100)))
              (local.set $n (i32.add (local.get $n) (i32.const 1)))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $more (i32.lt_u (local.get $i) (i32.const 900))))
        (if (i32.eq (global.get $calls) (i32.const 1))
          (then (if (i32.ne (local.get $n) (i32.const 4)) (then unreachable))))
        (if (local.get $n) (then
          (loop $all
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (call $drop (i32.load offset=8192 (i32.shl (local.get $n) (i32.const 2))))
            (br_if $all (local.get $n)))))
    ";
    let file = publisher(LOOKUPS, NAME, body);
    let agent = agent("lookups", &file, &["hostile://silent.example:80".to_owned()]);
    let mut running = run_without_answers(&agent);
    published(&agent, 2);
    assert_eq!(bounds(&running), ["lookups"]);
    // Dropped lookups keep their threads, so the number of threads stays within the limit.
    let pid = running.pid().as_raw_nonzero();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().filter_map(Result::ok);
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    let threads = names.filter(|name| name.trim() == "lookup").count();
    assert!((1..=4).contains(&threads), "{threads}");
    let replaced = |running: &Running| running.logged("transformers replaced").len();
    let before = replaced(&running);
    let mut other = fs::read(component("rate_of_change")).unwrap();
    other.extend(b"\0\x05\x04note");
    fs::write(agent.folder.at("new"), other).unwrap();
    fs::rename(agent.folder.at("new"), agent.folder.at("components/rate_of_change.wasm")).unwrap();
    eventually("the reload", PATIENCE, || (replaced(&running) > before).then_some(()));
    goes_on(&agent, &mut running);
    running.stop().code(0);
}

#[test]
fn lookups_time_out() {
    // The resolver would wait for 30 s, longer than a call may take.
    let body = r"
        (call $resolve (call $network) (i32.const 3072) (i32.const 14) (i32.const 4096))
        (if (i32.load8_u (i32.const 4096)) (then unreachable))
        (local.set $one (i32.load (i32.const 4100)))
        (call $block (call $subscribe (local.get $one)))
        (call $next (local.get $one) (i32.const 4096))
        (if (i32.ne (i32.load8_u (i32.const 4096)) (i32.const 1)) (then unreachable))
        (if (i32.ne (i32.load8_u (i32.const 4098)) (i32.const 19)) (then unreachable))
        ;; A name may have 255 bytes; one more is an invalid argument.
        (memory.fill (i32.const 8192) (i32.const 97) (i32.const 256))
        (local.set $i (i32.const 8192))
        (loop $dots
          (local.set $i (i32.add (local.get $i) (i32.const 50)))
          (i32.store8 (local.get $i) (i32.const 46))
          (br_if $dots (i32.lt_u (local.get $i) (i32.const 8400))))
        (call $resolve (call $network) (i32.const 8192) (i32.const 255) (i32.const 4096))
        (if (i32.ne (i32.load8_u (i32.const 4100)) (i32.const 1)) (then unreachable))
        (call $resolve (call $network) (i32.const 8192) (i32.const 256) (i32.const 4096))
        (if (i32.ne (i32.load8_u (i32.const 4100)) (i32.const 3)) (then unreachable))
    ";
    let file = publisher(LOOKUPS, NAME, body);
    let agent = agent("patience", &file, &["hostile://silent.example:80".to_owned()]);
    let mut running = run_without_answers(&agent);
    goes_on(&agent, &mut running);
    published(&agent, 2);
    assert_eq!(bounds(&running), ["host_name_bytes"]);
    // A name that is not granted is denied without a lookup.
    assert!(!running.logged("outbound connection denied").is_empty());
    // While the maximum number of abandoned lookups is pending, further lookups fail at once.
    let ended = running.stop();
    let ledger = ended.ledger();
    let count = ledger.publisher("/hostile://");
    assert!(count.left > 0, "{count:?}\n{}", ended.stderr);
}

/// Regression: the watcher logged ten lines a second while it could not watch.
#[test]
fn failed_file_watching_is_reported_once_and_retried() {
    let file = publisher("", "", "");
    let agent = agent("watching", &file, &["hostile://127.0.0.1:9".to_owned()]);
    // The agent runs in its own user namespace, where further watchers are forbidden at a chosen
    // time.
    let set = |from: &str, to: &str, most: u32| {
        format!(
            "until [ -e {from} ]; do sleep 0.05; done; \
             echo {most} > /proc/sys/user/max_inotify_instances; touch {to}; "
        )
    };
    let script =
        format!("({}{}) & exec \"$@\"", set("deny", "denied", 0), set("allow", "allowed", 100));
    let arguments = ["run", "--log-format", "json", "--log", "debug"];
    let wrapper = ["unshare", "--user", "--map-root-user"];
    let mut running = agent.start(agent.within(&wrapper, &script, &arguments), None);
    running.wait_for_cycles(1);
    let there = |name: &str| {
        eventually(name, PATIENCE, || agent.folder.at(name).exists().then_some(()));
    };
    agent.folder.write("deny", "");
    there("denied");
    let unavailable =
        |running: &Running| running.logged("file watching unavailable, scanning every 10 s").len();
    let touched = |number: usize| agent.folder.write("components/notes", number.to_string());
    let mut number = 0;
    eventually("the failure", PATIENCE, || {
        number += 1;
        touched(number);
        (unavailable(&running) > 0).then_some(())
    });
    // Regression: each change logged one more line.
    let cycles = running.cycles();
    while running.cycles() < cycles + 3 {
        number += 1;
        touched(number);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(unavailable(&running), 1);
    // Reloads still work without watching.
    let replaced = || running.logged("publisher component replaced").len();
    fs::write(agent.folder.at("new"), publisher("", "(func $other)", "")).unwrap();
    fs::rename(agent.folder.at("new"), agent.folder.at("components/hostile.wasm")).unwrap();
    eventually("the reload", PATIENCE, || (replaced() > 0).then_some(()));
    agent.folder.write("allow", "");
    there("allowed");
    eventually("watching again", PATIENCE, || {
        (!running.logged("file watching available again").is_empty()).then_some(())
    });
    assert_eq!(unavailable(&running), 1);
    goes_on(&agent, &mut running);
    running.stop().code(0);
}

/// A service starts with a soft limit of 1,024 open files.
#[test]
fn the_limit_on_open_files_is_raised() {
    let file = publisher("", "", "");
    let agent = agent("raised", &file, &["hostile://127.0.0.1:9".to_owned()]);
    let arguments = ["run", "--log-format", "json", "--log", "debug"];
    let script = "ulimit -S -n 300; exec \"$@\"";
    let mut running = agent.start(agent.within(&["env"], script, &arguments), None);
    running.wait_for_cycles(1);
    let raised = running.logged("limit on open files raised");
    assert_eq!(raised.len(), 1);
    let limits = fs::read_to_string(format!("/proc/{}/limits", running.pid().as_raw_nonzero()));
    let limits = limits.unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().next().unwrap(), raised[0]["to"].to_string());
    assert_eq!(raised[0]["from"], 300);
    running.stop().code(0);
}
