//! Saved states that exceed the total limit together.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::parts::{SAVED, stores, transformer};
use crate::harness::{Agent, PATIENCE, component, eventually, ndjson};

/// A transformer that passes all samples and has a state of 700 KiB.
fn keeps_much() -> Vec<u8> {
    let state = stores(&[(SAVED, 0), (SAVED + 4, 65_536), (SAVED + 8, 700 << 10)]);
    transformer(&[("MEMORY", "20"), ("SAVE", &state)])
}

/// A save beyond the total is refused; the reason names the component and the size of the other
/// states. The sinks continue, and a state that was not saved is rebuilt from the journal at the
/// next start.
#[test]
fn state_beyond_the_total_is_refused_and_rebuilt() {
    let agent = Agent::new("hostile-states").libvirt("sim://?domains=3&seed=1");
    let folder = agent.folder.at("hostile");
    fs::create_dir(&folder).unwrap();
    let rate = "rate_of_change";
    fs::copy(component(rate), folder.join(format!("{rate}.wasm"))).unwrap();
    let names = ["first", "second"];
    for name in names {
        fs::write(folder.join(format!("{name}.wasm")), keeps_much()).unwrap();
    }
    let out = |name: &str| agent.folder.at(&format!("out-{name}"));
    let sink = |name: &str, transformers: &str| {
        let publisher = format!("'file://{}?json'", out(name).display());
        format!("- {{name: {name}, transformers: [{transformers}], publishers: [{publisher}]}}\n")
    };
    let pipeline = format!(
        "sources: [{{name: s, interval: 1, meters: [cpu], sinks: [first, second, honest]}}]\n\
         sinks:\n{}{}{}",
        sink("first", "{name: first, parameters: {}}"),
        // Both transformers are in one sink: neither state is saved without the other.
        sink(
            "second",
            &format!(
                "{{name: second, parameters: {{}}}}, {{name: {rate}, parameters: {{target: {{name: cpu_util}}}}}}"
            )
        ),
        sink("honest", &format!("{{name: {rate}, parameters: {{target: {{name: cpu_util}}}}}}")),
    );
    let all = ["first", "second", "honest"].map(out);
    let agent = agent
        .set("components.path", json!([folder]))
        .set("components.totals.states", "1MiB")
        .pipeline(&pipeline);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    // A sink whose component is still being compiled has no state to save.
    eventually("samples of all sinks", PATIENCE, || {
        let has_some = |path: &PathBuf| fs::read(path).is_ok_and(|text| !text.is_empty());
        all.iter().all(has_some).then_some(())
    });
    // The last save happens at shutdown.
    let ended = running.stop().code(0);
    let failed = ended.logged("component state save failed");
    // Sinks save concurrently, so either of the two may be refused.
    let refused = failed.iter().any(|line| {
        let [sink, component, reason] =
            ["sink", "component", "reason"].map(|key| line[key].as_str().unwrap());
        names.contains(&component)
            && sink == component
            && reason
                .contains(&format!(" of {component}, at most 1048576 (components.totals.states)"))
            && reason.contains("; others: ")
    });
    assert!(refused, "{}", ended.stderr);
    let agent = agent.set("components.totals.states", "4MiB");
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ended = running.stop().code(0);
    let ledger = ended.ledger();
    assert!(ended.logged("component state save failed").is_empty(), "{}", ended.stderr);
    let lines = all.map(|path| ndjson(&fs::read_to_string(path).unwrap()).len() as u64);
    // The rate is missing only for the first sample of each domain, over both runs.
    assert_eq!(lines, [ledger.polled, ledger.polled - 3, ledger.polled - 3]);
}
