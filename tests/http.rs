//! Ceilometer's HTTP publishers, as shipped components, against real receivers: content, order,
//! retries and TLS.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{
    Agent, Folder, PATIENCE, Server, certificate, closed_port, eventually, ndjson, number, root,
    text,
};

impl Server {
    /// A receiver that responds with these statuses in turn, and with the last one from then on.
    pub(crate) fn receiver(statuses: &str) -> Self {
        Self::start("receiver", |folder, port| receiver(folder, port, statuses))
    }

    pub(crate) fn received(&self) -> Vec<Value> {
        ndjson(&fs::read_to_string(self.folder.at("received")).unwrap_or_default())
    }

    /// All samples that were received with a status below 400.
    pub(crate) fn accepted(&self) -> Vec<Value> {
        self.accepted_where(|_| true)
    }

    /// Ids of the samples accepted with these credentials. Asserts that none was received twice.
    fn accepted_from(&self, credentials: &str) -> BTreeSet<String> {
        let wanted = format!("Basic {credentials}");
        let samples = self.accepted_where(|one| one["headers"]["authorization"] == *wanted);
        let ids = ids(&samples);
        assert_eq!(ids.len(), samples.len(), "a sample was received twice with {credentials}");
        ids
    }

    fn accepted_where(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut samples = Vec::new();
        for request in self.received().into_iter().filter(wanted) {
            if request["status"].as_u64().unwrap() < 400 {
                match serde_json::from_str(text(&request, "body")).unwrap() {
                    Value::Array(list) => samples.extend(list),
                    one => samples.push(one),
                }
            }
        }
        samples
    }
}

fn receiver(folder: &Folder, port: u16, statuses: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(root().join("tests/harness/receiver.py")).arg(port.to_string());
    command.arg(folder.at("received")).arg(statuses);
    command
}

/// An agent that publishes everything to this publisher and to a file.
fn agent(name: &str, publisher: &str) -> Agent {
    let agent = Agent::new(&format!("http-{name}")).set("shutdown_grace", "20s");
    let file = format!("file://{}?json", agent.folder.at("file").display());
    agent.everything_to(&[publisher, &file])
}

fn file(agent: &Agent) -> Vec<Value> {
    ndjson(&fs::read_to_string(agent.folder.at("file")).unwrap())
}

fn ids(samples: &[Value]) -> BTreeSet<String> {
    samples.iter().map(|sample| text(sample, "id").to_owned()).collect()
}

/// Credentials, plain and as in `Authorization`. The label of a publisher shows neither user nor
/// password.
const ALICE: (&str, &str) = ("alice:one", "YWxpY2U6b25l");
const BOB: (&str, &str) = ("bob:two", "Ym9iOnR3bw==");
const CAROL: (&str, &str) = ("carol:three", "Y2Fyb2w6dGhyZWU=");

/// Asserts that the ids are equal. A failure prints how many differ.
fn check(who: &str, got: &BTreeSet<String>, wanted: &BTreeSet<String>) {
    let (missing, extra) = (wanted.difference(got).count(), got.difference(wanted).count());
    assert_eq!((missing, extra), (0, 0), "missing and extra samples of {who}, {}", wanted.len());
}

