//! `record --raw-libvirt`: a recording of libvirt's answers replays as the host was read.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::harness::{Agent, hypervisor, ndjson, text};
use crate::qemu::{booted, exclusive};

const PIPELINE: &str = "sources: [{name: all, interval: 2, meters: ['*'], sinks: [out]}]\n\
                        sinks: [{name: out, publishers: ['test://']}]\n";

/// Meter and resource of what `once` prints for a URI.
fn series(agent: &Agent, uri: &str) -> BTreeSet<(String, String)> {
    let command = ["once", "--raw", "--format", "ndjson", "--samples", "1", "--libvirt", uri];
    let printed = agent.execute(&command).code(0).stdout;
    let one = |line: Value| (text(&line, "name").to_owned(), text(&line, "resource_id").to_owned());
    ndjson(&printed).into_iter().map(one).collect()
}

#[test]
fn recorded_answers_replay_as_the_host_was_read() {
    let _exclusive = exclusive();
    let uri = booted(hypervisor()).libvirt_uri();
    let agent = Agent::new("recording").pipeline(PIPELINE);
    let live = series(&agent, uri);
    let record = |name: &str, more: &[&str]| {
        let folder = agent.folder.at(name);
        let mut command =
            vec!["record", "--raw-libvirt", folder.to_str().unwrap(), "--libvirt", uri];
        command.extend(["--samples", "2", "--every", "1s"]);
        command.extend(more);
        agent.execute(&command).code(0).reports("2 cycles");
        folder
    };
    let folder = record("plain", &[]);
    let replayed = series(&agent, &format!("replay://{}", folder.display()));
    assert_eq!(live, replayed);
    assert_eq!(fs::read_dir(folder.join("domblkinfo")).unwrap().count(), 2);

    let folder = record("anonymous", &["--anonymous"]);
    let replayed = series(&agent, &format!("replay://{}", folder.display()));
    assert_eq!(replayed.len(), live.len());
    let names = |all: &BTreeSet<(String, String)>| {
        all.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&replayed), names(&live));
    let resources: BTreeSet<&String> = live.iter().map(|(_, resource)| resource).collect();
    for (name, resource) in &replayed {
        assert!(!resources.contains(resource), "{name} of {resource}");
    }
}

#[test]
fn only_libvirt_has_raw_answers() {
    let agent = Agent::new("recording-sim");
    let folder = agent.folder.at("raw");
    let command =
        ["record", "--raw-libvirt", folder.to_str().unwrap(), "--libvirt", "sim://?domains=1"];
    agent.execute(&command).code(78).reports("only answers of libvirt can be recorded");
    assert!(!folder.exists());
}
