//! The HTTP endpoints: scrapes beside the exporter of Ceilometer 27, under a real Prometheus, and under
//! hostile clients.

mod exporter;
mod own;
mod prometheus;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Agent, Folder, PATIENCE, closed_port, eventually, high_water};
use prometheus::{Prometheus, promtool};

/// The reply to a request; empty if the connection was closed.
fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reply = Vec::new();
    if stream.write_all(request.as_bytes()).is_ok() {
        let _closed = stream.read_to_end(&mut reply);
    }
    String::from_utf8(reply).unwrap()
}

/// The body of a page.
pub(crate) fn get(port: u16, path: &str, fields: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    let (head, body) = reply.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200 ").then(|| body.to_owned())
}

/// A scrape, once there are series.
fn scraped(port: u16, series: &str) -> String {
    eventually(&format!("{series} at port {port}"), PATIENCE, || {
        get(port, "/metrics", "").filter(|text| text.contains(series))
    })
}

fn listening(name: &str, form: &str) -> (Agent, u16) {
    let port = closed_port();
    let agent = Agent::new(name)
        .set("prometheus.listen", format!("127.0.0.1:{port}"))
        .set("prometheus.form", form);
    (agent, port)
}

/// Both forms are valid for Prometheus' own checker, and the native one follows its conventions.
#[test]
fn promtool_finds_nothing_wrong() {
    let (agent, port) = listening("scrape-promtool", "native");
    let agent = agent.everything_to(&["test://"]);
    let running = agent.run();
    let text = scraped(port, "nephometer_guest_cpu_seconds_total{");
    // It takes Prometheus' own format only.
    assert_eq!(promtool(&["check", "metrics"], &text), "");
    let fields = "Accept: application/openmetrics-text; version=1.0.0\r\n";
    let open_metrics = get(port, "/metrics", fields).unwrap();
    assert!(
        open_metrics.ends_with("# EOF\n") && open_metrics.contains("# UNIT "),
        "{open_metrics}"
    );
    running.stop().code(0).ledger();
}

/// Real Prometheus with a client certificate and a token, in OpenMetrics: counters with their types
/// and times.
#[test]
fn prometheus_scrapes_the_native_form_over_mutual_tls() {
    let (agent, port) = listening("scrape-native", "native");
    prometheus::authority(&agent.folder);
    let token = agent.folder.write("token", "0123456789abcdef0123\n");
    let at = |name: &str| agent.folder.at(name).display().to_string();
    let (certificate, key, authority) = (at("certificate.pem"), at("key.pem"), at("ca.pem"));
    let (client, client_key) = (at("client.pem"), at("client-key.pem"));
    let agent = agent
        .set("prometheus.tls.certificate", certificate.as_str())
        .set("prometheus.tls.key", key.as_str())
        .set("prometheus.tls.client_ca", authority.as_str())
        .set("prometheus.token_file", token.display().to_string())
        .everything_to(&["test://"]);
    let running = agent.run();
    let scrape = format!(
        "scheme: https\n    authorization: {{credentials_file: {}}}\n    \
         tls_config: {{ca_file: {authority}, server_name: localhost, cert_file: {client}, key_file: {client_key}}}",
        token.display(),
    );
    let server = Prometheus::start(&agent.folder, &format!("localhost:{port}"), &scrape, "");
    let seconds = server.query("nephometer_guest_cpu_seconds_total", 3);
    assert!(seconds.iter().all(|one| one["metric"]["resource"].is_string()), "{seconds:?}");
    // A rate needs two scrapes of one counter. One of the simulated machines may be paused.
    server.query("rate(nephometer_guest_cpu_seconds_total[10s]) > 0", 1);
    let kinds = server.api("/api/v1/targets/metadata?metric=nephometer_guest_cpu_seconds");
    assert_eq!(kinds["data"][0]["type"], "counter", "{kinds}");
    assert_eq!(kinds["data"][0]["unit"], "seconds", "{kinds}");
    // The time is that of the reading, not of the scrape.
    let age = server.query("time() - timestamp(nephometer_guest_cpu_seconds_total)", 3);
    let exact = server.query("timestamp(nephometer_guest_cpu_seconds_total) % 1 > 0", 1);
    assert!(!age.is_empty() && !exact.is_empty());
    // Without a certificate there is no connection.
    assert!(!ask(port, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").contains("cpu_seconds"));
    running.stop().code(0).ledger();
}

/// Silent, slow and many clients, large heads and a foreign name: polling goes on, and honest scrapes
/// are served all the time.
#[test]
fn hostile_clients_delay_nothing() {
    let (agent, port) = listening("scrape-hostile", "ceilometer");
    let agent = agent.everything_to(&["test://"]);
    let mut running = agent.run();
    scraped(port, "ceilometer_cpu{");
    let before = high_water(running.pid()).unwrap();
    let mut held: VecDeque<TcpStream> = VecDeque::new();
    for number in 0..10_000 {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { continue };
        match number % 3 {
            0 => {}
            1 => drop(stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: loc")),
            // Asks, and does not read.
            _ => drop(stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        }
        held.push_back(stream);
        // The agent keeps 64; this process has other uses for its descriptors.
        if held.len() > 2_000 {
            held.pop_front();
        }
    }
    assert!(held.len() > 1_000);
    let grown = high_water(running.pid()).unwrap() - before;
    assert!(grown < 24 << 10, "{grown} KiB more");
    running.wait_for_cycles(2);
    for _ in 0..20 {
        assert!(get(port, "/metrics", "").unwrap().contains("ceilometer_cpu{"));
    }
    let huge =
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let refused = ask(port, &huge);
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431"), "{refused}");
    let rebound =
        ask(port, "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert!(rebound.starts_with("HTTP/1.1 421") && !rebound.contains("ceilometer_"), "{rebound}");
    running.wait_for_cycles(1);
    drop(held);
    running.stop().code(0).ledger();
}

/// A port that another program has.
#[test]
fn an_agent_whose_port_is_taken_goes_on() {
    let (agent, port) = listening("scrape-taken", "ceilometer");
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let agent = agent.everything_to(&["test://"]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let lines = running.logged("http listener unavailable, retrying");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["listener"], "prometheus");
    assert!(lines[0]["reason"].as_str().unwrap().contains(&port.to_string()), "{lines:?}");
    drop(taken);
    scraped(port, "ceilometer_cpu{");
    running.stop().code(0).ledger();
}

/// Transformers come after the scrape endpoint: it has the samples of a sink that waits for ever.
#[test]
fn a_sink_on_hold_is_no_matter_for_scrapes() {
    let (agent, port) = listening("scrape-hold", "ceilometer");
    let traps = "[{name: misbehaving, parameters: {mode: trap}}]";
    let agent = agent.through(traps, &["test://"]);
    let mut running = agent.run();
    let first = scraped(port, "ceilometer_cpu{");
    running.wait_for_cycles(2);
    let later = eventually("new values", Duration::from_secs(30), || {
        get(port, "/metrics", "").filter(|text| *text != first)
    });
    assert_eq!(first.lines().count(), later.lines().count());
    running.stop();
}

/// A folder for tests that run commands of their own.
fn folder(name: &str) -> Folder {
    Folder::new(name)
}
