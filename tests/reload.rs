//! What is replaced while the agent runs: nothing is lost, doubled or forgotten, and what cannot be
//! replaced leaves what is at work as it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Agent, Ended, PATIENCE, Running, component, eventually, number, scaled, text,
};

/// One source, one sink with these transformers, everything to a file.
fn agent(name: &str, transformers: &str) -> Agent {
    let agent = Agent::new(&format!("reload-{name}")).set("shutdown_grace", "60s");
    fs::create_dir(agent.folder.at("components")).unwrap();
    let folder = agent.folder.at("components");
    let agent = agent.set("components.path", json!([folder]));
    pipeline(&agent, transformers);
    agent
}

fn pipeline(agent: &Agent, transformers: &str) {
    let (out, raw) = (agent.folder.at("out"), agent.folder.at("raw"));
    agent.folder.write(
        "pipeline.yaml",
        format!(
            "sources: [{{name: s, interval: 1, meters: [cpu], sinks: [out, raw]}}]\n\
             sinks:\n\
             - {{name: out, transformers: {transformers}, publishers: ['file://{}?json']}}\n\
             - {{name: raw, publishers: ['file://{}?json']}}\n",
            out.display(),
            raw.display()
        ),
    );
}

/// Puts bytes where a component is looked for, in one step.
fn put(agent: &Agent, name: &str, bytes: &[u8]) {
    let beside = agent.folder.write(&format!("components/.{name}.new"), bytes);
    fs::rename(beside, agent.folder.at(&format!("components/{name}.wasm"))).unwrap();
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(component(name)).unwrap()
}

/// The same component with other bytes: a custom section that nobody reads.
pub(crate) fn variant(bytes: &[u8], number: usize) -> Vec<u8> {
    let content = format!("\u{4}note{number:06}");
    let mut other = bytes.to_vec();
    other.extend([0, u8::try_from(content.len()).unwrap()]);
    other.extend(content.as_bytes());
    other
}

