//! Publishers that are components, against real receivers: every delivery result, and the network
//! access that is denied.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Agent, Folder, PATIENCE, closed_port, component, eventually, ndjson, number, text,
};

/// A private InfluxDB. Dropping it ends the server.
struct Influx {
    child: Child,
    port: u16,
    _folder: Folder,
}

impl Influx {
    fn start() -> Self {
        let folder = Folder::new("influxdb");
        let (port, rpc) = (closed_port(), closed_port());
        let at = |name: &str| folder.at(name).display().to_string();
        let config = folder.write(
            "influxdb.conf",
            format!(
                "reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n\
                 [meta]\ndir = \"{}\"\n[data]\ndir = \"{}\"\nwal-dir = \"{}\"\n\
                 [http]\nbind-address = \"127.0.0.1:{port}\"\nlog-enabled = false\n\
                 [monitor]\nstore-enabled = false\n",
                at("meta"),
                at("data"),
                at("wal")
            ),
        );
        let log = fs::File::create(folder.at("log")).unwrap();
        let child = Command::new("influxd")
            .args(["run", "-config"])
            .arg(config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("influxd is not there; the command that installs it: scripts/install test");
        let influx = Self { child, port, _folder: folder };
        eventually("InfluxDB", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok());
        influx.query("POST", "CREATE DATABASE metering");
        influx
    }

    fn query(&self, method: &str, statement: &str) -> Value {
        let statement = statement.replace(' ', "%20").replace('"', "%22").replace('*', "%2A");
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "{method} /query?db=metering&q={statement} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        // HTTP/1.0 without chunks, or one line of JSON within them.
        let body = body.lines().find(|line| line.starts_with('{')).unwrap_or(body);
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

impl Drop for Influx {
    fn drop(&mut self) {
        // Both fail if the server has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn agent(name: &str, publisher: &str) -> Agent {
    let agent = Agent::new(&format!("publishers-{name}")).set("shutdown_grace", "20s");
    let file = format!("file://{}?json", agent.folder.at("file").display());
    agent.everything_to(&[publisher, &file])
}

fn file(agent: &Agent) -> Vec<Value> {
    ndjson(&fs::read_to_string(agent.folder.at("file")).unwrap_or_default())
}

#[test]
fn influxdb_gets_everything_also_after_it_hung() {
    let port = closed_port();
    let influx = Influx::start();
    let url = format!("influx://127.0.0.1:{}/metering", influx.port);
    let agent = agent("influx", &url);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    // The server hangs for a while: samples stay pending.
    let pid = influx.child.id().to_string();
    assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    running.wait_for_cycles(2);
    assert!(Command::new("kill").args(["-CONT", &pid]).status().unwrap().success());
    running.wait_for_cycles(1);
    let ended = running.stop().code(0);
    let count = ended.ledger().publisher("/influx://").clone();
    assert_eq!((count.pending, count.dropped), (0, 0));

    let mut expected: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    for sample in file(&agent) {
        let entry = expected.entry(text(&sample, "name").to_owned()).or_default();
        entry.0 += 1;
        entry.1 += number(&sample);
    }
    for (meter, (wanted, sum)) in expected {
        let answer =
            influx.query("GET", &format!("SELECT count(value), sum(value) FROM \"{meter}\""));
        let row = &answer["results"][0]["series"][0]["values"][0];
        assert_eq!(row[1], wanted, "{meter}: {answer}");
        let got = row[2].as_f64().unwrap();
        assert!((got - sum).abs() <= 1e-9 * sum.abs().max(1.0), "{meter}: {got} is not {sum}");
    }
    assert_ne!(port, influx.port);
}

#[test]
fn samples_for_a_missing_database_are_rejected() {
    let influx = Influx::start();
    let agent = agent("no-database", &format!("influx://127.0.0.1:{}/nowhere", influx.port));
    let mut running = agent.run();
    running.wait_for_cycles(1);
    let ended = running.stop().code(0).reports("database not found");
    let count = ended.ledger().publisher("/influx://").clone();
    assert_eq!((count.left, count.pending, count.dropped), (0, 0, count.entered), "{count:?}");
}

#[test]
fn a_statsd_daemon_receives_every_sample() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let port = socket.local_addr().unwrap().port();
    let agent = agent("statsd", &format!("statsd://127.0.0.1:{port}?prefix=test"));
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let received = Arc::clone(&lines);
    let ended = std::thread::scope(|scope| {
        let stop = Arc::<AtomicUsize>::default();
        let stopped = Arc::clone(&stop);
        scope.spawn(move || {
            let mut datagram = [0; 2_048];
            while stopped.load(Relaxed) == 0 {
                let Ok(length) = socket.recv(&mut datagram) else { continue };
                assert!(length <= 1_432, "{length}");
                let text = String::from_utf8(datagram[..length].to_vec()).unwrap();
                received.lock().unwrap().extend(text.lines().map(str::to_owned));
            }
        });
        let mut running = agent.run();
        running.wait_for_cycles(2);
        let ended = running.stop().code(0);
        std::thread::sleep(Duration::from_millis(300));
        stop.store(1, Relaxed);
        ended
    });
    let samples = file(&agent);
    assert_eq!(ended.ledger().publisher("/statsd://").pending, 0);
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), samples.len(), "no value is below 0 here");
    for (line, sample) in lines.iter().zip(&samples) {
        let resource = text(sample, "resource_id").replace(['.', ':'], "_");
        let name = format!("test.{}.{resource}:", text(sample, "name"));
        let kind = if text(sample, "type") == "delta" { "|c" } else { "|g" };
        assert!(line.starts_with(&name) && line.ends_with(kind), "{line} is not {name}");
        let value: f64 = line[name.len()..line.len() - 2].parse().unwrap();
        assert!((value - number(sample)).abs() <= 1e-6 * value.abs().max(1.0), "{line}");
    }
}

#[test]
fn a_delivery_result_is_applied_and_does_not_affect_other_publishers() {
    for (mode, held, dropped, word) in [
        ("retryable", true, false, "publisher unavailable"),
        ("retryable-then-ok", false, false, "publisher available again"),
        ("permanent", false, true, "envelope rejected"),
        ("broken", true, false, "publisher component broken"),
        ("trap", false, true, "publisher component failed"),
        ("loop", false, true, "limits.cpu"),
    ] {
        let url = format!("misbehaving_publisher://?mode={mode}&attempts=2&after_ms=20");
        let agent = agent(mode, &url)
            .set("shutdown_grace", if held { "2s" } else { "30s" })
            .set("components.by_name.misbehaving_publisher.limits.cpu", "100ms");
        let mut running = agent.run();
        running.wait_for_cycles(2);
        let ended = running.stop().code(if held { 69 } else { 0 });
        assert!(ended.stderr.contains(word), "{mode}: {}", ended.stderr);
        let ledger = ended.ledger();
        let count = ledger.publisher("misbehaving");
        assert_eq!(
            (count.pending > 0, count.dropped > 0, count.left > 0),
            (held, dropped, !held && !dropped),
            "{mode}: {count:?}"
        );
        // The other publisher is not affected.
        assert_eq!(file(&agent).len() as u64, ledger.polled, "{mode}");
    }
}

/// A web server that sends the same response to every request, and counts them.
fn web(response: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, requests) = (listener.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
    let count = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            count.fetch_add(1, Relaxed);
            let mut stream = stream;
            let mut request = [0; 4_096];
            // A client that sends or reads nothing is ignored.
            drop(stream.read(&mut request));
            drop(stream.write_all(response.as_bytes()));
        }
    });
    (port, requests)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// Runs two ticks of a publisher that reaches `reach`, from a URL of its own host and port.
