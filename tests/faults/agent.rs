//! Faults of the agent and its disk: kills, and a store that is full, slow or read-only.

use std::fs;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::process::Signal;

use super::assert_all_delivered;
use crate::harness::{
    Agent, Consumer, Lab, PATIENCE, Proxy, broker, closed_port, eventually, public_keys, scaled,
    text,
};

/// A reproducible pseudorandom generator.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, end: u64) -> u64 {
        // Knuth's linear congruential generator. Its upper bits are good enough for delays.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[test]
fn kill_at_any_moment_loses_and_duplicates_nothing() {
    let seed = std::env::var("NEPHOMETER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("NEPHOMETER_TEST_SEED={seed}");
    let mut random = Lcg(seed);
    let lab = Lab::up("faults-kill", &["--no-libvirt"]);
    let raw = Consumer::acknowledging(lab.amqp_url(), "raw");
    let rates = Consumer::acknowledging(lab.amqp_url(), "rates");
    let agent = Agent::new("faults-kill").amqp(lab.amqp_url()).set("amqp.queues", "durable");
    let agent = agent.set("shutdown_grace", "30s").pipeline(
        "sources: [{name: s, interval: 1, meters: ['*'], sinks: [raw, rates]}]\n\
         sinks:\n\
         - {name: raw, publishers: ['notifier://?topic=raw']}\n\
         - {name: rates, transformers: [{name: rate_of_change, parameters: {target: {name: cpu_util, type: gauge}}}], publishers: ['notifier://?topic=rates']}\n",
    );
    let (rounds, outages) = (scaled(20, 1_000), 7);
    for round in 0..rounds {
        let running = agent.run();
        match round % outages {
            2 => lab.kill_amqp(),
            5 => lab.signal_amqp("-STOP"),
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(100 + random.below(1_500)));
        running.signal(Signal::KILL);
        running.ended(PATIENCE);
        match round % outages {
            3 => lab.start_amqp(),
            5 => lab.signal_amqp("-CONT"),
            _ => {}
        }
    }
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ledger = running.stop().code(0).ledger();
    assert!(ledger.polled > 0, "{ledger:?}");
    assert_eq!(ledger.publisher("topic=raw").samples, ledger.polled);
    assert_all_delivered(&public_keys(&agent), &raw, &ledger, "topic=raw");
    let rates = assert_all_delivered(&public_keys(&agent), &rates, &ledger, "topic=rates");
    assert!(rates.iter().all(|sample| text(sample, "name") == "cpu_util"));
    println!("{rounds} kills: {} samples, {} rates", ledger.polled, rates.len());
}

/// A transformer that emits nothing once lost its counts at every kill: the offset moved with the
/// next batch, the counts only with published samples (1,800 samples in, 700 counted).
#[test]
fn kill_loses_no_counts_of_transformers_that_emit_nothing() {
    let mut random = Lcg(u64::from(std::process::id()));
    let out = |sink: &str, transformers: &str| {
        format!("- {{name: {sink}, transformers: [{transformers}], publishers: ['test://']}}\n")
    };
    let keeps = "{name: aggregator, parameters: {size: 1000000}}";
    let rarely = "{name: accumulator, parameters: {size: 70}}";
    let passes = "{name: rate_of_change, parameters: {target: {name: cpu_util}}}";
    let sources = ["a", "b", "c", "d"].map(|name| {
        format!("{{name: {name}, interval: 1, meters: [cpu, vcpus], sinks: [keeps, rarely, both]}}")
    });
    let agent = Agent::new("faults-counts").libvirt("sim://?domains=5&seed=1").pipeline(&format!(
        "sources: [{}]\nsinks:\n{}{}{}",
        sources.join(", "),
        out("keeps", keeps),
        out("rarely", rarely),
        out("both", &format!("{passes}, {keeps}")),
    ));
    // The first run compiles the components; until then batches are not processed.
    let mut running = agent.run();
    running.wait_for_cycles(2);
    running.stop().code(0);
    for _ in 0..scaled(10, 200) {
        let running = agent.run();
        std::thread::sleep(Duration::from_millis(300 + random.below(1_700)));
        running.signal(Signal::KILL);
        running.ended(PATIENCE);
    }
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ledger = running.stop().code(0).ledger();
    assert!(ledger.polled > 100, "{ledger:?}");
    for sink in ["keeps", "rarely", "both"] {
        let balance = &ledger.sinks[sink];
        assert_eq!((balance.entered, balance.left), (ledger.polled, ledger.polled), "{sink}");
    }
    for first in ["keeps/aggregator", "rarely/accumulator", "both/rate_of_change"] {
        assert_eq!(ledger.transformers[first].samples_in, ledger.polled, "{first}: {ledger:?}");
    }
    let [before, after] =
        ["both/rate_of_change", "both/aggregator"].map(|one| &ledger.transformers[one]);
    assert_eq!(before.samples_out, after.samples_in, "{ledger:?}");
    assert_eq!(after.absorbed, after.samples_in, "{ledger:?}");
}

#[test]
fn full_disk_of_the_store_loses_nothing() {
    let port = closed_port();
    let agent = Agent::new("faults-full")
        .amqp(&format!("amqp://guest:guest@127.0.0.1:{port}/%2f"))
        .set("shutdown_grace", "30s");
    let disk = agent.folder.at("disk");
    fs::create_dir(&disk).unwrap();
    let agent = agent
        .set("store.path", disk.join("store").display().to_string())
        .everything_to(&["notifier://?topic=disk"]);
    let mut running = agent.run_on_small_disk(&disk, "1m", 700_000);
    running.wait_for_cycles(1);
    // The mount ends with the agent's namespace; an open folder keeps it.
    let root = fs::File::open(format!("/proc/{}/root{}", running.pid(), disk.display())).unwrap();
    eventually("a full disk", PATIENCE, || {
        (!running.logged("store write failed").is_empty()).then_some(())
    });
    running.wait_for_cycles(2);
    // Free the disk, then provide a broker.
    fs::remove_file(format!("/proc/self/fd/{}/ballast", root.as_raw_fd())).unwrap();
    eventually("a writable store", PATIENCE, || {
        (!running.logged("store writable again").is_empty()).then_some(())
    });
    let _proxy = Proxy::at(port, broker().amqp_port());
    let consumer = Consumer::new(broker().amqp_url(), "disk");
    // The store is out of reach once the agent has ended.
    let keys = public_keys(&agent);
    let ledger = running.stop().code(0).ledger();
    assert_eq!(ledger.publisher("notifier").samples, ledger.polled);
    assert_all_delivered(&keys, &consumer, &ledger, "notifier");
}

#[test]
fn slow_disk_skips_no_cycle_and_loses_nothing() {
    let agent = Agent::new("faults-slow").amqp(broker().amqp_url());
    let agent = agent
        .preload("disk", &[("FAULT_SYNC_MS", "50")])
        .everything_to(&["notifier://?topic=slow"]);
    let consumer = Consumer::new(broker().amqp_url(), "slow");
    let mut running = agent.run();
    running.wait_for_cycles(4);
    let ended = running.stop().code(0);
    assert!(ended.logged("polling cycle skipped").is_empty());
    assert_all_delivered(&public_keys(&agent), &consumer, &ended.ledger(), "notifier");
}

#[test]
fn read_only_disk_is_retried() {
    let agent = Agent::new("faults-readonly").amqp(broker().amqp_url());
    let flag = agent.folder.at("readonly");
    let agent = agent
        .preload("disk", &[("FAULT_READONLY", flag.to_str().unwrap())])
        .everything_to(&["notifier://?topic=readonly"]);
    let consumer = Consumer::new(broker().amqp_url(), "readonly");
    let mut running = agent.run();
    running.wait_for_cycles(1);
    fs::write(&flag, "").unwrap();
    let wait_for_log = |message: &str| {
        eventually(message, PATIENCE, || (!running.logged(message).is_empty()).then_some(()));
    };
    wait_for_log("store write failed");
    running.wait_for_cycles(2);
    fs::remove_file(&flag).unwrap();
    eventually("a writable store", PATIENCE, || {
        (!running.logged("store writable again").is_empty()).then_some(())
    });
    running.wait_for_cycles(1);
    let ledger = running.stop().code(0).ledger();
    assert_eq!(ledger.publisher("notifier").samples, ledger.polled);
    assert_all_delivered(&public_keys(&agent), &consumer, &ledger, "notifier");
}
