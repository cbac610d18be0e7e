//! The store in ClickHouse, with real servers: two of them have a part of all resources each, and are
//! killed under load.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::kills::{Sums, assert_sums, facts, recounted, sent};
use super::stored;
use crate::harness::clickhouse::ClickHouse;
use crate::harness::{
    Agent, Collector, Lab, PATIENCE, Running, api_of, eventually, faketime, request, scaled,
};

/// Two servers and a collector that stores there.
fn sharded(name: &str) -> ([ClickHouse; 2], Collector) {
    let collector = Collector::new(name);
    let servers = ["one", "two"].map(|server| ClickHouse::start(&collector.folder.at(server)));
    let urls = servers.each_ref().map(ClickHouse::url);
    let collector = collector.set("store.clickhouse", json!({"servers": urls, "timeout": "20s"}));
    (servers, collector)
}

/// Whether one of the collectors reports that a server is away.
fn reports_away(running: &[Running], url: &str) -> bool {
    running.iter().any(|one| {
        let reply = request(&api_of(one), "GET", "/health", &[], "");
        let servers = reply.body["servers"].as_array().cloned().unwrap_or_default();
        let away = json!({"server": url, "up": false});
        reply.status == 503
            && reply.body["store"].as_str().is_some_and(|store| store.contains(url))
            && servers
                .iter()
                .any(|server| (&server["server"], &server["up"]) == (&away["server"], &away["up"]))
    })
}

/// The sums by hour and day as the servers have them, after all are counted.
fn counted_sums(servers: &[ClickHouse; 2], collector: &Collector) -> Sums {
    let empty = collector.folder.write("empty", "");
    let mut command = collector.command(&["import", empty.to_str().unwrap()]);
    // Two days later.
    command.env("LD_PRELOAD", faketime()).env("FAKETIME", "+50h");
    collector.start(command).ended(PATIENCE).code(0).reports("ok: 0 stored");
    let mut found = Sums::new();
    for server in servers {
        let rows = server.query(
            "SELECT meter, resource_id, span, intDiv(start, 1000000), samples, total, \
             if(wholes > 0, toFloat64(whole_low), number_low), \
             if(wholes > 0, toFloat64(whole_high), number_high) FROM nephometer.rollup FINAL \
             FORMAT TSV",
        );
        for row in rows.unwrap().lines() {
            let columns: Vec<&str> = row.split('\t').collect();
            let length = [3_600, 86_400][columns[2].parse::<usize>().unwrap()];
            let start = columns[3].parse().unwrap();
            let key = (columns[0].to_owned(), columns[1].to_owned(), length, start);
            let sums = [4, 5, 6, 7].map(|at| columns[at].parse().unwrap());
            assert!(found.insert(key, sums).is_none(), "{row}");
        }
    }
    found
}

fn count(server: &ClickHouse, sql: &str) -> u64 {
    server.query(sql).unwrap().trim().parse().unwrap()
}

/// Starts two collectors, kills one server after the other, and now and then the collectors.
fn kill_in_turn(
    servers: &mut [ClickHouse; 2],
    collector: &Collector,
    rounds: usize,
    pause: &mut dyn FnMut(u64),
) -> [Running; 2] {
    let start = || {
        let pair = [collector.run(), collector.run()];
        pair.iter().for_each(|one| _ = api_of(one));
        pair
    };
    let mut pair = start();
    for round in 0..rounds {
        pause(1_000);
        let killed = round % 2;
        servers[killed].kill();
        if round % 3 == 1 {
            // A collector that has lost a server is killed itself.
            pause(1_000);
            for one in pair {
                one.signal(Signal::KILL);
                one.ended(PATIENCE);
            }
            servers[killed].restart();
            pair = start();
        } else {
            let away = servers[killed].url();
            eventually("the health names the server", PATIENCE, || {
                reports_away(&pair, &away).then_some(())
            });
            servers[killed].restart();
        }
    }
    pair
}

