//! A real broker whose certificate has another name: `tls.verify_hostname` of the agent and of the
//! collector.

use std::process::Command;

use serde_json::json;

use crate::harness::{
    Agent, Collector, Ended, Folder, Lab, PATIENCE, api_of, closed_port, eventually, text,
};

/// Makes an authority and the broker's certificate, and another authority with the same name.
const CERTIFICATES: &str = r#"
authority() { openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab -keyout "$1.key" -out "$1.pem" \
  -addext basicConstraints=critical,CA:TRUE; }
authority ca && authority other
openssl req -newkey rsa:2048 -nodes -subj /CN=elsewhere -keyout broker.key -out broker.csr
printf 'subjectAltName=DNS:elsewhere.example\nbasicConstraints=CA:FALSE\n' > broker.ext
openssl x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile broker.ext -out broker.pem
"#;

/// The parts of errors, of the library and of the verifier.
const OTHER_NAME: &[&str] = &["NotValidForName", "not valid for name"];
const OTHER_AUTHORITY: &[&str] = &["UnknownIssuer", "BadSignature", "invalid peer certificate"];

/// A broker with TLS on this port.
fn lab(port: u16) -> Lab {
    Lab::with_settings("broker-tls", |folder: &Folder| {
        let output = Command::new("sh")
            .args(["-ec", CERTIFICATES])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let file = |name: &str| folder.at(name).display().to_string();
        format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\n\
             ssl_options.certfile = {}\nssl_options.keyfile = {}\nssl_options.verify = verify_none\n",
            file("ca.pem"),
            file("broker.pem"),
            file("broker.key")
        )
    })
}

/// Asserts that an outage was logged with one of these reasons.
fn assert_refused(ended: &Ended, message: &str, reasons: &[&str]) {
    let lines = ended.logged(message);
    let reason = lines.first().map_or("", |line| line["reason"].as_str().unwrap());
    assert!(reasons.iter().any(|part| reason.contains(part)), "{reason}\n{}", ended.stderr);
    assert!(!reason.contains("guest"), "{reason}");
}

#[test]
fn certificate_of_another_name_is_accepted_only_without_verify_hostname() {
    let port = closed_port();
    let lab = lab(port);
    let ca = |name: &str| lab.at(&format!("{name}.pem")).display().to_string();
    let url = format!("amqps://guest:guest@localhost:{port}/%2f");
    let agent = |name: &str, authority: &str, verify: bool| {
        Agent::new(name)
            .libvirt("sim://?domains=1")
            .amqp(&url)
            .set("amqp.tls", json!({"ca": ca(authority), "verify_hostname": verify}))
            .set("amqp.queues", "durable")
            .set("shutdown_grace", "2s")
            .everything_to(&["notifier://?topic=named"])
    };
    let refused = [
        ("broker-tls-name", "ca", true, OTHER_NAME),
        ("broker-tls-authority", "other", false, OTHER_AUTHORITY),
    ];
    for (name, authority, verify, reasons) in refused {
        let agent = agent(name, authority, verify);
        let mut running = agent.run();
        running.wait_for_cycles(1);
        eventually("an outage", PATIENCE, || running.logged("publisher unavailable").pop());
        let ended = running.stop().code(69);
        assert_refused(&ended, "publisher unavailable", reasons);
        assert_eq!(ended.ledger().publisher("notifier").left, 0);
    }
    let accepted = agent("broker-tls-accepted", "ca", false);
    let mut running = accepted.run();
    running.wait_for_cycles(2);
    let sent = running.stop().code(0).ledger().publisher("notifier").samples;
    assert!(sent > 0);

    let collector = |name: &str, authority: &str, verify: bool| {
        let tls = json!({"ca": ca(authority), "verify_hostname": verify});
        let broker =
            json!({"url": url, "tls": tls, "declare": "durable", "queues": ["named.sample"]});
        Collector::new(name).set("brokers", json!([broker]))
    };
    for (name, authority, verify, reasons) in refused {
        let collector = collector(&format!("collector-{name}"), authority, verify);
        let running = collector.run();
        eventually("an outage", PATIENCE, || running.logged("broker unavailable").pop());
        let ended = running.stop().code(0);
        assert_refused(&ended, "broker unavailable", reasons);
        assert!(ended.logged("broker connected").is_empty());
    }
    let collector = collector("collector-broker-tls-accepted", "ca", false);
    let running = collector.run();
    api_of(&running);
    eventually("all samples", PATIENCE, || {
        (collector.state()["counts"]["stored"].as_u64() == Some(sent)).then_some(())
    });
    let samples = collector.samples();
    assert_eq!(samples.len() as u64, sent);
    assert!(samples.iter().all(|sample| !text(sample, "meter").is_empty()));
    running.stop().code(0);
}