fn reach(name: &str, url: &str, reach: &str, grants: &[&str]) -> crate::harness::Ended {
    let component = url.split(':').next().unwrap().to_owned();
    let block = format!("components.by_name.{component}");
    let agent = agent(name, url)
        .set(&format!("{block}.options.reach"), reach)
        .set(&format!("{block}.grants"), json!({ "connect": grants }));
    let mut running = agent.run();
    running.wait_for_cycles(1);
    running.stop().code(0)
}

#[test]
fn a_publisher_reaches_only_what_its_url_or_a_grant_names() {
    let ((own, own_requests), (other, other_requests)) = (web(OK), web(OK));
    let url = format!("reaching://127.0.0.1:{own}");
    let ended = reach("own", &url, &format!("http://127.0.0.1:{own}/"), &[]);
    assert_eq!(ended.ledger().publisher("reaching").dropped, 0, "{}", ended.stderr);
    assert!(own_requests.load(Relaxed) > 0);

    for target in [
        format!("http://127.0.0.1:{other}/"),
        format!("http://localhost:{other}/"),
        format!("http://[::ffff:127.0.0.1]:{other}/"),
        "http://169.254.169.254/latest/".to_owned(),
        "http://0.0.0.0:80/".to_owned(),
        "http://metadata.example:80/".to_owned(),
    ] {
        let ended = reach("refused", &url, &target, &[]);
        let refused = ended.logged("outbound connection denied");
        assert!(!refused.is_empty(), "{target}: {}", ended.stderr);
        let grant = refused[0]["grant"].as_str().unwrap();
        assert!(grant.starts_with("components.by_name.reaching.grants.connect: ["), "{grant}");
        let count = ended.ledger().publisher("reaching").clone();
        assert_eq!((count.left, count.pending), (0, 0), "{target}: {count:?}");
    }
    assert_eq!(other_requests.load(Relaxed), 0, "a connection was not denied");

    let granted = format!("127.0.0.1:{other}");
    let ended = reach("granted", &url, &format!("http://127.0.0.1:{other}/"), &[&granted]);
    assert_eq!(ended.ledger().publisher("reaching").dropped, 0, "{}", ended.stderr);
    assert!(other_requests.load(Relaxed) > 0);
}