/// Two collectors and both servers are killed at random moments. Every sample in the ledger of
/// the agent is stored once, and the sums equal a recount.
#[test]
fn every_sample_is_stored_once_through_kills_of_servers() {
    let seed = std::env::var("NEPHOMETER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("NEPHOMETER_TEST_SEED={seed}");
    let mut pause = move |most: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(50 + (seed >> 33) % most));
    };
    let lab = Lab::up("clickhouse-kills-broker", &["--no-libvirt"]);
    let url = lab.amqp_url();
    let (mut servers, collector) = sharded("clickhouse-kills");
    let agent = Agent::new("clickhouse-kills-agent")
        .libvirt("sim://?domains=7&seed=5")
        .amqp(url)
        .set("amqp.queues", "durable")
        .set("shutdown_grace", "60s");
    let file = agent.folder.at("file");
    let agent = agent
        .everything_to(&["notifier://?topic=sharded", &format!("file://{}?json", file.display())]);
    let consumed = json!([{"url": url, "declare": "durable", "queues": ["sharded.sample"]}]);
    let collector = collector.set("brokers", consumed);
    let mut agents = agent.run();
    agents.wait_for_cycles(1);
    let rounds = scaled(8, 500);
    let pair = kill_in_turn(&mut servers, &collector, rounds, &mut pause);
    agents.wait_for_cycles(2);
    let ledger = agents.stop().code(0).ledger();
    let expected = sent(&file);
    let balance = ledger.publisher("notifier");
    let sent = u64::try_from(expected.len()).unwrap();
    assert_eq!((balance.samples, ledger.polled, balance.dropped), (sent, sent, 0), "{ledger:?}");
    eventually("the collector has all", PATIENCE, || {
        (stored(&collector).len() >= expected.len()).then_some(())
    });
    for running in pair {
        running.stop().code(0);
    }
    let found = facts(stored(&collector));
    assert!(found == expected, "{} stored, {} sent", found.len(), expected.len());
    assert_sums(&counted_sums(&servers, &collector), &recounted(&expected));
    let samples = |server| count(server, "SELECT count() FROM nephometer.sample FINAL");
    let parts = servers.each_ref().map(samples);
    assert!(parts.iter().all(|part| *part > 0), "each server has a part: {parts:?}");
    assert_eq!(parts.iter().sum::<u64>(), sent);
    let state = collector.state();
    assert_eq!((&state["samples"], &state["dead_letters"]), (&json!(sent), &json!(0)), "{state}");
    println!("{rounds} kills: {sent} samples");
}

/// What a store in ClickHouse refuses names the server and a remedy.
#[test]
fn problems_of_servers_have_place_and_remedy() {
    let (mut servers, collector) = sharded("clickhouse-problems");
    let none = collector.execute(&["status"]);
    none.code(69).reports("has no tables of a collector; start the collector");
    let lines = collector.folder.write("empty", "");
    collector.execute(&["import", lines.to_str().unwrap()]).code(0);
    collector.execute(&["status"]).code(0).reports("0 samples");
    let refused = collector.execute(&["backup", "copy"]);
    refused.code(69).reports("back up its servers by their own means");
    assert!(!Path::new("copy").exists());
    collector.execute(&["restore", "copy"]).code(69).reports("by their own means");
    let urls = servers.each_ref().map(ClickHouse::url);
    let [one, two] = &urls;
    let swapped = collector.set("store.clickhouse.servers", json!([two, one]));
    let wrong = swapped.execute(&["status"]);
    wrong.code(69).reports("write the servers in their first order");
    let collector = swapped.set("store.clickhouse.servers", json!([one, two]));
    let collector = collector.set("store.clickhouse.user", "nobody");
    collector.execute(&["status"]).code(69).reports("store.clickhouse");
    let collector = collector.set("store.clickhouse.user", "default");
    servers[1].kill();
    let away = collector.execute(&["status"]);
    away.code(69).reports(&format!("{two}: cannot be reached"));
    servers[1].restart();
    collector.execute(&["status"]).code(0);
}

/// A file of the agent with links of streams, and how many samples it has.
fn proved_file(name: &str) -> (Agent, std::path::PathBuf, usize) {
    let agent = Agent::new(name).libvirt("sim://?domains=3&seed=5");
    let file = agent.folder.at("proved.ndjson");
    let agent = agent.everything_to(&[&format!("file://{}?json&provable", file.display())]);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    running.stop().code(0);
    let lines = std::fs::read_to_string(&file).unwrap();
    let samples = lines.lines().filter(|line| line.contains("\"resource_id\"")).count();
    (agent, file, samples)
}