/// What is whole in a file of samples. A kill can tear the last line that was written.
fn samples(agent: &Agent, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(agent.folder.at(file)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn counts(agent: &Agent) -> Vec<f64> {
    let all = samples(agent, "out");
    all.iter().filter(|sample| text(sample, "name") == "count").map(number).collect()
}

/// Waits until so many lines of the log have this message, and gives them.
fn logged(running: &Running, message: &str, wanted: usize) -> Vec<Value> {
    eventually(&format!("{wanted} times {message:?}"), PATIENCE, || {
        let lines = running.logged(message);
        (lines.len() >= wanted).then_some(lines)
    })
}

/// Asks the running agent.
fn ask(agent: &Agent, arguments: &[&str]) -> Ended {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nephometer"));
    command.args(arguments).args(["--socket", "agent.sock"]).current_dir(agent.folder.path());
    agent.start(command, None).ended(PATIENCE)
}

fn status(agent: &Agent, sink: &str) -> Value {
    let ended = ask(agent, &["status", "--json"]).code(0);
    let status: Value = serde_json::from_str(&ended.stdout).unwrap();
    let sinks = status["sinks"].as_array().unwrap();
    sinks.iter().find(|one| one["sink"] == sink).unwrap().clone()
}

/// Nothing was lost, doubled or forgotten: after each tick the count is that of all rows so far.
fn check_counts(agent: &Agent) {
    let counts = counts(agent);
    let rows = samples(agent, "raw").len();
    assert!(counts.windows(2).all(|pair| pair[0] < pair[1]), "{counts:?}");
    assert_eq!(counts.last().map(|count| count.round().to_string()), Some(rows.to_string()));
    let out = samples(agent, "out").len() - counts.len();
    assert_eq!(out, rows, "every row passed once");
}

const COUNTING: &str = "[{name: counting, parameters: {}}]";

#[test]
fn a_component_is_replaced_however_its_file_is_and_keeps_its_state() {
    let agent = agent("ways", COUNTING);
    let file = agent.folder.at("components/counting.wasm");
    put(&agent, "counting", &bytes("counting"));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    logged(&running, "transformers replaced", 1);

    // In place.
    fs::write(&file, bytes("counting-v2")).unwrap();
    logged(&running, "transformers replaced", 2);
    running.wait_for_cycles(1);
    // By a rename, as package managers and `install` do.
    put(&agent, "counting", &variant(&bytes("counting-v2"), 1));
    logged(&running, "transformers replaced", 3);
    running.wait_for_cycles(1);
    // By another link.
    let elsewhere = agent.folder.write("elsewhere.wasm", variant(&bytes("counting-v2"), 2));
    let link = agent.folder.at("components/.link");
    symlink(&elsewhere, &link).unwrap();
    fs::rename(&link, &file).unwrap();
    logged(&running, "transformers replaced", 4);
    running.wait_for_cycles(1);
    // Where the link points to: nothing tells of that but looking.
    fs::write(&elsewhere, variant(&bytes("counting-v2"), 3)).unwrap();
    logged(&running, "transformers replaced", 5);
    running.wait_for_cycles(2);
    assert_eq!(status(&agent, "out")["reloads"], 5);
    running.stop().code(0);
    check_counts(&agent);
}

#[test]
fn what_cannot_take_over_leaves_the_old_one_at_work_and_says_why() {
    let agent = agent("refused", COUNTING);
    put(&agent, "counting", &bytes("counting"));
    let mut running = agent.run();
    // Until a state has been saved; before that a component that reads none has all that came.
    running.wait_for_cycles(12);
    let good = bytes("counting");
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("no component", b"no wasm".to_vec(), "no WebAssembly component"),
        ("half of one", good[..good.len() / 2].to_vec(), "cannot be compiled"),
        ("a trap in configure", bytes("counting-bad"), "this version traps in configure"),
        ("another state", bytes("counting-v3"), "on_state_mismatch: reset"),
        ("another world", bytes("statsd"), "it is a publisher"),
    ];
    for (nth, (what, bytes, reason)) in (1..).zip(&cases) {
        put(&agent, "counting", bytes);
        let lines = logged(&running, "reload refused", nth);
        let said = lines.last().unwrap()["reason"].as_str().unwrap().to_owned();
        assert!(said.contains(reason), "{what}: {said}");
        let told = ask(&agent, &["status"]).code(0);
        assert!(told.stdout.contains(reason), "{what}: {}", told.stdout);
    }
    running.wait_for_cycles(1);
    let one = status(&agent, "out");
    assert_eq!((&one["state"], &one["reloads"]), (&json!("running"), &json!(1)), "{one}");
    // Asked for, it is tried again, and refused again with an exit code.
    ask(&agent, &["reload"]).code(78).reports("refused: ");
    put(&agent, "counting", &bytes("counting-v2"));
    logged(&running, "transformers replaced", 2);
    running.wait_for_cycles(2);
    running.stop().code(0);
    check_counts(&agent);
}

#[test]
fn a_component_without_a_state_that_it_reads_starts_fresh_only_when_told_so() {
    let agent =
        agent("reset", COUNTING).set("components.by_name.counting.on_state_mismatch", "reset");
    put(&agent, "counting", &bytes("counting"));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    // Once a state has been saved there is one that cannot be read.
    running.wait_for_cycles(11);
    put(&agent, "counting", &bytes("counting-v3"));
    logged(&running, "transformer state reset", 1);
    logged(&running, "transformers replaced", 2);
    running.wait_for_cycles(2);
    running.stop().code(0);
    let counts = counts(&agent);
    assert!(counts.windows(2).any(|pair| pair[0] > pair[1]), "it began anew: {counts:?}");
}

#[test]
fn a_new_component_that_traps_gives_way_to_the_old_one() {
    let agent = agent("rollback", COUNTING);
    put(&agent, "counting", &bytes("counting"));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    put(&agent, "counting", &bytes("counting-crash"));
    logged(&running, "transformers replaced", 2);
    let back = logged(&running, "transformers rolled back", 1);
    assert!(back[0]["reason"].as_str().unwrap().contains("this version traps at this batch"));
    running.wait_for_cycles(3);
    let one = status(&agent, "out");
    assert_eq!((&one["state"], &one["rollbacks"]), (&json!("running"), &json!(1)), "{one}");
    // The bad one is not tried again by itself, another one is.
    assert_eq!(running.logged("transformers replaced").len(), 2);
    put(&agent, "counting", &bytes("counting-v2"));
    logged(&running, "transformers replaced", 3);
    running.wait_for_cycles(2);
    running.stop().code(0);
    check_counts(&agent);
}

#[test]
fn a_held_sink_is_repaired_by_a_new_component() {
    let agent = agent("repair", COUNTING);
    // At work from the beginning, so that there is none to go back to.
    put(&agent, "counting", &bytes("counting-crash"));
    let mut running = agent.run();
    logged(&running, "component failed twice on a batch", 1);
    assert_eq!(status(&agent, "out")["state"], "failing");
    put(&agent, "counting", &bytes("counting"));
    logged(&running, "transformers replaced", 2);
    running.wait_for_cycles(2);
    running.stop().code(0);
    check_counts(&agent);
}

#[test]
fn options_publishers_and_sources_are_planned_and_taken_up() {
    let rate = |name: &str| {
        format!(
            "[{{name: rate_of_change, parameters: {{target: {{name: {name}}}}}}}, {{name: counting, parameters: {{}}}}]"
        )
    };
    let agent = agent("options", &rate("one"));
    put(&agent, "counting", &bytes("counting"));
    put(&agent, "rate_of_change", &bytes("rate_of_change"));
    let mut running = agent.run();
    running.wait_for_cycles(3);
    let took_over = running.logged("transformers replaced").len();

    // Wrong options leave the old ones at work.
    pipeline(&agent, "[{name: rate_of_change, parameters: {target: 5}}]");
    let refused = logged(&running, "reload refused", 1);
    assert!(refused[0]["reason"].as_str().unwrap().contains("/target"));
    agent.folder.write("pipeline.yaml", "sources: [");
    logged(&running, "reload refused", 2);

    pipeline(&agent, &rate("two"));
    let text_of = fs::read_to_string(agent.folder.at("pipeline.yaml")).unwrap();
    let as_long = |text: &str| format!("{text:<4000}\n");
    agent.folder.write("pipeline.yaml", as_long(&text_of));
    logged(&running, "transformers replaced", took_over + 1);
    running.wait_for_cycles(2);
    let more = format!("'file://{}?json'", agent.folder.at("more").display());
    let changed = text_of
        .replace("interval: 1", "interval: 2")
        .replace("name: two", "name: three")
        .replace("publishers: ['file", &format!("publishers: [{more}, 'file"));
    unseen(&agent, "pipeline.yaml", as_long(&changed).as_bytes());
    let plan = ask(&agent, &["reload", "--plan"]).code(0);
    for line in ["source ", "rate_of_change", "more?json: added"] {
        assert!(plan.stdout.contains(line), "{line}: {}", plan.stdout);
    }
    running.wait_for_cycles(1);
    assert_eq!(running.logged("transformers replaced").len(), took_over + 1);
    assert!(!agent.folder.at("more").exists(), "a plan has opened a publisher");
    ask(&agent, &["reload"]).code(0).reports("more?json: added");
    logged(&running, "transformers replaced", took_over + 2);
    running.wait_for_cycles(2);
    ask(&agent, &["reload"]).code(0).reports("nothing has changed");
    running.stop().code(0);

    let names: BTreeSet<String> =
        samples(&agent, "out").iter().map(|one| text(one, "name").to_owned()).collect();
    assert_eq!(names, BTreeSet::from(["count", "one", "three", "two"].map(str::to_owned)));
    assert!(!samples(&agent, "more").is_empty());
    // The state was kept throughout: one first sample without a rate per domain, and no more.
    let (raw, out) = (samples(&agent, "raw"), samples(&agent, "out"));
    let rates = out.iter().filter(|one| text(one, "name") != "count").count();
    let domains = raw.iter().map(|one| text(one, "resource_id")).collect::<BTreeSet<_>>().len();
    assert_eq!(unique(&raw) - domains, rates);
}

/// Writes a file in a way that the agent does not notice: it is as long and as old as before. Anything else
/// can be noticed at any time, because the agent looks at its files whenever something near them changes.
fn unseen(agent: &Agent, name: &str, bytes: &[u8]) {
    let path = agent.folder.at(name);
    let found = fs::metadata(&path).unwrap();
    assert_eq!(found.len(), bytes.len() as u64, "{name} would be seen");
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
    file.set_modified(found.modified().unwrap()).unwrap();
}

/// The same component with so many bytes: a custom section that nobody reads.
fn padded(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    // An identifier, a length of five bytes, a name without letters.
    let content = u32::try_from(length - bytes.len() - 6).unwrap();
    bytes.push(0);
    for nth in 0..5 {
        let more = if nth < 4 { 0x80 } else { 0 };
        bytes.push(u8::try_from(content >> (7 * nth) & 0x7f).unwrap() | more);
    }
    bytes.resize(length, 0);
    bytes
}

fn unique(samples: &[Value]) -> usize {
    samples.iter().map(|one| text(one, "id")).collect::<BTreeSet<_>>().len()
}

#[test]
fn a_plan_says_what_would_happen_and_does_nothing() {
    let agent = agent("plan", COUNTING);
    let versions = ["counting", "counting-bad", "counting-v2"].map(bytes);
    let length = versions.iter().map(Vec::len).max().unwrap() + 7;
    let [good, bad, next] = versions.map(|version| padded(version, length));
    put(&agent, "counting", &good);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    logged(&running, "transformers replaced", 1);
    unseen(&agent, "components/counting.wasm", &bad);
    let trap = "this version traps in configure";
    ask(&agent, &["reload", "--plan"]).code(78).reports(trap);
    // A reload that was made would be in the log.
    assert!(running.logged("reload refused").is_empty());
    unseen(&agent, "components/counting.wasm", &next);
    ask(&agent, &["reload", "--plan"]).code(0).reports("counting");
    running.wait_for_cycles(2);
    assert_eq!(running.logged("transformers replaced").len(), 1);
    put(&agent, "counting", &good);
    running.wait_for_cycles(1);
    running.signal(Signal::HUP);
    running.wait_for_cycles(1);
    assert_eq!(running.logged("transformers replaced").len(), 1);
    running.stop().code(0);
    check_counts(&agent);
}

#[test]
fn set_aside_rows_are_listed_shown_and_replayed() {
    let with = |mode: &str| format!("[{{name: misbehaving, parameters: {{mode: {mode}}}}}]");
    let agent = agent("letters", &with("trap-transform"))
        .set("components.by_name.misbehaving.on_error", "drop");
    put(&agent, "misbehaving", &bytes("misbehaving"));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let letters = |arguments: &[&str]| {
        let mut all = vec!["dead-letters"];
        all.extend(arguments);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nephometer"));
        command.args(all).args(["--config", "nephometer.yaml"]).current_dir(agent.folder.path());
        agent.start(command, None).ended(PATIENCE)
    };
    let listed = eventually("a dead letter", PATIENCE, || {
        let listed = letters(&["ls"]).code(0).stdout;
        (!listed.is_empty()).then_some(listed)
    });
    assert!(listed.starts_with("1 20") && listed.contains("this mode traps"), "{listed}");
    let shown = letters(&["show", "1"]).code(0).stdout;
    let rows = shown.lines().count();
    assert!(rows > 0 && shown.lines().all(|line| line.contains("\"name\": \"cpu\"")), "{shown}");
    letters(&["show", "99999"]).code(64);

    pipeline(&agent, &with("passthrough"));
    logged(&running, "transformers replaced", 2);
    let said = letters(&["retry", "1"]).code(0).stdout;
    assert_eq!(said, format!("ok: {rows} samples published\n"));
    assert!(!letters(&["ls"]).code(0).stdout.starts_with("1 "));
    letters(&["replay", "1"]).code(78).reports("there is no dead letter 1");
    running.wait_for_cycles(1);
    running.stop().code(0);
    let first = samples(&agent, "raw")[0]["id"].clone();
    assert!(samples(&agent, "out").iter().any(|one| one["id"] == first), "the first row came late");
}

// They were published, and missing from the state after the next failure, reload or restart.
#[test]
fn rows_stay_set_aside_until_what_they_leave_in_the_state_can_be_saved() {
    let with = |mode: &str| format!("[{{name: misbehaving, parameters: {{mode: {mode}}}}}]");
    let agent = agent("unsaved", &with("trap-transform"))
        .set("components.by_name.misbehaving.on_error", "drop");
    put(&agent, "misbehaving", &bytes("misbehaving"));
    let running = agent.run();
    let listed = || agent.execute(&["dead-letters", "ls"]).code(0).stdout.starts_with("1 ");
    eventually("a dead letter", PATIENCE, || listed().then_some(()));
    let first = samples(&agent, "raw")[0]["id"].clone();
    let published = || samples(&agent, "out").iter().filter(|one| one["id"] == first).count();

    pipeline(&agent, &with("save-fails"));
    logged(&running, "transformers replaced", 2);
    agent.execute(&["dead-letters", "replay", "1"]).code(78).reports("cannot be saved");
    assert_eq!((listed(), published()), (true, 0));

    pipeline(&agent, &with("counter"));
    logged(&running, "transformers replaced", 3);
    agent.execute(&["dead-letters", "replay", "1"]).code(0);
    running.stop().code(0);
    assert_eq!(published(), 1);
}

/// Two sinks with the same transformers and the same rows. One is left in peace.
fn storm_agent() -> Agent {
    let agent = agent("storm", "[]").libvirt("sim://?domains=100&seed=5");
    let stages = |rate: &str, count: &str| {
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
            stages("rate", "counting"),
            out.display(),
            stages("rate_calm", "counting_calm"),
            calm.display()
        ),
    );
    for (name, of) in [
        ("rate", "rate_of_change"),
        ("rate_calm", "rate_of_change"),
        ("counting", "counting-v2"),
        ("counting_calm", "counting-v2"),
    ] {
        put(&agent, name, &bytes(of));
    }
    agent
}

