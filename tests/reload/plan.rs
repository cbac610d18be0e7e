//! `reload --plan`, and reloads of options, publishers and sources.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;

use rustix::process::Signal;
use serde_json::Value;

use super::{COUNTING, agent, bytes, check_counts, command, install, logged, pipeline, samples};
use crate::harness::{Agent, text};

#[test]
fn changed_options_publishers_and_sources_are_planned_and_applied() {
    let rate = |name: &str| {
        format!(
            "[{{name: rate_of_change, parameters: {{target: {{name: {name}}}}}}}, {{name: counting, parameters: {{}}}}]"
        )
    };
    let agent = agent("options", &rate("one"));
    install(&agent, "counting", &bytes("counting"));
    install(&agent, "rate_of_change", &bytes("rate_of_change"));
    let mut running = agent.run();
    running.wait_for_cycles(3);
    let took_over = running.logged("transformers replaced").len();

    // Invalid options leave the running transformers in place.
    pipeline(&agent, "[{name: rate_of_change, parameters: {target: 5}}]");
    let refused = logged(&running, "reload refused", 1);
    assert!(refused[0]["reason"].as_str().unwrap().contains("/target"));
    agent.folder.write("pipeline.yaml", "sources: [");
    logged(&running, "reload refused", 2);

    pipeline(&agent, &rate("two"));
    let text_of = fs::read_to_string(agent.folder.at("pipeline.yaml")).unwrap();
    let padded_text = |text: &str| format!("{text:<4000}\n");
    agent.folder.write("pipeline.yaml", padded_text(&text_of));
    logged(&running, "transformers replaced", took_over + 1);
    running.wait_for_cycles(2);
    let more = format!("'file://{}?json'", agent.folder.at("more").display());
    let changed = text_of
        .replace("interval: 1", "interval: 2")
        .replace("name: two", "name: three")
        .replace("publishers: ['file", &format!("publishers: [{more}, 'file"));
    write_unnoticed(&agent, "pipeline.yaml", padded_text(&changed).as_bytes());
    let plan = command(&agent, &["reload", "--plan"]).code(0);
    for line in ["source ", "rate_of_change", "more?json: added"] {
        assert!(plan.stdout.contains(line), "{line}: {}", plan.stdout);
    }
    running.wait_for_cycles(1);
    assert_eq!(running.logged("transformers replaced").len(), took_over + 1);
    assert!(!agent.folder.at("more").exists(), "the plan opened a publisher");
    command(&agent, &["reload"]).code(0).reports("more?json: added");
    logged(&running, "transformers replaced", took_over + 2);
    running.wait_for_cycles(2);
    command(&agent, &["reload"]).code(0).reports("nothing has changed");
    running.stop().code(0);

    let names: BTreeSet<String> =
        samples(&agent, "out").iter().map(|one| text(one, "name").to_owned()).collect();
    assert_eq!(names, BTreeSet::from(["count", "one", "three", "two"].map(str::to_owned)));
    assert!(!samples(&agent, "more").is_empty());
    // The state was kept throughout: one sample per domain, the first, has no rate.
    let (raw, out) = (samples(&agent, "raw"), samples(&agent, "out"));
    let rates = out.iter().filter(|one| text(one, "name") != "count").count();
    let domains = raw.iter().map(|one| text(one, "resource_id")).collect::<BTreeSet<_>>().len();
    assert_eq!(unique(&raw) - domains, rates);
}

/// Writes a file so that the agent does not notice: size and time of modification stay. Any other
/// change can be noticed at any time, because a change of a file nearby triggers a scan.
pub(crate) fn write_unnoticed(agent: &Agent, name: &str, bytes: &[u8]) {
    let path = agent.folder.at(name);
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.len(), bytes.len() as u64, "{name} would be noticed");
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
    file.set_modified(metadata.modified().unwrap()).unwrap();
}

#[test]
fn a_plan_shows_what_a_new_component_requires() {
    let agent = agent("plan-component", COUNTING);
    let (old, new) = (bytes("counting"), bytes("counting-v2"));
    let length = old.len().max(new.len()) + 100;
    install(&agent, "counting", &padded(old, length));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    logged(&running, "transformers replaced", 1);
    write_unnoticed(&agent, "components/counting.wasm", &padded(new, length));
    let plan = command(&agent, &["reload", "--plan"]).code(0);
    for line in ["sink out: counting: state version: 1 -> 2", "counting: version: "] {
        assert!(plan.stdout.contains(line), "{line}: {}", plan.stdout);
    }
    assert_eq!(running.logged("transformers replaced").len(), 1);
    command(&agent, &["reload"]).code(0).reports("state kept");
    running.wait_for_cycles(1);
    running.stop().code(0);
}

/// The same component with `length` bytes: a custom section pads it.
fn padded(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    // The id of the section, its length in five bytes, an empty name.
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
fn a_plan_reports_what_a_reload_would_do_and_changes_nothing() {
    let agent = agent("plan", COUNTING);
    let versions = ["counting", "counting-bad", "counting-v2"].map(bytes);
    let length = versions.iter().map(Vec::len).max().unwrap() + 7;
    let [good, bad, next] = versions.map(|version| padded(version, length));
    install(&agent, "counting", &good);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    logged(&running, "transformers replaced", 1);
    write_unnoticed(&agent, "components/counting.wasm", &bad);
    let trap = "this version traps in configure";
    command(&agent, &["reload", "--plan"]).code(78).reports(trap);
    // A reload would be in the log.
    assert!(running.logged("reload refused").is_empty());
    write_unnoticed(&agent, "components/counting.wasm", &next);
    command(&agent, &["reload", "--plan"]).code(0).reports("counting");
    running.wait_for_cycles(2);
    assert_eq!(running.logged("transformers replaced").len(), 1);
    install(&agent, "counting", &good);
    running.wait_for_cycles(1);
    running.signal(Signal::HUP);
    running.wait_for_cycles(1);
    assert_eq!(running.logged("transformers replaced").len(), 1);
    running.stop().code(0);
    check_counts(&agent);
}
