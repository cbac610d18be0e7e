//! Faults of domains and of libvirtd: first and last samples are exact, and a hung guest does not
//! block the others.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::harness::{
    Agent, Lab, PATIENCE, Running, eventually, ndjson, number, scaled, sorted_by_time, text,
};

/// The samples in the complete lines of the file.
fn complete(agent: &Agent) -> Vec<Value> {
    let text = fs::read_to_string(agent.folder.at("samples")).unwrap_or_default();
    let end = text.rfind('\n').map_or(0, |end| end + 1);
    ndjson(&text[..end])
}

/// Writes all meters to a file. With a long interval, samples after the first cycle come from
/// events.
fn agent(name: &str, lab: &Lab, interval: u32) -> Agent {
    let agent = Agent::new(name).libvirt(lab.libvirt_uri());
    let file = agent.folder.at("samples");
    agent.pipeline(&format!(
        "sources: [{{name: s, interval: {interval}, meters: ['*'], sinks: [out]}}]\n\
         sinks: [{{name: out, publishers: ['file://{}?json']}}]\n",
        file.display()
    ))
}

fn of<'a>(samples: &'a [Value], meter: &str, id: &str) -> Vec<&'a Value> {
    let is = |s: &&Value| text(s, "name") == meter && text(s, "resource_id") == id;
    samples.iter().filter(is).collect()
}

fn uuid(lab: &Lab, name: &str) -> String {
    lab.virsh(&["domuuid", name]).trim().to_owned()
}

#[test]
fn lifecycle_events_are_sampled_at_once() {
    let lab = Lab::up(
        "faults-boundaries",
        &["--linux", "1", "--idle", "1", "--paused", "0", "--off", "1", "--no-amqp"],
    );
    let agent = agent("faults-boundaries", &lab, 600);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    let (off, idle, linux) = (uuid(&lab, "off-1"), uuid(&lab, "idle-1"), uuid(&lab, "linux-1"));
    let wait_for = |what: &str, meter: &str, id: &str, more: usize| {
        eventually(what, PATIENCE, || {
            (of(&complete(&agent), meter, id).len() >= more).then_some(())
        });
    };
    wait_for("the first cycle", "cpu", &idle, 1);
    assert!(of(&complete(&agent), "cpu", &off).is_empty(), "it is shut off");

    // Redefined, as by a resize: the cached description is out of date.
    let xml = lab.virsh(&["dumpxml", "off-1"]).replace("server off-1", "another name");
    lab.virsh(&["define", agent.folder.write("off-1.xml", xml).to_str().unwrap()]);
    lab.virsh(&["start", "off-1"]);
    wait_for("a first sample", "cpu", &off, 1);
    let first = of(&complete(&agent), "cpu", &off)[0]["resource_metadata"]["display_name"].clone();
    assert_eq!(first, "another name");
    lab.virsh(&["destroy", "off-1"]);
    wait_for("a last sample", "power.state", &off, 2);
    lab.virsh(&["save", "idle-1", agent.folder.at("saved").to_str().unwrap()]);
    wait_for("a last sample of a saved guest", "power.state", &idle, 2);
    lab.virsh(&["restore", agent.folder.at("saved").to_str().unwrap()]);
    wait_for("a first sample after the restore", "cpu", &idle, 2);
    // Its QEMU crashes.
    let states = of(&complete(&agent), "power.state", &idle).len();
    lab.signal_guest("idle-1", "-KILL");
    wait_for("a last sample of a crashed guest", "power.state", &idle, states + 1);
    assert_hotplug_is_sampled(&lab, &agent, &linux);

    let all = complete(&agent);
    assert_last_samples(&all, &off, &idle);
    sorted_by_time(&all);
    let ended = running.stop().code(0);
    assert_eq!(
        ended.logged("polling cycle finished").len(),
        1,
        "all samples since the first cycle came from events"
    );
    assert_no_samples_without_events(&lab, agent, &linux);
}