/// Time, resource and meter with the value: what a consumer sees, but for ids, which differ between
/// sinks.
fn seen(samples: &[Value]) -> BTreeMap<[String; 3], f64> {
    let key =
        |one: &Value| ["timestamp", "resource_id", "name"].map(|field| text(one, field).to_owned());
    let seen: BTreeMap<_, _> = samples.iter().map(|one| (key(one), number(one))).collect();
    assert_eq!(seen.len(), samples.len(), "something came twice");
    seen
}

#[test]
fn a_storm_of_reloads_changes_nothing_that_a_consumer_sees() {
    let agent = storm_agent();
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let (rate, count) = (bytes("rate_of_change"), bytes("counting-v2"));
    let swaps = scaled(60, 600);
    for swap in 0..swaps {
        match swap % 10 {
            0 => put(&agent, "counting", b"no wasm"),
            1 => put(&agent, "counting", &bytes("counting-bad")),
            2 => put(&agent, "counting", &bytes("counting-v3")),
            3 => put(&agent, "rate", &rate[..rate.len() / 3]),
            4 => fs::remove_file(agent.folder.at("components/counting.wasm")).unwrap(),
            5 if swap % 20 == 5 => {
                put(&agent, "counting", &variant(&bytes("counting-crash"), swap));
                running.wait_for_cycles(4);
            }
            6 | 7 => put(&agent, "rate", &variant(&rate, swap)),
            _ => put(&agent, "counting", &variant(&count, swap)),
        }
        std::thread::sleep(Duration::from_millis(120));
    }
    put(&agent, "counting", &variant(&count, swaps));
    put(&agent, "rate", &variant(&rate, swaps));
    running.wait_for_cycles(4);
    let took_over = running.logged("transformers replaced").len();
    let refused = running.logged("reload refused").len();
    let one = status(&agent, "out");
    let ended = running.stop().code(0);
    println!("{took_over} take-overs, {refused} refusals, {} roll-backs", one["rollbacks"]);
    assert!(took_over > swaps / 10 && refused > swaps / 10, "{took_over}, {refused}");
    assert_eq!(ended.ledger().sinks["out"].pending, 0);
    let (out, calm) = (seen(&samples(&agent, "out")), seen(&samples(&agent, "calm")));
    let other: Vec<_> = calm.iter().filter(|(key, value)| out.get(*key) != Some(*value)).collect();
    assert!(other.is_empty() && out.len() == calm.len(), "{other:?}");
}

