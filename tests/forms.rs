//! The forms of configuration that Ceilometer has had, and the roles of its two agents.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::{Agent, Arrival, Consumer, broker, keys, ndjson, root, text, verify};

fn agent(name: &str) -> Agent {
    let folder = root().join("tests/golden/27.0.0").canonicalize().unwrap();
    Agent::new(name)
        .libvirt(&format!("replay://{}", folder.display()))
        .set("libvirt.unowned", false)
}

const TAKING: &str = "
sources:
- {name: raw_source, interval: ignored, meters: ['*'], sinks: [raw]}
- {name: cpu_source, interval: ignored, meters: [cpu], sinks: [rates, raw]}
sinks:
- {name: raw, publishers: ['notifier://']}
- name: rates
  transformers: [{name: rate_of_change, parameters: {target: {name: cpu_util}}}]
  publishers: ['notifier://']
";

/// The number of samples of each meter that a sink receives in two polling cycles.
fn counts(agent: &Agent, sink: &str, more: &[&str]) -> BTreeMap<String, usize> {
    let arguments = ["once", "--samples", "2", "--format", "ndjson", "--sink", sink];
    let ended = agent.execute(&[&arguments[..], more].concat()).code(0);
    let mut counts = BTreeMap::new();
    for sample in ndjson(&ended.stdout) {
        *counts.entry(text(&sample, "name").to_owned()).or_default() += 1;
    }
    counts
}

fn expected<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    counts.map(|(name, count)| (name.to_owned(), count)).into()
}

#[test]
fn samples_go_to_every_matching_pipeline() {
    let agent = agent("forms-split").pipeline(TAKING);
    let polling = "sources: [{name: s, interval: 1, meters: [cpu, power.state]}]";
    let polling = agent.folder.write("polling.yaml", polling);
    let more = ["--polling", polling.to_str().unwrap()];
    // Two pipelines route `cpu` to `raw`; upstream sends it there twice.
    assert_eq!(counts(&agent, "raw", &more), expected([("cpu", 44), ("power.state", 44)]));
    assert_eq!(counts(&agent, "rates", &more), expected([("cpu_util", 22)]));
    // Regression: each sink counted as a source.
    let checked = agent.execute(&[&["check"][..], &more].concat()).code(0).stdout;
    assert!(checked.ends_with("ok: 1 sources, 2 sinks\n"), "{checked}");
}

#[test]
fn single_file_routes_by_source_by_default() {
    let single = TAKING.replace("ignored", "1").replace("'*'", "power.state");
    let agent = agent("forms-single").pipeline(&single);
    assert_eq!(counts(&agent, "raw", &[]), expected([("cpu", 44), ("power.state", 44)]));
    assert_eq!(counts(&agent, "rates", &[]), expected([("cpu_util", 22)]));
    let single = single.replace("[power.state]", "['*']");
    let agent = agent.pipeline(&single);
    // Each source has polled its own `cpu` of every instance.
    assert_eq!(counts(&agent, "raw", &[])["cpu"], 88);
    let agent = agent.set("routing", "name");
    assert_eq!(counts(&agent, "raw", &[])["cpu"], 44);
    assert_eq!(counts(&agent, "rates", &[]), expected([("cpu_util", 22)]));
}

#[test]
fn problems_of_both_files_are_reported_at_once() {
    let agent =
        agent("forms-faults").pipeline("sources: [{name: s, meters: [], sinks: [x]}]\nsinks: []\n");
    let polling = "sources:\n- {name: a, meters: [cpu]}\n- {name: a, interval: 0, meters: [cpu]}\n";
    let polling = agent.folder.write("polling.yaml", polling);
    let ended = agent.execute(&["check", "--polling", polling.to_str().unwrap()]).code(78);
    for expected in [
        "polling.yaml:2:3: this source has no `interval`",
        "polling.yaml:3:10: the name \"a\" is taken by another source",
        "polling.yaml:3:23: the interval 0 is not above 0",
        "pipeline.yaml:1:29: `meters` is empty",
        "unknown sink \"x\"",
    ] {
        assert!(ended.stdout.contains(expected), "{expected}\n{}", ended.stdout);
    }
}

