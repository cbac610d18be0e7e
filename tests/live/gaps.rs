//! `nephometer explain` for the reasons of gaps: real QEMU guests, real signals, a real Nova.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::agent;
use super::explain::{becomes, explain, instance, reasons};
use crate::harness::{Agent, Lab, PATIENCE, cloud, eventually, text};

/// Waits for a gap with this reason among those of an explanation.
fn gap(agent: &Agent, (meter, resource): (&str, &str), reason: &str) -> Value {
    eventually(&format!("a gap: {reason}"), PATIENCE, || {
        let explained = explain(agent, meter, resource);
        let gaps = explained["gaps"].as_array().unwrap();
        gaps.iter().find(|gap| text(gap, "reason") == reason).cloned()
    })
}

#[test]
fn a_stuck_guest_one_that_is_off_and_one_that_is_gone() {
    let lab = Lab::up(
        "lab-explain",
        &["--linux", "0", "--idle", "2", "--paused", "0", "--off", "1", "--no-amqp"],
    );
    let agent =
        Agent::new("explain-stuck").libvirt(lab.libvirt_uri()).set("libvirt.deadline", "400ms");
    let agent = agent.everything_to(&["test://"]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let uuid = |name: &str| lab.virsh(&["domuuid", name]).trim().to_owned();
    let (stuck, well, off) = (uuid("idle-2"), uuid("idle-1"), uuid("off-1"));
    becomes(&agent, ("cpu", &stuck), "present");

    lab.signal_guest("idle-2", "-STOP");
    becomes(&agent, ("cpu", &stuck), "missing");
    let explained = eventually("the reason", PATIENCE, || {
        let again = explain(&agent, "cpu", &stuck);
        (reasons(&again) == ["stuck"]).then_some(again)
    });
    let since = text(&explained["reasons"][0], "since");
    assert!(since.starts_with("20"), "{explained:#}");
    let shown = agent.execute(&["explain", "cpu", "idle-2"]).code(0).stdout;
    assert!(shown.contains(&format!("stuck, since {since}")), "{shown}");
    assert_eq!(text(&explain(&agent, "cpu", &well), "status"), "present");
    lab.signal_guest("idle-2", "-CONT");
    let explained = becomes(&agent, ("cpu", &stuck), "present");
    assert_eq!(reasons(&explained), [""; 0]);
    assert_eq!(text(&explained["gaps"][0], "reason"), "stuck", "it stays in the list");

    assert_eq!(reasons(&explain(&agent, "cpu", &off)), ["stopped"]);
    // Idle guests have no balloon driver.
    let explained = explain(&agent, "memory.usage", &well);
    assert_eq!(reasons(&explained), ["not_reported"], "{explained:#}");
    let why = text(&explained["reasons"][0], "text");
    assert!(why.contains("balloon.available"), "{why}");
    lab.virsh(&["destroy", "idle-1"]);
    eventually("the end of a guest", PATIENCE, || {
        let explained = explain(&agent, "cpu", &well);
        (matches!(reasons(&explained)[..], ["stopped"] | ["no_domain"])).then_some(())
    });
    running.stop().code(0);
}

#[test]
fn a_libvirtd_that_hangs_or_is_gone_and_a_guest_without_its_interface() {
    let lab = Lab::up(
        "lab-explain-libvirtd",
        &["--linux", "0", "--idle", "2", "--paused", "0", "--off", "0", "--no-amqp"],
    );
    let agent =
        Agent::new("explain-libvirtd").libvirt(lab.libvirt_uri()).set("libvirt.deadline", "400ms");
    let agent = agent.everything_to(&["test://"]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let uuid = lab.virsh(&["domuuid", "idle-1"]).trim().to_owned();
    let becomes_missing = |meter: &str, reason: &str, text_has: &str| {
        let explained = eventually(&format!("{meter} is missing: {reason}"), PATIENCE, || {
            let explained = explain(&agent, meter, &uuid);
            reasons(&explained).contains(&reason).then_some(explained)
        });
        assert_eq!(text(&explained, "status"), "missing", "{explained:#}");
        let all = explained["reasons"].as_array().unwrap();
        let why = all.iter().find(|one| text(one, "reason") == reason).unwrap();
        assert!(text(why, "since").starts_with("20"), "{explained:#}");
        assert!(text(why, "text").contains(text_has), "{explained:#}");
    };
    becomes(&agent, ("network.incoming.bytes", "idle-1"), "present");
    lab.remove_interface("idle-1");
    becomes_missing("network.incoming.bytes", "partial", "reports others");
    assert_eq!(text(&explain(&agent, "cpu", "idle-1"), "status"), "present");

    lab.signal_libvirt("-STOP");
    becomes_missing("cpu", "timeout", "libvirt.deadline");
    lab.signal_libvirt("-CONT");
    becomes(&agent, ("cpu", "idle-1"), "present");

    lab.kill_libvirt();
    becomes_missing("cpu", "failed", "the log has it");
    lab.start_libvirt();
    becomes(&agent, ("cpu", "idle-1"), "present");
    running.stop().code(0);
}

#[test]
fn a_host_that_was_suspended() {
    let agent = agent("explain-suspended");
    let slept = agent.folder.at("slept");
    let agent = agent.preload("suspend", &[("FAULT_SUSPENDED", slept.to_str().unwrap())]);
    let (uuid, _) = instance(&agent, true);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    std::fs::write(&slept, "600").unwrap();
    let suspended = gap(&agent, ("cpu", &uuid), "suspended");
    assert_eq!(text(&suspended, "resource"), "*");
    assert!(text(&suspended, "text").contains("was suspended"), "{suspended}");
    let at = |name: &str| {
        format!("{}Z", text(&suspended, name)).parse::<jiff::Timestamp>().unwrap().as_second()
    };
    assert!((600..620).contains(&(at("until") - at("from"))), "{suspended}");
    becomes(&agent, ("cpu", &uuid), "present");
    running.stop().code(0);
}

#[test]
fn an_agent_that_was_stopped_or_did_not_run() {
    let agent = agent("explain-down");
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let uuid = {
        let ended = agent.execute(&["tap", "--json", "--count", "1", "--sink", "raw"]).code(0);
        let line: Value = serde_json::from_str(ended.stdout.lines().next().unwrap()).unwrap();
        text(&line["sample"]["resource_metadata"], "instance_id").to_owned()
    };
    running.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(3));
    running.signal(Signal::CONT);
    let skipped = gap(&agent, ("cpu", &uuid), "skipped");
    assert_eq!(text(&skipped, "resource"), "*");
    running.stop().code(0);
    std::thread::sleep(Duration::from_secs(3));
    let mut running = agent.run();
    running.wait_for_cycles(1);
    let down = gap(&agent, ("cpu", &uuid), "agent_down");
    assert!(text(&down, "text").contains("not running"), "{down}");
    becomes(&agent, ("cpu", &uuid), "present");
    running.stop().code(0);
}

#[test]
fn samples_that_were_dropped() {
    let agent = Agent::new("explain-full")
        .set("shutdown_grace", "1s")
        .everything_to(&["notifier://?topic=dropped&policy=queue&max_queue_length=1"]);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    let listed = eventually("a gap", PATIENCE, || {
        let listed = agent.execute(&["gaps", "--json"]).code(0).stdout;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        listed.as_array().unwrap().iter().find(|gap| text(gap, "resource").len() == 36).cloned()
    });
    let (meter, resource) = (listed["meters"][0].as_str().unwrap(), text(&listed, "resource"));
    let dropped = gap(&agent, (meter, resource), "dropped");
    assert!(text(&dropped, "source").starts_with("out/notifier://"), "{dropped}");
    let explained = explain(&agent, meter, resource);
    let publisher = &explained["sinks"][0]["publishers"][0];
    assert_eq!((&publisher["acknowledged"], &publisher["confirmed"]), (&false.into(), &0.into()));
    assert!(publisher["dropped"]["policy"].as_u64().unwrap() > 0, "{publisher}");
    running.stop().code(69);
}

#[test]
fn samples_without_what_nova_knows() {
    let cloud = cloud();
    let agent = Agent::new("explain-nova")
        .libvirt("sim://?domains=3&seed=17")
        .set("host", "cloud-explain")
        .set("discovery", json!({"fetch_extra_metadata": true, "refresh": "1s"}))
        .set("service_credentials", cloud.password())
        .everything_to(&["test://"]);
    let _fault = cloud.nova_fault("cloud-explain", "429 Retry-After: 1");
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let listed = eventually("a gap", PATIENCE, || {
        let listed = agent.execute(&["gaps", "--json"]).code(0).stdout;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        listed.as_array().unwrap().first().cloned()
    });
    let uuid = text(&listed, "resource");
    // The gap of a cycle is stored behind the cycle.
    eventually("an open gap", PATIENCE, || {
        (gap(&agent, ("cpu", uuid), "metadata")["open"] == true).then_some(())
    });
    assert_eq!(text(&explain(&agent, "cpu", uuid), "status"), "present");
    running.stop().code(0);
}