#[test]
fn redirects_are_not_followed() {
    let (other, other_requests) = web(OK);
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{other}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let (own, requests) = web(Box::leak(answer.into_boxed_str()));
    let url = format!("reaching://127.0.0.1:{own}");
    let ended = reach("redirect", &url, &format!("http://127.0.0.1:{own}/"), &[]);
    assert!(requests.load(Relaxed) > 0 && other_requests.load(Relaxed) == 0);
    assert_eq!(ended.ledger().publisher("reaching").left, 0);
}

#[test]
fn udp_sockets_need_the_same_grants() {
    let (own, other) =
        (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = |socket: &UdpSocket| socket.local_addr().unwrap().to_string();
    let quick = Some(Duration::from_millis(500));
    let mut datagram = [0; 100];
    let url = format!("reaching_udp://{}", address(&own));
    let ended = reach("udp", &url, &address(&own), &[]);
    assert_eq!(ended.ledger().publisher("reaching").dropped, 0, "{}", ended.stderr);
    own.set_read_timeout(quick).unwrap();
    assert!(own.recv(&mut datagram).is_ok());

    let ended = reach("udp-refused", &url, &address(&other), &[]);
    assert!(!ended.logged("outbound connection denied").is_empty(), "{}", ended.stderr);
    other.set_read_timeout(quick).unwrap();
    assert!(other.recv(&mut datagram).is_err(), "a datagram was not denied");

    reach("udp-granted", &url, &address(&other), &[&address(&other)]);
    assert!(other.recv(&mut datagram).is_ok());
}

#[test]
fn the_component_of_a_running_publisher_is_replaced() {
    let agent = Agent::new("publishers-replaced").set("shutdown_grace", "20s");
    fs::create_dir(agent.folder.at("components")).unwrap();
    let path = agent.folder.at("components/misbehaving_publisher.wasm");
    fs::copy(component("misbehaving_publisher"), &path).unwrap();
    let agent = agent
        .set("components.path", json!([parent(&path)]))
        .everything_to(&["misbehaving_publisher://?mode=ok"]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let mut other = fs::read(&path).unwrap();
    other.extend(b"\0\x0d\x04notereplaced");
    fs::write(agent.folder.at("new"), &other).unwrap();
    fs::rename(agent.folder.at("new"), &path).unwrap();
    eventually("the replacement", PATIENCE, || {
        (!running.logged("publisher component replaced").is_empty()).then_some(())
    });
    fs::write(agent.folder.at("new"), b"no wasm").unwrap();
    fs::rename(agent.folder.at("new"), &path).unwrap();
    eventually("the rejection", PATIENCE, || {
        (!running.logged("publisher component not replaced").is_empty()).then_some(())
    });
    running.wait_for_cycles(1);
    let count = running.stop().code(0).ledger().publisher("misbehaving").clone();
    assert_eq!((count.pending, count.dropped), (0, 0), "{count:?}");
}

fn parent(path: &std::path::Path) -> String {
    path.parent().unwrap().display().to_string()
}

#[test]
fn inspect_reports_the_kind_and_the_needs_of_a_component() {
    let agent = Agent::new("publishers-inspect");
    let inspect = |name: &str| {
        let path = component(name);
        agent.execute(&["component", "inspect", path.to_str().unwrap()]).code(0).stdout
    };
    let influx = inspect("influx");
    for part in [
        "kind: publisher",
        "contract: nephometer:metering@0.2.0",
        "wasi:http/outgoing-handler@",
        "grants: it uses HTTP",
        "influx: { grants: { connect: [\"HOST:PORT\"] } }",
        "options:",
    ] {
        assert!(influx.contains(part), "{part:?} is not in\n{influx}");
    }
    let rate = inspect("rate_of_change");
    assert!(
        rate.contains("transformer with state") && rate.contains("grants: none needed"),
        "{rate}"
    );
    assert!(rate.contains("target (object"), "{rate}");
    let nothing = agent.folder.write("nothing.wasm", b"no wasm");
    agent
        .execute(&["component", "inspect", nothing.to_str().unwrap()])
        .code(78)
        .reports("not a WebAssembly component");
    // Without a grant, the report names the key to set.
    let nowhere = Agent::new("publishers-nowhere").everything_to(&["influx:///metering"]);
    nowhere
        .execute(&["check"])
        .code(78)
        .reports("components.by_name.influx.grants.connect: [\"HOST:PORT\"]");
    // A publisher in place of a transformer, and the other way round.
    let wrong = agent.through("[{name: influx, parameters: {}}]", &["rate_of_change://host:1"]);
    let ended = wrong.execute(&["check"]).code(78);
    assert!(ended.stdout.contains("influx.wasm"), "{}", ended.stdout);
}