/// Publishes everything for these users to one port, and to a file.
fn to_receivers(agent: Agent, port: u16, users: &[(&str, &str)]) -> Agent {
    let url = |user: &(&str, &str)| format!("http://{}@127.0.0.1:{port}/", user.0);
    let mut publishers: Vec<String> = users.iter().map(url).collect();
    publishers.push(format!("file://{}?json", agent.folder.at("file").display()));
    agent.everything_to(&publishers.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_changed_publisher_gets_no_samples_of_the_one_before_with_the_same_label() {
    let port = closed_port();
    let agent = Agent::new("http-labels-reload").set("shutdown_grace", "30s");
    let agent = to_receivers(agent, port, &[ALICE, BOB]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let agent = to_receivers(agent, port, &[ALICE, CAROL]);
    eventually("a reload", PATIENCE, || {
        let reloaded = running.logged("reload applied");
        reloaded.iter().any(|line| line.to_string().contains("publisher")).then_some(())
    });
    running.wait_for_cycles(2);
    let server = Server::start_at(port, "labels", |folder, port| receiver(folder, port, "200"));
    let ended = running.stop();
    let all = ids(&file(&agent));
    let [alice, bob, carol] = [ALICE, BOB, CAROL].map(|(_, user)| server.accepted_from(user));
    check("the unchanged publisher", &alice, &all);
    assert!(!bob.is_empty() && !carol.is_empty(), "{} and {}", bob.len(), carol.len());
    assert!(bob.is_disjoint(&carol), "the new publisher got samples of the removed one");
    check("the removed and the new publisher", &(&bob | &carol), &all);
    ended.code(0);
}

/// Samples stay pending with a wrong password, until it is corrected.
#[test]
fn a_corrected_password_delivers_pending_samples() {
    let port = closed_port();
    let agent = Agent::new("http-labels-secret").set("shutdown_grace", "30s");
    let agent = to_receivers(agent, port, &[ALICE]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let agent = to_receivers(agent, port, &[CAROL]);
    eventually("a reload", PATIENCE, || {
        let reloaded = running.logged("reload applied");
        reloaded.iter().any(|line| line.to_string().contains("publisher")).then_some(())
    });
    running.wait_for_cycles(1);
    let server = Server::start_at(port, "labels", |folder, port| receiver(folder, port, "200"));
    let ended = running.stop();
    check("the corrected publisher", &server.accepted_from(CAROL.1), &ids(&file(&agent)));
    assert!(server.accepted_from(ALICE.1).is_empty());
    ended.code(0);
}

#[test]
fn pending_samples_are_kept_for_their_receiver_across_restarts() {
    let port = closed_port();
    let agent = Agent::new("http-labels-restart").set("shutdown_grace", "1s");
    let mut windows = Vec::new();
    let mut agent = agent;
    for users in [&[ALICE, BOB][..], &[BOB]] {
        agent = to_receivers(agent, port, users);
        let mut running = agent.run();
        running.wait_for_cycles(2);
        running.stop().code(69);
        windows.push(ids(&file(&agent)));
    }
    let [first, both] = &windows[..] else { panic!("two runs") };
    assert!(!first.is_empty() && first.len() < both.len());

    let server = Server::start_at(port, "labels", |folder, port| receiver(folder, port, "200"));
    let agent = to_receivers(agent.set("shutdown_grace", "30s"), port, &[ALICE, BOB]);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    running.stop().code(0);
    let all = ids(&file(&agent));
    let [alice, bob] = [ALICE, BOB].map(|(_, user)| server.accepted_from(user));
    check("the publisher that was configured in both runs", &bob, &all);
    // Nothing was encoded for it while only the other one was configured.
    check("the publisher that was removed in between", &alice, &(&all - &(both - first)));
}

#[test]
fn a_receiver_gets_every_sample_in_the_form_that_ceilometer_posts() {
    // It fails twice.
    let server = Server::receiver("503,500,201");
    let port = server.port;
    let url =
        format!("http://us%40er:pw@127.0.0.1:{port}/path?q=foo&timeout=7&q=bar&max_retries=3");
    let agent = agent("batch", &url);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ended = running.stop().code(0);
    let count = ended.ledger().publisher("/http://").clone();
    assert_eq!((count.pending, count.dropped), (0, 0), "{count:?}");
    assert_eq!(server.accepted(), file(&agent));
    let received = server.received();
    assert!(received.len() >= 4, "two failures, two cycles: {}", received.len());
    for request in &received {
        assert_eq!(text(request, "path"), "/path?q=foo&q=bar");
        assert_eq!(request["headers"]["content-type"], "application/json");
        assert_eq!(request["headers"]["authorization"], "Basic dXNAZXI6cHc=");
    }
    assert_eq!(received[0]["body"], received[2]["body"], "a retry differs");
    assert!(
        !ended.stderr.contains("us@er") && !ended.stderr.contains("pw@"),
        "a secret was logged"
    );

    // A cached publisher was once checked as a transformer: the second start, and every check after
    // the first, failed.
    agent.execute(&["check"]).code(0);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    running.stop().code(0);
}

#[test]
fn single_samples_are_sent_once_however_often_the_receiver_fails() {
    let server = Server::receiver("200,503,200,400,200");
    let url = format!("http://127.0.0.1:{}/?batch=False", server.port);
    let agent = agent("single", &url);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    let ended = running.stop().code(0).reports("this one is not wanted");
    let (received, samples) = (server.received(), file(&agent));
    // The second is retried, the third is rejected; neither blocks the others.
    let mut expected: Vec<_> = samples.iter().collect();
    expected.insert(1, &samples[1]);
    let bodies: Vec<Value> =
        received.iter().map(|one| serde_json::from_str(text(one, "body")).unwrap()).collect();
    assert_eq!(bodies.iter().collect::<Vec<_>>(), expected);
    // One rejected sample counts the whole envelope as dropped.
    assert!(ended.ledger().publisher("/http://").dropped > 0);
}

#[test]
fn tls_certificates_are_verified() {
    let server = Server::start("receiver-tls", |folder, port| {
        certificate(folder);
        let mut command = receiver(folder, port, "200");
        command.arg(folder.at("certificate.pem")).arg(folder.at("key.pem"));
        command
    });
    let url = format!("https://localhost:{}/samples", server.port);
    let certificate = server.folder.at("certificate.pem").display().to_string();
    let trusting = agent("tls", &url).variable("SSL_CERT_FILE", &certificate);
    let mut running = trusting.run();
    running.wait_for_cycles(1);
    let ended = running.stop().code(0);
    assert_eq!(ended.ledger().publisher("/https://").dropped, 0, "{}", ended.stderr);
    assert_eq!(server.accepted(), file(&trusting));

    let other = agent("tls-insecure", &format!("{url}?verify_ssl=False"));
    other.execute(&["check"]).code(78).reports("certificates are always verified");
    let other = agent("tls-client", &format!("{url}?clientcert=/etc/c.pem"));
    other.execute(&["check"]).code(78).reports("client certificates are not supported");
}

#[test]
fn a_push_gateway_shows_the_last_value_of_every_series() {
    let server = Server::start("prometheus-pushgateway", |_, port| {
        let mut command = Command::new("prometheus-pushgateway");
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command
    });
    let url = format!("prometheus://127.0.0.1:{}/metrics/job/openstack-telemetry", server.port);
    let agent = agent("prometheus", &url);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ended = running.stop().code(0);
    let count = ended.ledger().publisher("/prometheus://").clone();
    assert_eq!((count.pending, count.dropped), (0, 0), "{}", ended.stderr);

    let shown = server.get("/metrics");
    let mut last = BTreeMap::new();
    for sample in file(&agent) {
        let name = text(&sample, "name").replace(['.', '-'], "_");
        let series = (name, text(&sample, "resource_id").to_owned());
        last.insert(series, (number(&sample), text(&sample, "type").to_owned()));
    }
    assert!(last.len() > 10);
    for ((name, resource), (value, kind)) in last {
        let line = shown.lines().find(|line| {
            line.starts_with(&format!("{name}{{")) && line.contains(&format!("\"{resource}\""))
        });
        let line = line.unwrap_or_else(|| panic!("{name} of {resource} is not shown"));
        assert!(line.contains("job=\"openstack-telemetry\""), "{line}");
        let (_, shown_value) = line.rsplit_once(' ').unwrap();
        let shown_value: f64 = shown_value.parse().unwrap();
        assert!((shown_value - value).abs() <= 1e-9 * value.abs(), "{line} is not {value}");
        let kind = match kind.as_str() {
            "cumulative" => "counter",
            "gauge" => "gauge",
            _ => "untyped",
        };
        assert!(shown.contains(&format!("# TYPE {name} {kind}\n")), "{name} is no {kind}");
    }
}

/// Runs an agent that publishes OTLP with these options. Returns the samples of its file and the
/// received requests, one a line of JSON.
fn otlp(name: &str, query: &str) -> (Vec<Value>, Server) {
    let server = Server::receiver("200");
    let url = format!("opentelemetryhttp://127.0.0.1:{}/v1/metrics{query}", server.port);
    let agent = agent(name, &url);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ended = running.stop().code(0);
    assert_eq!(ended.ledger().publisher("/opentelemetryhttp://").dropped, 0, "{}", ended.stderr);
    (file(&agent), server)
}

/// Parses requests with OpenTelemetry's own library; returns a line for each data point.
fn parsed(server: &Server, form: &str) -> Vec<Value> {
    let requests = server.folder.at("requests");
    let bodies: Vec<String> = server
        .received()
        .iter()
        .map(|one| format!("{}\n", one["body"].as_str().or(one["body64"].as_str()).unwrap()))
        .collect();
    fs::write(&requests, bodies.concat()).unwrap();
    let python: PathBuf = root().join("target/tools/ceilometer/bin/python3");
    let parsed = Command::new(python)
        .arg(root().join("tests/ceilometer/otlp.py"))
        .arg(form)
        .stdin(fs::File::open(requests).unwrap())
        .output()
        .expect("there is no Python with OpenTelemetry; the command: scripts/ceilometer");
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
    ndjson(&String::from_utf8(parsed.stdout).unwrap())
}

/// Compares data points with samples, in any order.
fn check_points(points: &[Value], samples: &[Value]) {
    let kinds = |sample: &Value| match text(sample, "type") {
        "cumulative" => json!(["sum", 2, true]),
        "delta" => json!(["sum", 1, false]),
        _ => json!(["gauge", null, null]),
    };
    let key = |name: &str, resource: &str, kind: &Value, value: f64| {
        format!("{name} {resource} {kind} {value}")
    };
    let mut got: Vec<String> = points
        .iter()
        .map(|one| {
            let kind = json!([one["kind"], one["temporality"], one["monotonic"]]);
            key(text(one, "name"), text(one, "resource_id"), &kind, one["value"].as_f64().unwrap())
        })
        .collect();
    let mut wanted: Vec<String> = samples
        .iter()
        .map(|one| {
            let name = text(one, "name").replace('.', "_");
            key(&name, text(one, "resource_id"), &kinds(one), number(one))
        })
        .collect();
    got.sort();
    wanted.sort();
    assert_eq!(got, wanted);
}

#[test]
fn otlp_requests_match_the_schema_of_opentelemetry() {
    let (samples, server) = otlp("otlp-json", "?encoding=json");
    check_points(&parsed(&server, "json"), &samples);
}

/// Every byte is judged: OpenTelemetry's library writes the same request again.
#[test]
fn otlp_as_protobuf_equals_what_opentelemetry_writes() {
    let (samples, server) = otlp("otlp", "");
    for request in server.received() {
        assert_eq!(request["headers"]["content-type"], "application/x-protobuf");
    }
    check_points(&parsed(&server, "protobuf"), &samples);
}

/// The real Gnocchi is too large for these tests: `make oracles` has it.
#[test]
fn gnocchi_gets_archive_policies_measures_and_attributes_in_this_order() {
    let server = Server::receiver("409,409,409,409,503,202");
    let url = format!(
        "gnocchi://127.0.0.1:{}?archive_policy=low&enable_filter_project=false",
        server.port
    );
    let options = "components.by_name.gnocchi.options";
    let agent = agent("gnocchi", &url).set(&format!("{options}.auth_type"), "gnocchi-basic");
    let mut running = agent.run();
    running.wait_for_cycles(1);
    let ended = running.stop().code(0);
    let count = ended.ledger().publisher("/gnocchi://").clone();
    assert_eq!((count.pending, count.dropped), (0, 0), "{}", ended.stderr);
    let received = server.received();
    let requests: Vec<String> = received
        .iter()
        .map(|one| format!("{} {}", text(one, "method"), text(one, "path")))
        .collect();
    let batch = "POST /v1/batch/resources/metrics/measures?create_metrics=True";
    assert!(requests[..4].iter().all(|one| one == "POST /v1/archive_policy/"), "{requests:?}");
    // The first attempt failed; archive policies are not sent again.
    assert_eq!(requests[4..6], [batch, batch]);
    assert_eq!(received[4]["body"], received[5]["body"]);
    assert!(requests[6].starts_with("PATCH /v1/resource/instance"), "{requests:?}");

    let mut values = 0;
    for one in received.iter().filter(|one| one["status"] == 202 && one["method"] == "POST") {
        let body: Value = serde_json::from_str(text(one, "body")).unwrap();
        let metrics = body.as_object().unwrap().values().flat_map(|one| one.as_object().unwrap());
        for (_, metric) in metrics {
            assert_eq!(metric["archive_policy_name"], "low");
            values += metric["measures"].as_array().unwrap().len();
        }
    }
    // Growth of network counters has no definition in Gnocchi.
    let wanted = file(&agent).iter().filter(|one| !text(one, "name").ends_with(".delta")).count();
    assert_eq!(values, wanted);
}
