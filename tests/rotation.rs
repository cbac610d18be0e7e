//! Secrets and certificates are replaced while the agent runs, against a real broker.

use std::collections::HashSet;
use std::fs;
use std::process::Command;

use nephometer_model::Secret;
use nephometer_wire::{SignatureForm, Signer};
use serde_json::{Value, json};

use crate::harness::{
    Agent, Consumer, Folder, Lab, PATIENCE, Running, broker, closed_port, cloud, eventually, text,
    verify,
};
use crate::reload::{command, write_unnoticed};
use crate::scrape::get;

/// Connections of a user at a broker, one line each: their process, and the subject of their
/// certificate.
fn connections(lab: &Lab, user: &str) -> Vec<String> {
    let list = lab.rabbit(&["list_connections", "user", "pid", "peer_cert_subject"]);
    let own = list.lines().filter_map(|line| line.strip_prefix(user));
    own.map(|line| line.trim().to_owned()).collect()
}

/// Waits for the only connection of a user that `is_new` accepts.
pub(crate) fn connection(lab: &Lab, user: &str, is_new: impl Fn(&str) -> bool) -> String {
    eventually("a connection", PATIENCE, || {
        let all = connections(lab, user);
        all.into_iter().find(|line| is_new(line))
    })
}

fn ids(samples: &[Value]) -> Vec<String> {
    samples.iter().map(|sample| text(sample, "message_id").to_owned()).collect()
}

/// Waits until two more messages have arrived.
fn wait_for_more(consumer: &Consumer) {
    consumer.wait_for(consumer.arrivals().len() + 2);
}

/// Stops the agent. Everything that it has sent has arrived once.
fn stop(running: Running, consumer: &Consumer) {
    let sent = running.stop().code(0).ledger().publisher("notifier").samples;
    eventually("all samples", PATIENCE, || (consumer.samples().len() as u64 >= sent).then_some(()));
    let ids = ids(&consumer.samples());
    assert_eq!(ids.len() as u64, sent);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "a sample came twice");
}

#[test]
fn a_new_password_of_the_broker_is_used_without_a_restart() {
    let (lab, user) = (broker(), "rotating");
    lab.rabbit(&["add_user", user, "first-password"]);
    lab.rabbit(&["set_permissions", user, ".*", ".*", ".*"]);
    let url = |password: &str| {
        format!("amqp://{user}:{password}@127.0.0.1:{}/%2f\n", lab.amqp_port()).into_bytes()
    };
    let agent = Agent::new("rotation-password");
    let file = agent.folder.write("amqp-url", url("first-password"));
    let agent = agent
        .set("amqp", json!({"url_file": file, "queues": "durable"}))
        .everything_to(&["notifier://?topic=rotating"]);
    let consumer = Consumer::new(lab.amqp_url(), "rotating");
    let mut running = agent.run();
    running.wait_for_cycles(1);
    consumer.wait_for(2);
    let before = connection(lab, user, |_| true);

    // On request: the plan names the change, and not the password.
    lab.rabbit(&["change_password", user, "other-password"]);
    write_unnoticed(&agent, "amqp-url", &url("other-password"));
    let plan = command(&agent, &["reload", "--plan"]).code(0);
    let expected = "publisher notifier://?topic=rotating: new credentials for the broker";
    let plan = plan.reports(expected);
    assert!(!plan.stdout.contains("password"), "{}", plan.stdout);
    assert_eq!(connection(lab, user, |_| true), before, "the plan changed something");
    let done = command(&agent, &["reload"]).code(0).reports(expected);
    assert!(!done.stdout.contains("password"), "{}", done.stdout);
    let after = connection(lab, user, |line| line != before);
    wait_for_more(&consumer);
    command(&agent, &["reload"]).code(0).reports("nothing has changed");

    // The broker closes the connection before the file has the new password.
    lab.rabbit(&["change_password", user, "third-password"]);
    let process = after.split_whitespace().next().unwrap();
    lab.rabbit(&["close_connection", process, "rotated"]);
    eventually("an outage", PATIENCE, || running.logged("publisher unavailable").pop());
    running.wait_for_cycles(2);
    fs::write(&file, url("third-password")).unwrap();
    eventually("the end of it", PATIENCE, || running.logged("publisher available again").pop());
    wait_for_more(&consumer);

    let log = running.stderr();
    let passwords = ["first-password", "other-password", "third-password"];
    assert!(!passwords.iter().any(|one| log.contains(one)), "the log has a password");
    stop(running, &consumer);
    lab.rabbit(&["delete_user", user]);
}

#[test]
fn a_new_secret_signs_from_the_next_batch_on() {
    let agent = Agent::new("rotation-secret").amqp(broker().amqp_url());
    let file = agent.folder.write("secret", "old-secret\n");
    let agent = agent
        .set("message.telemetry_secret_file", file.display().to_string())
        .everything_to(&["notifier://?topic=resigned"]);
    let consumer = Consumer::new(broker().amqp_url(), "resigned");
    let running = agent.run();
    consumer.wait_for(2);
    fs::write(&file, "new-secret\n").unwrap();
    let applied = eventually("a reload", PATIENCE, || running.logged("reload applied").pop());
    assert!(text(&applied, "changes").contains("message: new secret"), "{applied}");
    wait_for_more(&consumer);
    wait_for_more(&consumer);
    stop(running, &consumer);

    let samples = consumer.samples();
    let new = Signer::new(&Secret::new("new-secret"), SignatureForm::Python3);
    let is_new = |sample: &Value| new.verify(sample.as_object().unwrap()).is_ok();
    let first = samples.iter().position(is_new).expect("messages with the new secret");
    let (old, new) = samples.split_at(first);
    assert!(!old.is_empty());
    assert_eq!(verify(old, "old-secret"), old.len());
    assert_eq!(verify(new, "new-secret"), new.len());
}