/// What the log says at each step of a reload, of what leads to it, and of a save.
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
fn a_kill_at_any_step_of_a_reload_or_a_save_changes_nothing_either() {
    let rate = "{name: rate_of_change, parameters: {target: {name: cpu_util, type: gauge}}}";
    let agent = agent("kill", &format!("[{{name: counting, parameters: {{}}}}, {rate}]"));
    put(&agent, "rate_of_change", &bytes("rate_of_change"));
    put(&agent, "counting", &bytes("counting-v2"));
    let rounds = scaled(STEPS.len() + 2, 100);
    for round in 0..rounds {
        let mut running = agent.run();
        running.wait_for_cycles(1);
        let before = STEPS.get(round % (STEPS.len() + 1));
        let known = before.map_or(0, |step| steps(&running, step));
        put(&agent, "counting", &variant(&bytes("counting-v2"), round));
        match before {
            Some(step) => {
                eventually(&format!("{step:?}"), PATIENCE, || {
                    (steps(&running, step) > known).then_some(())
                });
            }
            // Anywhere else, such as between the batches.
            None => std::thread::sleep(Duration::from_millis(137 * (round as u64 % 11))),
        }
        running.signal(Signal::KILL);
        running.ended(PATIENCE);
    }
    let mut running = agent.run();
    running.wait_for_cycles(12);
    running.stop().code(0);
    undisturbed(&agent);
}

