//! `prometheus_remote_write` against a real Prometheus and a real VictoriaMetrics: content, retries,
//! samples that the receiver refuses for good, and the end of series.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Agent, Folder, Server, closed_port, ndjson, number, root, text};

/// The samples of one series by time, in milliseconds.
type SamplesByTime = BTreeMap<i64, f64>;
/// By name of the metric and id of the resource.
type AllSeries = BTreeMap<(String, String), SamplesByTime>;

/// A query that returns all samples that there are, at a time after all of them.
const EVERYTHING: &str = "query=%7B__name__%21%3D%22%22%7D%5B90y%5D";

fn prometheus(folder: &Folder, port: u16) -> Command {
    let config = folder.write("prometheus.yml", "global: {scrape_interval: 1h}\n");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.at("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    // The samples of recordings are older than the usual retention.
    command.args(["--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=90y"]);
    command
}

fn victoria_metrics(folder: &Folder, port: u16) -> Command {
    let mut command = Command::new("victoria-metrics");
    command.arg(format!("-storageDataPath={}", folder.at("data").display()));
    command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
    command.args(["-retentionPeriod=90y", "-memory.allowedBytes=64MB"]);
    command
}

fn url(port: u16, query: &str) -> String {
    format!("prometheus_remote_write://127.0.0.1:{port}/api/v1/write{query}")
}

/// An agent that publishes to these, and to a file.
fn agent(name: &str, meters: &str, publishers: &[&str]) -> Agent {
    let agent = Agent::new(&format!("remote-write-{name}")).set("shutdown_grace", "20s");
    let file = format!("file://{}?json", agent.folder.at("file").display());
    let publishers: Vec<&str> = publishers.iter().copied().chain([file.as_str()]).collect();
    agent.pipeline(&format!(
        "sources: [{{name: s, interval: 1, meters: {meters}, sinks: [out]}}]\n\
         sinks: [{{name: out, publishers: {publishers:?}}}]\n"
    ))
}

/// The series that the samples of the agent's file are, with the names of Prometheus.
fn sent(agent: &Agent) -> AllSeries {
    let mut all = AllSeries::new();
    for sample in ndjson(&fs::read_to_string(agent.folder.at("file")).unwrap()) {
        let name = text(&sample, "name").replace(['.', '-'], "_");
        let key = (name, text(&sample, "resource_id").to_owned());
        let time: jiff::Timestamp = format!("{}Z", text(&sample, "timestamp")).parse().unwrap();
        all.entry(key).or_default().insert(time.as_millisecond(), number(&sample));
    }
    all
}

fn labels(metric: &Value, prefix: &str) -> (String, String) {
    let name = text(metric, "__name__").strip_prefix(prefix).unwrap();
    (name.to_owned(), text(metric, "resource_id").to_owned())
}

/// What Prometheus has.
fn in_prometheus(server: &Server, prefix: &str) -> AllSeries {
    let answer: Value = answer_of(server, EVERYTHING);
    let series = answer["data"]["result"].as_array().unwrap().iter();
    series
        .map(|one| {
            let samples = one["values"].as_array().unwrap().iter().map(|sample| {
                let time = (sample[0].as_f64().unwrap() * 1_000.0).round();
                #[expect(clippy::cast_possible_truncation, reason = "milliseconds of this century")]
                (time as i64, sample[1].as_str().unwrap().parse().unwrap())
            });
            (labels(&one["metric"], prefix), samples.collect())
        })
        .collect()
}

fn answer_of(server: &Server, query: &str) -> Value {
    let body = server.body(&format!("/api/v1/query?{query}"));
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// What VictoriaMetrics has.
fn in_victoria_metrics(server: &Server) -> AllSeries {
    // New samples are shown after they are flushed.
    server.get("/internal/force_flush");
    let lines = server.body("/api/v1/export?match%5B%5D=%7B__name__%21%3D%22%22%7D");
    let series = ndjson(&lines).into_iter();
    series
        .map(|one| {
            let times = one["timestamps"].as_array().unwrap().iter();
            let values = one["values"].as_array().unwrap().iter();
            let samples = times
                .zip(values)
                .map(|(time, value)| (time.as_i64().unwrap(), value.as_f64().unwrap()));
            (labels(&one["metric"], ""), samples.collect())
        })
        .collect()
}

fn check(got: &AllSeries, wanted: &AllSeries) {
    assert!(wanted.len() > 10, "{} series", wanted.len());
    let names = |all: &AllSeries| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(got), names(wanted));
    for (series, samples) in wanted {
        assert_eq!(&got[series], samples, "{series:?}");
    }
}

#[test]
fn every_sample_of_a_recording_is_in_prometheus_and_victoria_metrics() {
    let one = Server::start("prometheus", prometheus);
    let other = Server::start("victoria-metrics", victoria_metrics);
    let prefixed = url(one.port, "?prefix=ceilometer_");
    let recording = root().join("tests/golden/27.0.0").canonicalize().unwrap();
    let agent = agent("all", "['*']", &[&prefixed, &url(other.port, "")])
        .libvirt(&format!("replay://{}", recording.display()))
        .set("components.by_name.prometheus_remote_write.options.labels.flavor", "flavor.name")
        .set("components.by_name.prometheus_remote_write.options.fixed_labels.region", "north");
    let ended = agent.execute(&["run"]).code(0);
    for publisher in [one.port, other.port] {
        let count = ended.ledger().publisher(&publisher.to_string()).clone();
        assert_eq!((count.pending, count.dropped), (0, 0), "{}", ended.stderr);
    }
    let wanted = sent(&agent);
    check(&in_prometheus(&one, "ceilometer_"), &wanted);
    check(&in_victoria_metrics(&other), &wanted);
    // The labels that were configured, and the owner.
    let selected = "%7Bflavor%3D%22m1.tiny%22%2Cregion%3D%22north%22%2Cproject_id%21%3D%22%22%7D";
    let answer = answer_of(&one, &format!("query=count(last_over_time({selected}%5B90y%5D))"));
    let count = answer["data"]["result"][0]["value"][1].as_str().unwrap_or("0");
    assert!(count.parse::<u32>().unwrap() > 10, "{answer}");
}

#[test]
fn samples_wait_for_a_receiver_that_is_away() {
    let port = closed_port();
    let agent = agent("away", "['*']", &[&url(port, "")]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let server = Server::start_at(port, "prometheus", prometheus);
    running.wait_for_cycles(1);
    let ended = running.stop().code(0);
    let count = ended.ledger().publisher("remote_write").clone();
    assert_eq!((count.pending, count.dropped), (0, 0), "{}", ended.stderr);
    check(&in_prometheus(&server, ""), &sent(&agent));
}

/// Prometheus refuses a whole request if one of its samples is older than the newest of its series.
#[test]
fn series_that_are_out_of_order_do_not_cost_the_others() {
    let port = closed_port();
    let late = agent("late", "['*']", &[&url(port, "")]).set("shutdown_grace", "1s");
    let mut running = late.run();
    running.wait_for_cycles(1);
    running.stop().code(69);
    // Another agent has written newer samples of some of the same series.
    let server = Server::start_at(port, "prometheus", prometheus);
    let first = agent("first", "['cpu']", &[&url(port, "")]);
    let mut running = first.run();
    running.wait_for_cycles(1);
    running.stop().code(0);
    let before = in_prometheus(&server, "");
    assert_eq!(before, sent(&first));

    let was_late = sent(&late);
    let late = late.set("shutdown_grace", "20s");
    let mut running = late.run();
    running.wait_for_cycles(1);
    let ended = running.stop().code(0).reports("out of order sample");
    let count = ended.ledger().publisher("remote_write").clone();
    assert!(count.pending == 0 && count.dropped > 0, "{count:?}");
    let after = in_prometheus(&server, "");
    for ((name, resource), samples) in &was_late {
        let got = &after[&(name.clone(), resource.clone())];
        for (time, value) in samples {
            let wanted = (name != "cpu").then_some(value);
            assert_eq!(got.get(time), wanted, "{name} of {resource} at {time}");
        }
    }
}

#[test]
fn the_series_of_a_removed_domain_end_at_once() {
    // That of instance-000001.
    const REMOVED: &str = "ba5ccace-12f3-10f5-5063-5c6cd734155f";
    let server = Server::start("prometheus", prometheus);
    let folder = Folder::new("remote-write-removed");
    let golden = root().join("tests/golden/27.0.0");
    fs::create_dir(folder.at("domstats")).unwrap();
    fs::create_dir(folder.at("xml")).unwrap();
    for file in fs::read_dir(golden.join("xml")).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), folder.at("xml").join(file.file_name())).unwrap();
    }
    let statistics = fs::read_to_string(golden.join("domstats/1795380803.895156065.txt")).unwrap();
    let blocks: Vec<&str> = statistics.split_inclusive("\n\n").collect();
    let without = |name: &str| {
        let kept = blocks.iter().filter(|block| !block.contains(&format!("'{name}'")));
        kept.copied().collect::<String>()
    };
    folder.write("domstats/1795380800.000000000.txt", &statistics);
    folder.write("domstats/1795380860.000000000.txt", without("instance-000001"));
    let agent = agent("removed", "['*']", &[&url(server.port, "")])
        .libvirt(&format!("replay://{}", folder.path().display()));
    let ended = agent.execute(&["run"]).code(0);
    assert_eq!(ended.ledger().publisher("remote_write").dropped, 0, "{}", ended.stderr);

    let resources = |time: u32| -> Vec<String> {
        let answer = answer_of(&server, &format!("query=%7B__name__%21%3D%22%22%7D&time={time}"));
        let mut ids: Vec<String> = answer["data"]["result"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| text(&one["metric"], "resource_id").to_owned())
            .collect();
        ids.sort();
        ids.dedup();
        ids
    };
    let (before, after) = (resources(1_795_380_859), resources(1_795_380_861));
    let ended: Vec<&String> = before.iter().filter(|id| !after.contains(id)).collect();
    // The instance, its disks and its interfaces.
    assert!(ended.len() > 2, "{ended:?}");
    assert!(ended.iter().all(|id| id.contains(REMOVED)), "{ended:?}");
    assert!(!after.is_empty());
}