#[test]
fn a_new_token_of_a_listener_counts_from_the_next_request_on() {
    let agent = Agent::new("rotation-token").everything_to(&["test://"]);
    let [metrics, scrapes] = [closed_port(), closed_port()];
    let files = [
        agent.folder.write("metrics-token", "first-token-of-metrics\n"),
        agent.folder.write("scrapes-token", "first-token-of-scrapes\n"),
    ];
    let agent = agent
        .set("telemetry", json!({"listen": format!("127.0.0.1:{metrics}"), "token_file": files[0]}))
        .set(
            "prometheus",
            json!({"listen": format!("127.0.0.1:{scrapes}"), "token_file": files[1]}),
        );
    let running = agent.run();
    let is_open = |port: u16, token: &str| {
        get(port, "/metrics", &format!("Authorization: Bearer {token}\r\n")).is_some()
    };
    let open = |port: u16, token: &str| {
        eventually("an open listener", PATIENCE, || is_open(port, token).then_some(()));
    };
    open(metrics, "first-token-of-metrics");
    open(scrapes, "first-token-of-scrapes");
    write_unnoticed(&agent, "metrics-token", b"other-token-of-metrics\n");
    let expected = "telemetry: new token, counts from the next request on";
    command(&agent, &["reload", "--plan"]).code(0).reports(expected);
    assert!(!is_open(metrics, "other-token-of-metrics"), "the plan changed something");
    command(&agent, &["reload"]).code(0).reports(expected);
    open(metrics, "other-token-of-metrics");
    assert!(!is_open(metrics, "first-token-of-metrics"));
    assert!(
        is_open(scrapes, "first-token-of-scrapes") && !is_open(scrapes, "other-token-of-metrics")
    );
    command(&agent, &["reload"]).code(0).reports("nothing has changed");

    // By itself, from the file.
    fs::write(&files[1], "second-token-of-scrapes\n").unwrap();
    open(scrapes, "second-token-of-scrapes");
    assert!(!is_open(scrapes, "first-token-of-scrapes"));
    let log = running.stderr();
    assert!(!log.contains("-token-of-"), "the log has a token");
    running.stop().code(0);
}

#[test]
fn new_credentials_of_nova_are_used_without_a_restart() {
    let cloud = cloud();
    let agent = Agent::new("rotation-nova").everything_to(&["test://"]);
    let file = agent.folder.write("password", "expired-password\n");
    let mut credentials = cloud.password();
    credentials.as_object_mut().unwrap().remove("password");
    credentials["password_file"] = file.display().to_string().into();
    let agent = agent.set("discovery.method", "merged").set("service_credentials", credentials);
    let running = agent.run();
    eventually("a refusal", PATIENCE, || running.logged("nova unreachable").pop());
    assert!(running.logged("nova reachable").is_empty());
    fs::write(&file, "ceilometer-password\n").unwrap();
    let applied = eventually("a reload", PATIENCE, || running.logged("reload applied").pop());
    assert!(text(&applied, "changes").contains("service_credentials: new settings"), "{applied}");
    eventually("Nova's answer", PATIENCE, || running.logged("nova reachable").pop());
    assert!(!running.stderr().contains("-password"), "the log has a password");
    running.stop().code(0);
}

/// Makes an authority, the broker's certificate, and two of clients.
const CERTIFICATES: &str = r#"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab -keyout ca.key -out ca.pem \
  -addext basicConstraints=critical,CA:TRUE
printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n' > ext
for name in broker first second; do
  openssl req -newkey rsa:2048 -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr"
  openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out "$name.pem"
done
"#;

/// A broker that requires certificates of its clients, with TLS on this port.
fn lab_with_tls(port: u16) -> Lab {
    Lab::with_settings("rotation-tls", |folder: &Folder| {
        let script = ["-ec", CERTIFICATES];
        let made = Command::new("sh").args(script).current_dir(folder.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let file = |name: &str| folder.at(name).display().to_string();
        format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\n\
             ssl_options.certfile = {}\nssl_options.keyfile = {}\n\
             ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n",
            file("ca.pem"),
            file("broker.pem"),
            file("broker.key")
        )
    })
}

#[test]
fn a_new_certificate_of_the_agent_is_used_without_a_restart() {
    let port = closed_port();
    let lab = lab_with_tls(port);
    let file = |name: &str| lab.at(name);
    let install = |name: &str| {
        for end in ["key", "pem"] {
            let beside = file(&format!(".agent.{end}"));
            fs::copy(file(&format!("{name}.{end}")), &beside).unwrap();
            fs::rename(beside, file(&format!("agent.{end}"))).unwrap();
        }
    };
    install("first");
    let tls =
        json!({"ca": file("ca.pem"), "certificate": file("agent.pem"), "key": file("agent.key")});
    let url = format!("amqps://guest:guest@localhost:{port}/%2f");
    let agent = Agent::new("rotation-tls")
        .set("amqp", json!({"url": url, "queues": "durable", "tls": tls}))
        .everything_to(&["notifier://?topic=certified"]);
    let consumer = Consumer::new(lab.amqp_url(), "certified");
    let running = agent.run();
    consumer.wait_for(2);
    connection(&lab, "guest", |line| line.contains("CN=first"));
    install("second");
    connection(&lab, "guest", |line| line.contains("CN=second"));
    wait_for_more(&consumer);
    let changes = running.logged("reload applied");
    assert!(text(&changes[0], "changes").contains("new certificates for the broker"));
    stop(running, &consumer);
}