/// A store in files moves with everything in it, once, and is compared.
#[test]
fn a_store_in_files_moves_to_servers() {
    let (_agent, file, _) = proved_file("clickhouse-migrate-agent");
    let file = file.to_str().unwrap();
    let collector = Collector::new("clickhouse-migrate");
    collector.execute(&["migrate"]).code(64).reports("set store.clickhouse.servers");
    collector.execute(&["import", "--unsigned", file]).code(0);
    let (before, state) = (stored(&collector), collector.state());
    let servers = ["one", "two"].map(|server| ClickHouse::start(&collector.folder.at(server)));
    let urls = servers.each_ref().map(ClickHouse::url);
    let collector = collector.set("store.clickhouse", json!({"servers": urls}));
    let moved = collector.execute(&["migrate"]).code(0);
    let count = before.len();
    assert!(moved.stdout.contains(&format!("{count} samples, digest ")), "{}", moved.stdout);
    let again = collector.execute(&["migrate"]).code(0);
    assert!(again.stdout.contains(": was moved before"), "{}", again.stdout);
    assert!(stored(&collector) == before);
    let after = collector.state();
    for key in ["samples", "dead_letters", "counts"] {
        assert_eq!(after[key], state[key], "{key}: {after}");
    }
    let messages = |state: &serde_json::Value| -> u64 {
        let files = state["files"].as_array().unwrap();
        files.iter().map(|file| file["messages"].as_u64().unwrap()).sum()
    };
    assert_eq!(messages(&after), messages(&state));
    // What is there is known by its ids.
    let known = collector.execute(&["import", "--unsigned", file]).code(0);
    assert!(
        known.stdout.contains(&format!("ok: 0 stored, {count} duplicates")),
        "{}",
        known.stdout
    );
}

/// Every statement that the collector has sent to 18.16 runs on the present version.
#[test]
fn statements_run_on_the_present_version() {
    let (_agent, file, _) = proved_file("clickhouse-statements-agent");
    let (servers, collector) = sharded("clickhouse-statements");
    let file = file.to_str().unwrap();
    let keys = collector.folder.write("agents.pub", "");
    let collector = collector.set("audit.keys", keys.to_str().unwrap());
    collector.execute(&["import", "--unsigned", file]).code(0);
    collector.execute(&["import", "--unsigned", file]).code(0);
    counted_sums(&servers, &collector);
    for arguments in [
        &["query", "meters"][..],
        &["query", "resources", "--metadata", "name=x"],
        &["query", "samples", "--meter", "cpu", "--limit", "3"],
        &["query", "statistics", "--meter", "cpu", "--period", "3600", "--group", "project_id"],
        &["close-month", "2026-01"],
        &["corrections", "2026-01"],
        &["erase-project", "nobody", "--keep-erasing"],
        &["erase-project", "nobody", "--stop-erasing"],
        &["dead-letters", "ls"],
        &["dead-letters", "rm", "7"],
        &["status"],
    ] {
        collector.execute(arguments).code(0);
    }
    let audit = ["audit", "--project", "x", "--from", "2026-11-01", "--to", "2026-12-01"];
    collector.execute(&audit).code(1);
    let running = collector.run();
    let api = api_of(&running);
    for path in ["/v1/agents", "/v2/samples/3a5f2c1e-6821-11e5-9d70-fa163e000001"] {
        request(&api, "GET", path, &[], "");
    }
    running.stop().code(0);
    // The log of the server is written after a while.
    std::thread::sleep(Duration::from_secs(2));
    let mut lines = std::collections::BTreeSet::new();
    for server in &servers {
        let sql = "SELECT DISTINCT query FROM system.query_log WHERE type = 1 \
                   AND length(query) < 90000 AND query LIKE '%nephometer%' FORMAT JSONEachRow";
        for row in crate::harness::ndjson(&server.query(sql).unwrap()) {
            let query = row["query"].as_str().unwrap();
            let inserted = query.split(" FORMAT RowBinary").next().unwrap();
            let is_insert = query.starts_with("INSERT") && inserted.len() < query.len();
            if !query.contains("system.query_log") {
                let text =
                    if is_insert { format!("{inserted} FORMAT RowBinary") } else { query.into() };
                lines.insert(json!(text).to_string());
            }
        }
    }
    assert!(lines.len() > 60, "{} statements", lines.len());
    let text: String = lines.into_iter().map(|line| line + "\n").collect();
    let statements = collector.folder.write("statements", text);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/chdb");
    let done = std::process::Command::new(script).arg(&statements).output().unwrap();
    let (output, errors) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && output.contains("ok: "), "{output}{errors}");
    println!("{output}");
}
