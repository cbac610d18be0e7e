//! Gaps on their whole way: what a real agent could not read it sends as samples of `nephometer.gap`, and
//! the collector shows the reason.

use rustix::process::Signal;
use serde_json::Value;

use super::moment;
use crate::harness::{
    Agent, Collector, Lab, PATIENCE, api_of, broker, declare, eventually, request, text,
};

/// An agent that sends every meter and its gaps to a queue.
fn agent(name: &str, topic: &str) -> Agent {
    declare(broker().amqp_url(), topic, false).unwrap();
    Agent::new(name).amqp(broker().amqp_url()).pipeline(&format!(
        "sources: [{{name: s, interval: 1, meters: ['*', nephometer.gap], sinks: [out]}}]\n\
         sinks: [{{name: out, publishers: ['notifier://?topic={topic}']}}]\n"
    ))
}

/// The gaps of a meter of a resource that were not read.
fn gaps(api: &str, meter: &str, resource: &str) -> Vec<Value> {
    let query =
        format!("/v1/gaps?q.field=meter&q.value={meter}&q.field=resource_id&q.value={resource}");
    let found = request(api, "GET", &query, &[], "");
    assert_eq!(found.status, 200, "{:?}", found.body);
    let mut found = found.body.as_array().unwrap().clone();
    found.retain(|gap| gap["kind"] == "not_read");
    found
}

fn wait_for_gap(api: &str, (meter, resource): (&str, &str), reason: &str) -> Value {
    eventually(&format!("a gap of {meter}: {reason}"), PATIENCE, || {
        gaps(api, meter, resource).into_iter().find(|gap| gap["reason"] == reason)
    })
}

fn seconds(gap: &Value) -> [i64; 2] {
    ["start", "end"].map(|edge| moment(&gap[edge]).as_second())
}

/// The newest sample of a meter of a resource, or of any.
fn newest(collector: &Collector, meter: &str, resource: Option<&str>) -> Option<Value> {
    let mut arguments = vec!["samples", "--meter", meter, "--limit", "1"];
    arguments.extend(resource.iter().flat_map(|resource| ["--resource", resource]));
    collector.query(&arguments).pop()
}

/// A guest whose QEMU does not answer: its meters and those of its devices, and no others.
#[test]
fn a_guest_that_was_stuck_is_a_gap_with_its_reason() {
    let lab = Lab::up(
        "lab-collector-gaps",
        &["--linux", "0", "--idle", "2", "--paused", "0", "--off", "0", "--no-amqp"],
    );
    let agent = agent("collector-gaps-stuck", "gapsstuck")
        .libvirt(lab.libvirt_uri())
        .set("libvirt.deadline", "400ms");
    let collector =
        Collector::new("collector-gaps-stuck").consuming(broker().amqp_url(), &["gapsstuck"]);
    let running = collector.run();
    let api = api_of(&running);
    let mut agents = agent.run();
    agents.wait_for_cycles(2);
    let uuid = |name: &str| lab.virsh(&["domuuid", name]).trim().to_owned();
    let (stuck, well) = (uuid("idle-2"), uuid("idle-1"));
    eventually("samples of the guest", PATIENCE, || newest(&collector, "cpu", Some(&stuck)));
    lab.signal_guest("idle-2", "-STOP");
    wait_for_gap(&api, ("cpu", &stuck), "stuck");
    agents.wait_for_cycles(3);
    lab.signal_guest("idle-2", "-CONT");
    let gap = wait_for_gap(&api, ("cpu", &stuck), "stuck");
    let [start, _] = seconds(&gap);
    eventually("samples behind the gap", PATIENCE, || {
        let newest = newest(&collector, "cpu", Some(&stuck))?;
        let end = gaps(&api, "cpu", &stuck).iter().map(|gap| seconds(gap)[1]).max()?;
        (moment(&newest["timestamp"]).as_second() > end).then_some(())
    });
    // The parts of the gap are one behind the other, and no sample is within them.
    let parts = gaps(&api, "cpu", &stuck);
    let end = parts.iter().map(|gap| seconds(gap)[1]).max().unwrap();
    assert!(end - start >= 2, "{parts:?}");
    let times = collector.query(&["samples", "--meter", "cpu", "--resource", &stuck]);
    let within = |sample: &&Value| {
        let time = moment(&sample["timestamp"]);
        parts.iter().any(|gap| moment(&gap["start"]) < time && time < moment(&gap["end"]))
    };
    assert_eq!(times.iter().find(within), None, "{parts:?}");
    // A device of the guest has the guest's gap; the other guest has none.
    let sample = collector
        .query(&["samples", "--meter", "network.incoming.bytes", "--limit", "1000"])
        .into_iter()
        .find(|sample| sample["metadata"]["instance_id"] == *stuck)
        .unwrap();
    let device = text(&sample, "resource_id");
    assert_ne!(device, stuck);
    wait_for_gap(&api, ("network.incoming.bytes", device), "stuck");
    let others = gaps(&api, "cpu", &well);
    assert!(others.iter().all(|gap| gap["reason"] != "stuck"), "{others:?}");
    agents.stop().code(0);
    running.stop().code(0);
}

/// A host on which nothing was read: the gap of every resource.
#[test]
fn an_agent_that_was_stopped_is_a_gap_of_its_whole_host() {
    let agent = agent("collector-gaps-host", "gapshost");
    let slept = agent.folder.at("slept");
    let agent = agent.preload("suspend", &[("FAULT_SUSPENDED", slept.to_str().unwrap())]);
    let collector =
        Collector::new("collector-gaps-host").consuming(broker().amqp_url(), &["gapshost"]);
    let running = collector.run();
    let api = api_of(&running);
    let mut agents = agent.run();
    agents.wait_for_cycles(2);
    let sample = eventually("samples", PATIENCE, || newest(&collector, "cpu", None));
    let resource = text(&sample, "resource_id").to_owned();
    agents.signal(Signal::STOP);
    std::thread::sleep(std::time::Duration::from_secs(4));
    agents.signal(Signal::CONT);
    let [start, end] = seconds(&wait_for_gap(&api, ("cpu", &resource), "skipped"));
    assert!((3..20).contains(&(end - start)), "{start} to {end}");
    std::fs::write(&slept, "600").unwrap();
    let [start, end] = seconds(&wait_for_gap(&api, ("cpu", &resource), "suspended"));
    assert!((600..630).contains(&(end - start)), "{start} to {end}");
    agents.stop().code(0);
    running.stop().code(0);
}