/// A hotplugged interface is sampled at once.
fn assert_hotplug_is_sampled(lab: &Lab, agent: &Agent, linux: &str) {
    let nic = "<interface type='ethernet'><mac address='52:54:00:99:99:01'/><target dev='hotplug0'/><model type='virtio'/></interface>";
    let nic = agent.folder.write("nic.xml", nic);
    lab.virsh(&["attach-device", "linux-1", nic.to_str().unwrap(), "--live"]);
    eventually("its counters", PATIENCE, || {
        let all = complete(agent);
        let is = |s: &&Value| {
            text(s, "name") == "network.incoming.bytes"
                && text(s, "resource_id").contains(linux)
                && s["resource_metadata"]["vnic_name"] == "hotplug0"
        };
        all.iter().any(|sample| is(&sample)).then_some(())
    });
}

/// With `libvirt.events` off there are no samples between cycles.
fn assert_no_samples_without_events(lab: &Lab, agent: Agent, linux: &str) {
    let agent = agent.set("libvirt.events", false);
    fs::remove_file(agent.folder.at("samples")).unwrap();
    let mut running = agent.run();
    running.wait_for_cycles(1);
    lab.virsh(&["destroy", "linux-1"]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let ended = running.stop().code(0);
    assert!(!ended.stderr.contains("boundary"));
    assert!(of(&complete(&agent), "power.state", linux).len() <= 1);
}

/// The last samples of a destroyed guest, and of one that was saved, restored and then crashed.
fn assert_last_samples(all: &[Value], off: &str, idle: &str) {
    let ends = of(all, "power.state", off);
    let end = ends.last().unwrap();
    assert_eq!(number(end), 5.0, "shut off");
    let boundary = &end["resource_metadata"]["boundary"];
    assert_eq!((&boundary["event"], &boundary["reason"]), (&"stopped".into(), &"destroyed".into()));
    let last = of(all, "cpu", off).last().unwrap().to_owned().clone();
    assert_eq!(boundary["last_reading"], last["timestamp"], "the time of the last counters");
    assert!(text(end, "timestamp") > text(&last, "timestamp"));
    let reasons: Vec<&Value> = of(all, "power.state", idle)
        .iter()
        .map(|sample| &sample["resource_metadata"]["boundary"]["reason"])
        .filter(|reason| reason.is_string())
        .collect();
    assert!(reasons == ["saved", "crashed"] || reasons == ["saved", "failed"], "{reasons:?}");
}

/// The agent keeps libvirt's handles of domains between cycles.
#[test]
fn renamed_and_newly_defined_guests_are_read_on() {
    let lab = Lab::up(
        "faults-renamed",
        &["--linux", "0", "--idle", "1", "--paused", "0", "--off", "1", "--no-amqp"],
    );
    let agent = agent("faults-renamed", &lab, 1);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    let id = uuid(&lab, "off-1");
    let read_as = |name: &str| {
        lab.virsh(&["start", name]);
        let known = complete(&agent).len();
        eventually("samples with the name", PATIENCE, || {
            let all = complete(&agent);
            let new = of(&all[known..], "cpu", &id);
            let named = new.iter().filter(|one| one["resource_metadata"]["name"] == name);
            (named.count() > 1).then_some(())
        });
        lab.virsh(&["destroy", name]);
    };
    read_as("off-1");
    lab.virsh(&["domrename", "off-1", "renamed-1"]);
    read_as("renamed-1");
    let xml = agent.folder.write("again.xml", lab.virsh(&["dumpxml", "renamed-1"]));
    lab.virsh(&["undefine", "renamed-1"]);
    lab.virsh(&["define", xml.to_str().unwrap()]);
    read_as("renamed-1");
    assert_eq!(running.stop().code(0).ledger().missing, 0);
}

#[test]
fn killed_libvirtd_is_reconnected() {
    let lab = Lab::up(
        "faults-libvirtd",
        &["--linux", "0", "--idle", "2", "--paused", "0", "--off", "1", "--no-amqp"],
    );
    let agent = agent("faults-libvirtd", &lab, 1);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let cpus = |name: &str| of(&complete(&agent), "cpu", &uuid(&lab, name)).len();
    eventually("samples", PATIENCE, || (cpus("idle-1") > 0).then_some(()));
    for round in 0..scaled(1, 5) {
        // Restart it only after the agent has noticed, so that it logs the reconnection.
        lab.kill_libvirt();
        eventually("events are lost", PATIENCE, || {
            (running.logged("libvirt event stream lost").len() > round).then_some(())
        });
        lab.start_libvirt();
        let before = cpus("idle-1");
        eventually("samples again", PATIENCE, || (cpus("idle-1") > before + 2).then_some(()));
        // Events are received again as well.
        let wanted = round + 1;
        eventually("events again", PATIENCE, || {
            (running.logged("libvirt event stream restored").len() >= wanted).then_some(())
        });
        lab.virsh(&["start", "off-1"]);
        eventually("a guest that was started", PATIENCE, || (cpus("off-1") > 0).then_some(()));
        lab.virsh(&["destroy", "off-1"]);
    }
    running.stop().code(0);
    sorted_by_time(&complete(&agent));
}

#[test]
fn hung_guest_delays_the_others_by_one_deadline_once() {
    let count = 20;
    let lab = Lab::up(
        "faults-stopped",
        &["--linux", "0", "--idle", &count.to_string(), "--paused", "0", "--off", "0", "--no-amqp"],
    );
    let agent = agent("faults-stopped", &lab, 2).set("libvirt.deadline", "900ms");
    let mut running = agent.run();
    running.wait_for_cycles(3);
    let usual = longest(&running);
    lab.signal_guest("idle-2", "-STOP");
    eventually("quarantine", PATIENCE, || {
        (!running.logged("domain quarantined").is_empty()).then_some(())
    });
    let first = longest(&running);
    running.wait_for_cycles(1);
    let cycles = running.cycles();
    running.wait_for_cycles(3);
    let later = times(&running)[cycles..].iter().copied().fold(0.0, f64::max);
    println!(
        "{count} domains, one stopped: {usual:.3} s before, {first:.3} s the first time, {later:.3} s later"
    );
    // Only one call was abandoned: a quarantined domain is not read.
    let status = agent.execute(&["status"]).code(0);
    assert!(status.stdout.contains("1 abandoned calls pending"), "{}", status.stdout);
    assert_eq!(running.logged("domain quarantined").len(), 1);
    lab.signal_guest("idle-2", "-CONT");
    eventually("release from quarantine", PATIENCE, || {
        (!running.logged("domain released from quarantine").is_empty()).then_some(())
    });
    running.wait_for_cycles(1);
    let ended = running.stop().code(0);
    assert!(ended.ledger().missing > 0);
    let gaps = agent.execute(&["gaps", "--json"]).code(0);
    let gaps: Value = serde_json::from_str(&gaps.stdout).unwrap();
    let stuck = uuid(&lab, "idle-2");
    let reasons: BTreeMap<&str, &str> = gaps
        .as_array()
        .unwrap()
        .iter()
        .map(|gap| (text(gap, "resource"), text(gap, "reason")))
        .collect();
    assert_eq!(reasons, BTreeMap::from([(stuck.as_str(), "stuck")]));
    sorted_by_time(&complete(&agent));
}

/// Durations of the polling cycles, seconds.
fn times(running: &Running) -> Vec<f64> {
    let seconds = |line: &Value| line["took_ms"].as_f64().unwrap() / 1e3;
    running.logged("polling cycle finished").iter().map(seconds).collect()
}

fn longest(running: &Running) -> f64 {
    times(running).into_iter().fold(0.0, f64::max)
}
