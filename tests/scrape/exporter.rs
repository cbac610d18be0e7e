//! In place of the exporter of Ceilometer 27: the same series for the same samples, and the files of a
//! site that only scrapes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Prometheus, folder, listening, scraped};
use crate::harness::{Agent, Folder, PATIENCE, certificate, closed_port, eventually, root};

/// Feeds the samples of a file to `prom_exporter.collect_metrics`, and prints what a scrape gets.
const EXPORTER: &str = "
import json, sys
import prometheus_client
from ceilometer import sample
from ceilometer.polling import prom_exporter
from ceilometer.publisher import utils
for line in open(sys.argv[1]):
    one = json.loads(line)
    one = sample.Sample(**{key: one[key] for key in (
        'name', 'type', 'unit', 'volume', 'user_id', 'project_id', 'resource_id', 'timestamp',
        'resource_metadata', 'source', 'id', 'monotonic_time', 'user_name', 'project_name')})
    prom_exporter.collect_metrics([utils.meter_message_from_counter(one, '')])
sys.stdout.write(prometheus_client.generate_latest(prom_exporter.CEILOMETER_REGISTRY).decode())
";

fn python() -> Command {
    let path = root().join("target/tools/ceilometer/bin/python");
    assert!(
        path.is_file(),
        "{} is not there; the command that makes it: scripts/ceilometer",
        path.display()
    );
    Command::new(path)
}

/// Every line of both expositions, field by field: name, labels, value, type and help.
#[test]
fn series_equal_those_of_the_real_exporter() {
    let (agent, port) = listening("scrape-exporter", "ceilometer");
    let samples = agent.folder.at("samples.ndjson");
    let pipeline = format!(
        "sources: [{{name: everything, interval: 3600, meters: ['*'], sinks: [out]}}]\n\
         sinks: [{{name: out, publishers: ['file://{}?json']}}]\n",
        samples.display()
    );
    let agent = agent.pipeline(&pipeline).set("libvirt.unowned", false);
    let running = agent.run();
    let ours = scraped(port, "ceilometer_cpu{");
    let ledger = running.stop().code(0).ledger();
    let written = std::fs::read_to_string(&samples).unwrap();
    assert_eq!(written.lines().count() as u64, ledger.polled);
    let output =
        python().arg("-c").arg(EXPORTER).arg(&samples).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs = String::from_utf8(output.stdout).unwrap();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (ours, theirs) = (lines(&ours), lines(&theirs));
    let differing: Vec<_> = ours.symmetric_difference(&theirs).collect();
    assert!(differing.is_empty(), "{differing:#?}");
    assert!(ours.len() > 100, "{} lines", ours.len());
}

/// Writes the files of a site: `ceilometer.conf`, and rules for Prometheus. Returns their paths.
fn site(folder: &Folder, port: u16) -> (PathBuf, PathBuf) {
    let at = |name: &str| folder.at(name).display().to_string();
    let conf = format!(
        "[DEFAULT]\ndebug = True\nhost = node-7.cloud.example\npolling_namespaces = compute\n\
         [compute]\ninstance_discovery_method = libvirt_metadata\nfetch_extra_metadata = True\n\
         [oslo_messaging_notifications]\ndriver = noop\n\
         [service_credentials]\nauth_type = v3applicationcredential\nauth_url = https://keystone.example/\n\
         application_credential_id = abc\napplication_credential_secret = hunter2hunter2\n\
         [polling]\nheartbeat_socket_dir = /var/lib/ceilometer\nenable_notifications = False\n\
         enable_prometheus_exporter = True\nprometheus_listen_addresses = 127.0.0.1:{port}\n\
         prometheus_tls_enable = True\nprometheus_tls_certfile = {}\nprometheus_tls_keyfile = {}\n\
         identity_name_discovery = True\nignore_disabled_projects = False\n",
        at("certificate.pem"),
        at("key.pem"),
    );
    let conf = folder.write("ceilometer.conf", conf);
    folder.write(
        "polling.yaml",
        "---\nsources:\n  - name: pollsters\n    interval: 1\n    meters: [power.state, cpu, memory.usage, 'disk.*', 'network.*']\n",
    );
    let rules = "groups: [{name: site, rules: [\
        {record: 'site:cpu:rate', expr: 'sum by (project, resource) (rate(ceilometer_cpu[10s])) / 1e9'},\
        {record: 'site:memory', expr: 'sum by (project) (ceilometer_memory_usage)'},\
        {record: 'site:running', expr: 'count by (project) (ceilometer_power_state == 1)'}]}]\n";
    let rules = folder.write("rules.yml", rules);
    (conf, rules)
}