fn steps(running: &Running, (message, step): &(&str, Option<&str>)) -> usize {
    let lines = running.logged(message);
    lines.iter().filter(|line| step.is_none_or(|step| line["step"] == step)).count()
}

/// What both sinks sent, without repeated ids, is what an agent sends that was never killed.
fn undisturbed(agent: &Agent) {
    let distinct = |file: &str| -> Vec<Value> {
        let mut known = BTreeSet::new();
        let all = samples(agent, file);
        all.into_iter().filter(|one| known.insert(text(one, "id").to_owned())).collect()
    };
    let (raw, out) = (distinct("raw"), distinct("out"));
    let counted: Vec<f64> =
        out.iter().filter(|one| text(one, "resource_id") == "count").map(number).collect();
    // `rate_of_change` makes rates of the counts as well: rows a second.
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
        assert!(got.insert(key, number(one)).is_none(), "twice with two ids: {one}");
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

/// Seconds since midnight of the day before, of an ISO 8601 time.
fn seconds(time: &str) -> f64 {
    let (date, clock) = time.split_once('T').unwrap();
    let day: f64 = date.rsplit('-').next().unwrap().parse().unwrap();
    let parts: Vec<f64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
    ((day * 24.0 + parts[0]) * 60.0 + parts[1]) * 60.0 + parts[2]
}

#[test]
fn a_cold_start_does_not_wait_for_its_components() {
    let agent = agent("cold", COUNTING);
    put(&agent, "counting", &bytes("counting"));
    let mut running = agent.run();
    running.wait_for_cycles(1);
    logged(&running, "component loaded", 1);
    let at = |message: &str| {
        let time = running.logged(message)[0]["timestamp"].as_str().unwrap().to_owned();
        assert!(!time.is_empty());
        time
    };
    assert!(
        at("polling cycle finished") < at("component loaded"),
        "polling waited for the compiler"
    );
    assert_eq!(running.logged("component loaded")[0]["cached"], false);
    running.stop().code(0);
    check_counts(&agent);
    // Warm: nothing is compiled.
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ended = running.stop().code(0);
    let loaded = ended.logged("component loaded");
    assert!(!loaded.is_empty() && loaded.iter().all(|line| line["cached"] == true), "{loaded:?}");
    check_counts(&agent);
}
