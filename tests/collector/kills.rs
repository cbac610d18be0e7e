//! Kills and full disks: every sample in the ledger of the agent is stored exactly once, and the sums
//! by hour and day equal a recount.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{moment, stored};
use crate::harness::{
    Agent, Collector, Consumer, Lab, PATIENCE, Running, api_of, broker, eventually, faketime,
    ndjson, request, scaled, text,
};

/// A sample as both sides have it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fact {
    meter: String,
    resource: String,
    time: jiff::Timestamp,
    volume: Option<f64>,
}

/// What the agent has sent, by id: the file has it from a second publisher.
pub(super) fn sent(file: &Path) -> BTreeMap<String, Fact> {
    let lines = std::fs::read_to_string(file).unwrap();
    let facts = ndjson(&lines).into_iter().map(|sample| {
        let fact = Fact {
            meter: text(&sample, "name").to_owned(),
            resource: text(&sample, "resource_id").to_owned(),
            time: moment(&sample["timestamp"]),
            volume: sample["volume"].as_f64(),
        };
        (text(&sample, "id").to_owned(), fact)
    });
    facts.collect()
}

pub(super) fn facts(samples: BTreeMap<String, Value>) -> BTreeMap<String, Fact> {
    let facts = samples.into_iter().map(|(id, sample)| {
        let fact = Fact {
            meter: text(&sample, "meter").to_owned(),
            resource: text(&sample, "resource_id").to_owned(),
            time: moment(&sample["timestamp"]),
            volume: sample["volume"].as_f64(),
        };
        (id, fact)
    });
    facts.collect()
}

/// Sums by meter, resource, length in seconds and start.
pub(super) type Sums = BTreeMap<(String, String, i64, i64), [f64; 4]>;