/// The files of a site of Red Hat's operator: an exporter with TLS, no notifications, `polling.yaml`
/// alone. A real Prometheus scrapes it and evaluates rules like those of such sites.
#[test]
fn a_site_that_only_scrapes_works_unmodified() {
    let folder = folder("scrape-site");
    certificate(&folder);
    let port = closed_port();
    let at = |name: &str| folder.at(name).display().to_string();
    let (conf, rules) = site(&folder, port);
    let agent = Agent::new("scrape-site-agent");
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nephometer"));
        command.args(arguments).arg("--ceilometer-conf").arg(&conf);
        command.args(["--libvirt", "sim://?domains=3&seed=1"]).current_dir(agent.folder.path());
        command.env("NEPHOMETER_STORE__PATH", agent.folder.at("store"));
        command.env("NEPHOMETER_CACHE__PATH", agent.folder.at("cache"));
        command.env("NEPHOMETER_CONTROL__SOCKET", "agent.sock");
        command.env("NEPHOMETER_TELEMETRY__LISTEN", "none");
        command
    };
    let checked = agent.start(command(&["check"]), None).ended(PATIENCE).code(0);
    assert!(!checked.stdout.contains("hunter2"), "{}", checked.stdout);
    let running = agent.start(command(&["run", "--log-format", "json"]), None);
    let tls = format!(
        "scheme: https\n    tls_config: {{ca_file: {}, server_name: localhost}}",
        at("certificate.pem")
    );
    let server = Prometheus::start(
        &folder,
        &format!("127.0.0.1:{port}"),
        &tls,
        &rules.display().to_string(),
    );
    for (rule, least, label) in [
        ("site:cpu:rate", 3, "resource"),
        ("site:memory > 0", 1, "project"),
        ("site:running", 1, "project"),
    ] {
        let series = server.query(rule, least);
        assert!(series.iter().all(|one| one["metric"][label].is_string()), "{rule}: {series:?}");
    }
    let states = server.query("ceilometer_power_state", 3);
    for label in [
        "project",
        "user",
        "resource",
        "resource_name",
        "vm_instance",
        "server_group",
        "flavor_name",
    ] {
        assert!(states.iter().all(|one| one["metric"][label].is_string()), "{label}: {states:?}");
    }
    let ended = running.stop().code(0);
    // Nothing is sent to a broker that nobody has named.
    assert!(!ended.stderr.contains("amqp") && !ended.stderr.contains("5672"), "{}", ended.stderr);
}

/// Samples that nobody receives were journaled all the same: two synced writes in each cycle.
#[test]
fn samples_that_are_only_scraped_are_not_journaled() {
    let (agent, port) = listening("scrape-journal", "ceilometer");
    let agent = agent
        .libvirt("sim://?domains=20&seed=1")
        .everything_to(&["test://"])
        .set("mode", "polling")
        .set("polling.notifications", false);
    let database = || {
        let files = std::fs::read_dir(agent.folder.at("store")).unwrap().map(Result::unwrap);
        let state = |file: std::fs::DirEntry| {
            let metadata = file.metadata().unwrap();
            (file.file_name(), metadata.len(), metadata.modified().unwrap())
        };
        let mut states: Vec<_> = files.map(state).collect();
        states.sort();
        states
    };
    let mut running = agent.run();
    scraped(port, "ceilometer_cpu{");
    running.wait_for_cycles(2);
    let before = database();
    assert!(!before.is_empty());
    running.wait_for_cycles(5);
    assert_eq!(database(), before);
    let status = agent.execute(&["status", "--json"]).code(0).stdout;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["sinks"], json!([]), "{status}");
    assert_eq!(status["ledger"]["sinks"], json!([]), "{status}");
    assert!(status["ledger"]["polled"].as_u64().unwrap() > 0, "{status}");
    assert_eq!(agent.execute(&["spool", "ls", "--json"]).code(0).stdout.trim(), "[]");
    let ledger = running.stop().code(0).ledger();
    assert!(ledger.polled > 0 && ledger.sinks.is_empty(), "{ledger:?}");
    // What would be scraped can still be looked at.
    let shown = agent.execute(&["once", "--format", "ndjson", "--samples", "1"]).code(0);
    assert!(shown.stdout.contains("\"cpu\""), "{}", shown.stdout);
}

/// A renewed certificate is used without a restart.
#[test]
fn a_renewed_certificate_is_used() {
    let (agent, port) = listening("scrape-renewed", "ceilometer");
    certificate(&agent.folder);
    let at = |name: &str| agent.folder.at(name).display().to_string();
    let (pem, key) = (at("certificate.pem"), at("key.pem"));
    let agent = agent
        .set("prometheus.tls.certificate", pem.as_str())
        .set("prometheus.tls.key", key.as_str())
        .everything_to(&["test://"]);
    let running = agent.run();
    let serial = || {
        let script = "openssl s_client -connect \"127.0.0.1:$0\" < /dev/null 2> /dev/null | \
                      openssl x509 -noout -serial 2> /dev/null";
        let output = Command::new("sh").args(["-c", script, &port.to_string()]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (!text.is_empty()).then_some(text)
    };
    let before = eventually("a certificate", PATIENCE, serial);
    certificate(&agent.folder);
    let renewed = || serial().filter(|serial| *serial != before);
    eventually("another certificate", PATIENCE, renewed);
    assert_eq!(running.logged("certificate reloaded").len(), 1);
    running.stop().code(0);
}