#[test]
fn in_mode_polling_messages_are_those_of_ceilometers_polling_agent() {
    let url = broker().amqp_url();
    let file = root().join("tests/golden/27.0.0/messages.json");
    let golden: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let agent = agent("forms-polling")
        .amqp(url)
        .set("mode", "polling")
        .set("polling", json!({"batch_size": 20}))
        .set("host", "compute-1");
    let polling =
        agent.folder.write("polling.yaml", "sources: [{name: s, interval: 1, meters: ['*']}]");
    let consumer = Consumer::new(url, "notifications");
    let ledger = agent.execute(&["run", "--polling", polling.to_str().unwrap()]).code(0).ledger();
    let polled = usize::try_from(ledger.polled).unwrap();
    let payload = |arrival: &Arrival| {
        arrival.notification()["payload"]["samples"].as_array().unwrap().clone()
    };
    let arrivals = consumer.wait_until("all samples", |arrivals| {
        arrivals.iter().map(|arrival| payload(arrival).len()).sum::<usize>() >= polled
    });
    let theirs = &golden[0]["oslo.message"];
    for arrival in &arrivals {
        let ours = arrival.notification();
        assert_eq!(keys(&ours), keys(theirs));
        assert_eq!(keys(&ours["payload"]), keys(&theirs["payload"]));
        for key in ["publisher_id", "event_type", "priority"] {
            assert_eq!(ours[key], theirs[key], "{key}");
        }
        let samples = payload(arrival);
        assert!(samples.len() <= 20);
        let meters: BTreeSet<&str> =
            samples.iter().map(|sample| text(sample, "counter_name")).collect();
        assert_eq!(meters.len(), 1, "a pollster sends for itself");
    }
    let samples: Vec<Value> = arrivals.iter().flat_map(payload).collect();
    assert_eq!(samples.len(), 2 * 634, "as many as upstream has, in each of two polling cycles");
    assert_eq!(verify(&samples, "change this for valid signing"), polled);
}

#[test]
fn a_ceilometer_conf_stands_below_everything_else() {
    let agent = agent("forms-conf");
    agent.folder.write("taking.yaml", TAKING);
    agent.folder.write("what.yaml", "sources: [{name: s, interval: 1, meters: [power.state]}]");
    let conf = agent.folder.write(
        "ceilometer.conf",
        "[DEFAULT]\nhost = elsewhere\nsample_source = cloud-7\npipeline_cfg_file = taking.yaml\n\
         transport_url = rabbit://u:hunter2@a,u:hunter2@b/\nshuffle = 5\ndebug = true\n\
         [publisher]\ntelemetry_secret = hunter2\n[polling]\ncfg_file = what.yaml\n\
         [compute]\ninstance_discovery_method = naive\nfetch_extra_metadata = true\n\
         [keystone_authtoken]\npassword = hunter2\n[publisher_notifier]\nmetering_topic = mine\n",
    );
    let conf = conf.to_str().unwrap();
    let arguments = ["once", "--raw", "--format", "ndjson", "--sink", "raw"];
    let ended = agent.execute(&[&arguments[..], &["--ceilometer-conf", conf]].concat()).code(0);
    let samples = ndjson(&ended.stdout);
    assert_eq!(samples.len(), 22);
    for sample in &samples {
        assert_eq!((text(sample, "name"), text(sample, "source")), ("power.state", "cloud-7"));
        // nephometer.yaml takes precedence.
        assert_eq!(sample["resource_metadata"]["instance_host"], "compute-1");
    }
    for expected in [
        "ceilometer.conf:6:1: [DEFAULT] shuffle is not understood and has no effect",
        "[compute] instance_discovery_method has no effect here; this agent behaves as with libvirt_metadata",
        "[compute] fetch_extra_metadata has no effect here; no action needed",
        "the section [keystone_authtoken] has no effect here",
        "write notifier://?topic=TOPIC in pipeline.yaml",
    ] {
        assert!(ended.stderr.contains(expected), "{expected}\n{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("hunter2") && !ended.stderr.contains("debug has"));

    let wrong = agent.folder.write("wrong.conf", "transport_url = amqp:/hunter2\nnothing\n");
    let ended = agent.execute(&["check", "--ceilometer-conf", wrong.to_str().unwrap()]).code(78);
    assert!(ended.stdout.contains("wrong.conf:2:1: this line is neither"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("hunter2") && !ended.stderr.contains("hunter2"));
}