const READ: &str = r#"
import datetime, json, pathlib, sqlite3, sys
for path in pathlib.Path(sys.argv[1]).glob("????-??.*.db"):
    base = datetime.datetime.strptime(path.name[:7] + "+0000", "%Y-%m%z").timestamp()
    sql = ("SELECT m.name, r.resource_id, u.span, u.start, u.stale, u.row_count, u.sum, u.min, u.max FROM rollup u "
           "JOIN series s ON s.id = u.series JOIN meter m ON m.id = s.meter JOIN resource r ON r.id = s.resource")
    file = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    for name, resource, span, start, stale, *sums in file.execute(sql):
        print(json.dumps([name, resource, [3600, 86400][span], int(base) + start // 10**6, stale, sums]))
    # Those of projects are the sums of these; few have none.
    sql = ("SELECT s.project_meter, u.span, u.start, 0, sum(u.row_count), sum(u.volume_count), total(u.sum), min(u.min), "
           "max(u.max), min(u.first_time), max(u.last_time) FROM rollup u JOIN series s ON s.id = u.series "
           "GROUP BY 1, 2, 3 HAVING count(*) >= 8 ORDER BY 1, 2, 3")
    added = file.execute(sql).fetchall()
    found = file.execute("SELECT * FROM project_rollup ORDER BY 1, 2, 3").fetchall()
    if not found or found != added:
        sys.exit(f"sums of projects: {set(found) ^ set(added)} of {len(added)}")
"#;

/// Lets the collector count the sums of all hours and days as if they were over, and returns them as
/// the files have them.
fn counted_sums(collector: &Collector, store: &Path) -> Sums {
    let library = faketime();
    let empty = collector.folder.write("empty", "");
    let mut command = collector.command(&["import", empty.to_str().unwrap()]);
    // Two days later.
    command.env("LD_PRELOAD", library).env("FAKETIME", "+50h");
    collector.start(command).ended(PATIENCE).code(0).reports("ok: 0 stored");
    let output = Command::new("python3").args(["-c", READ]).arg(store).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found = Sums::new();
    for row in ndjson(&String::from_utf8(output.stdout).unwrap()) {
        assert_eq!(row[4], 0, "stale: {row}");
        let key = (
            row[0].as_str().unwrap().to_owned(),
            row[1].as_str().unwrap().to_owned(),
            row[2].as_i64().unwrap(),
            row[3].as_i64().unwrap(),
        );
        let sums = [0, 1, 2, 3].map(|at| row[5][at].as_f64().unwrap_or(f64::NAN));
        assert!(found.insert(key, sums).is_none(), "{row}");
    }
    found
}

/// The same from the samples themselves.
pub(super) fn recounted(facts: &BTreeMap<String, Fact>) -> Sums {
    let mut sums = Sums::new();
    for fact in facts.values() {
        for length in [3_600, 86_400] {
            let start = fact.time.as_second().div_euclid(length) * length;
            let key = (fact.meter.clone(), fact.resource.clone(), length, start);
            let empty = [0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY];
            let entry = sums.entry(key).or_insert(empty);
            let volume = fact.volume.unwrap();
            *entry =
                [entry[0] + 1.0, entry[1] + volume, entry[2].min(volume), entry[3].max(volume)];
        }
    }
    sums
}

pub(super) fn assert_sums(found: &Sums, expected: &Sums) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (key, sums) in found {
        let expected = &expected[key];
        let close = (sums[1] - expected[1]).abs() <= expected[1].abs() * 1e-12;
        let exact = [0, 2, 3].iter().all(|at| sums[*at].to_bits() == expected[*at].to_bits());
        assert!(close && exact, "{key:?}: {sums:?}, {expected:?}");
    }
}

/// Two collectors with one store and one queue, the agent, and the broker are killed at random moments,
/// each alone and all at once.
#[test]
fn every_sample_is_stored_once_through_kills() {
    let seed = std::env::var("NEPHOMETER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("NEPHOMETER_TEST_SEED={seed}");
    let mut pause = move |most: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(50 + (seed >> 33) % most));
    };
    let lab = Lab::up("collector-kills-broker", &["--no-libvirt"]);
    let url = lab.amqp_url();
    let agent = Agent::new("collector-kills-agent")
        .libvirt("sim://?domains=7&seed=5")
        .amqp(url)
        .set("amqp.queues", "durable")
        .set("shutdown_grace", "60s");
    let file = agent.folder.at("file");
    let agent = agent
        .everything_to(&["notifier://?topic=kept", &format!("file://{}?json", file.display())]);
    let consumed = json!([{"url": url, "declare": "durable", "queues": ["kept.sample"]}]);
    let collector = Collector::new("collector-kills").set("brokers", consumed);
    let kill = |running: Running| {
        running.signal(Signal::KILL);
        running.ended(PATIENCE);
    };
    let mut agents = agent.run();
    agents.wait_for_cycles(1);
    let mut pair = [collector.run(), collector.run()];
    let rounds = scaled(20, 1_000);
    for round in 0..rounds {
        pause(1_500);
        let [broker_too, all] = [round % 10 == 3, round % 10 == 7];
        if broker_too || all {
            lab.kill_amqp();
            pause(1_000);
        }
        if round % 2 == 0 || all {
            pair.into_iter().for_each(kill);
            pair = [collector.run(), collector.run()];
        }
        if round % 5 == 1 || all {
            kill(agents);
            agents = agent.run();
        }
        if broker_too || all {
            lab.start_amqp();
        }
    }
    agents.wait_for_cycles(2);
    let ledger = agents.stop().code(0).ledger();
    let expected = sent(&file);
    let balance = ledger.publisher("notifier");
    let count = u64::try_from(expected.len()).unwrap();
    assert_eq!((balance.samples, ledger.polled, balance.dropped), (count, count, 0), "{ledger:?}");
    eventually("the collector has all", PATIENCE, || {
        (stored(&collector).len() >= expected.len()).then_some(())
    });
    for running in pair {
        running.stop().code(0);
    }
    assert_complete(&collector, &expected);
    println!("{rounds} kills: {count} samples");
}

/// Every sample is stored once with its values, the sums equal a recount, and the stream is whole.
fn assert_complete(collector: &Collector, expected: &BTreeMap<String, Fact>) {
    let found = facts(stored(collector));
    assert!(found == *expected, "{} stored, {} sent", found.len(), expected.len());
    assert_sums(&counted_sums(collector, &collector.folder.at("store")), &recounted(expected));
    let state = collector.state();
    let files = state["files"].as_array().unwrap();
    let messages: u64 = files.iter().map(|file| file["messages"].as_u64().unwrap()).sum();
    assert!(messages > 10, "the stream is kept with its records: {state}");
    assert_eq!(state["dead_letters"], 0, "{state}");
}

fn health(api: &str) -> (u16, Value) {
    let reply = request(api, "GET", "/health", &[], "");
    (reply.status, reply.body)
}

/// Runs a script where the disk of a collector is: it exists in its namespace only.
fn beside(running: &Running, script: &str) {
    let pid = running.pid().as_raw_nonzero().to_string();
    let done = Command::new("nsenter").args(["-t", &pid, "-m", "sh", "-c", script]).status();
    assert!(done.unwrap().success(), "{script}");
}

/// A full disk stops acknowledgement and shows in the health; with room again everything is stored,
/// without a restart.
#[test]
fn a_full_disk_stops_acknowledgement_and_loses_nothing() {
    let url = broker().amqp_url();
    let witness = Consumer::new(url, "fullwitness");
    let agent = Agent::new("collector-full-agent")
        .libvirt("sim://?domains=40&seed=3")
        .amqp(url)
        .everything_to(&["notifier://?topic=full&topic=fullwitness"]);
    let collector = Collector::new("collector-full").consuming(url, &["full"]);
    let disk = collector.folder.at("disk");
    std::fs::create_dir(&disk).unwrap();
    let collector = collector.set("store.path", disk.join("store").to_str().unwrap());
    let running = collector.run_on_small_disk(&disk, "300m", 1 << 10);
    let api = api_of(&running);
    let mut agents = agent.run();
    let rounds = scaled(3, 50);
    for round in 1..=rounds {
        beside(&running, &format!("cat /dev/zero > '{}/ballast'; true", disk.display()));
        eventually("the disk is full", PATIENCE, || {
            let lines = running.logged("collector store failed, acknowledging nothing");
            (lines.len() == round).then_some(())
        });
        let (status, state) = health(&api);
        assert_eq!((status, state["healthy"].as_bool()), (503, Some(false)), "{state}");
        let reason = state["store"].as_str().unwrap();
        assert!(reason.contains("full") || reason.contains("I/O"), "{reason}");
        agents.wait_for_cycles(round * 2);
        beside(&running, &format!("rm '{}/ballast'", disk.display()));
        eventually("the store recovered", PATIENCE, || {
            (running.logged("collector store recovered").len() == round).then_some(())
        });
    }
    agents.stop().code(0);
    let expected: BTreeMap<String, Value> = witness
        .samples()
        .into_iter()
        .map(|sample| (text(&sample, "id").to_owned(), sample))
        .collect();
    let found = eventually("all samples", PATIENCE, || {
        let found = request(&api, "GET", "/v2/samples?limit=1000000", &[], "").body;
        let found = found.as_array().unwrap().clone();
        (found.len() >= expected.len()).then_some(found)
    });
    assert_eq!(found.len(), expected.len());
    for sample in &found {
        let sent = &expected[text(sample, "id")];
        assert_eq!(sample["volume"].as_f64(), sent["counter_volume"].as_f64(), "{sample}");
    }
    assert_eq!(health(&api).0, 200);
    running.stop().code(0);
}
