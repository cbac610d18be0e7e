//! Devices that libvirt has no numbers for are gaps: in a recording, and with a real guest.

use std::fs;

use regex::Regex;
use serde_json::Value;

use crate::harness::{Agent, Lab, PATIENCE, eventually, root, text};

/// The interface of a guest with SR-IOV, as libvirt describes it.
const SR_IOV: &str = "<interface type='hostdev' managed='yes'><mac address='fa:16:3e:00:00:01'/>\
    <source><address type='pci' domain='0x0000' bus='0x3b' slot='0x02' function='0x1'/></source>\
    </interface>";
/// One that passes libvirt by.
const USER: &str = "<interface type='user'><mac address='fa:16:3e:00:00:02'/>\
    <model type='virtio'/></interface>";
const DOMAIN: &str = "11111111-2222-4333-8444-555555555555";

fn gaps(agent: &Agent) -> Vec<Value> {
    let listed = agent.execute(&["gaps", "--json"]).code(0).stdout;
    serde_json::from_str(&listed).unwrap()
}

/// The gaps of interfaces. A busy machine may have others.
fn of_interfaces(agent: &Agent) -> Vec<Value> {
    let mut gaps = gaps(agent);
    gaps.retain(|gap| text(gap, "reason") == "no_interface_statistics");
    gaps
}

fn meters(gap: &Value) -> Vec<&str> {
    gap["meters"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect()
}

#[test]
fn each_kind_of_device_without_numbers_is_one_gap() {
    let golden = root().join("tests/golden/27.0.0");
    let statistics = fs::read_to_string(golden.join("domstats/1795380803.895156065.txt")).unwrap();
    let mut sections = statistics.split("Domain: ");
    let section = sections.find(|one| one.starts_with("'peers-new-0'")).unwrap();
    let xml = fs::read_to_string(golden.join(format!("xml/{DOMAIN}.xml"))).unwrap();
    // The name of the disk stays: libvirt lists it, and has no counters of it.
    let uncounted = Regex::new(r"(?m)^  (net\.|block\.0\.(rd|wr|fl)\.).*\n").unwrap();
    let interface = Regex::new(r"(?s)<interface .*</interface>").unwrap();
    let agent = Agent::new("devices-recording").everything_to(&["test://"]);
    fs::create_dir_all(agent.folder.at("recording/xml")).unwrap();
    fs::create_dir_all(agent.folder.at("recording/domstats")).unwrap();
    let xml = interface.replace(&xml, SR_IOV);
    assert!(xml.contains(SR_IOV));
    agent.folder.write(&format!("recording/xml/{DOMAIN}.xml"), xml.as_bytes());
    let section = format!("Domain: {}", uncounted.replace_all(section, ""));
    assert!(section.contains("block.0.name") && !section.contains("block.0.rd"), "{section}");
    for time in [1_795_380_800, 1_795_380_810, 1_795_380_820] {
        agent.folder.write(&format!("recording/domstats/{time}.000000000.txt"), &section);
    }
    let recording = format!("replay://{}", agent.folder.at("recording").display());
    let agent = agent.libvirt(&recording);
    agent.execute(&["run"]).code(0);

    let mut gaps = gaps(&agent);
    gaps.sort_by_key(|gap| text(gap, "reason").to_owned());
    let [disk, interface] = &gaps[..] else { panic!("{gaps:#?}") };
    assert_eq!(text(disk, "reason"), "no_disk_statistics");
    assert_eq!(text(interface, "reason"), "no_interface_statistics");
    assert!(meters(disk).contains(&"disk.device.read.bytes"), "{disk}");
    assert!(meters(interface).contains(&"network.incoming.bytes"), "{interface}");
    assert!(meters(interface).iter().all(|meter| meter.starts_with("network.")), "{interface}");
    for gap in [disk, interface] {
        assert_eq!(text(gap, "resource"), DOMAIN);
        assert_eq!(gap["seconds"].as_f64(), Some(20.0), "from the first cycle to the last: {gap}");
    }
}

#[test]
fn an_interface_that_is_attached_to_a_guest_may_have_no_numbers() {
    let lab = Lab::up(
        "lab-devices",
        &["--linux", "0", "--idle", "1", "--paused", "0", "--off", "0", "--no-amqp"],
    );
    let agent = Agent::new("devices-guest").libvirt(lab.libvirt_uri()).everything_to(&["test://"]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    assert!(of_interfaces(&agent).is_empty(), "{:#?}", gaps(&agent));
    let file = agent.folder.write("interface.xml", USER);
    lab.virsh(&["attach-device", "idle-1", file.to_str().unwrap(), "--live"]);
    let uuid = lab.virsh(&["domuuid", "idle-1"]).trim().to_owned();
    let found = eventually("a gap", PATIENCE, || of_interfaces(&agent).pop());
    assert_eq!(text(&found, "reason"), "no_interface_statistics");
    assert_eq!(text(&found, "resource"), uuid);
    running.wait_for_cycles(3);
    assert_eq!(of_interfaces(&agent).len(), 1, "{:#?}", gaps(&agent));

    let arguments = ["explain", "network.incoming.bytes", "idle-1", "--json"];
    let explained = agent.execute(&arguments).code(0).stdout;
    let explained: Value = serde_json::from_str(&explained).unwrap();
    let gaps = explained["gaps"].as_array().unwrap();
    let gap = gaps.iter().find(|gap| text(gap, "reason") == "no_interface_statistics").unwrap();
    assert_eq!(gap["open"], true);
    assert!(text(gap, "text").contains("SR-IOV"), "{gap}");
    running.stop().code(0);
}
