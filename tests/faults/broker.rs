//! Faults of the broker and of connections to it.

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};

use super::assert_all_delivered;
use crate::harness::{
    Agent, Consumer, Cut, Lab, PATIENCE, Proxy, at_broker, broker, closed_port, eventually,
    public_keys,
};

#[test]
fn cut_connection_loses_nothing() {
    let cuts =
        [Cut::Greeting, Cut::Method, Cut::Header, Cut::Body, Cut::BeforeConfirm, Cut::AfterConfirm];
    std::thread::scope(|scope| {
        for cut in cuts {
            scope.spawn(move || cut_twice(cut));
        }
    });
}

fn cut_twice(cut: Cut) {
    let lab = broker();
    let proxy = Proxy::to(lab.amqp_port(), vec![cut, cut]);
    let topic = format!("cut-{cut:?}").to_lowercase();
    let consumer = Consumer::new(lab.amqp_url(), &topic);
    let agent = Agent::new(&format!("faults-{topic}"))
        .amqp(&format!("amqp://guest:guest@127.0.0.1:{}/%2f", proxy.port()))
        .everything_to(&[&format!("notifier://?topic={topic}")]);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    eventually("two cuts survived", PATIENCE, || {
        (!running.logged("publisher available again").is_empty() && !consumer.arrivals().is_empty())
            .then_some(())
    });
    let ledger = running.stop().code(0).ledger();
    assert_all_delivered(&public_keys(&agent), &consumer, &ledger, "notifier");
}

#[test]
fn unavailable_broker_loses_nothing() {
    let lab = Lab::up("faults-broker", &["--no-libvirt"]);
    let url = lab.amqp_url();
    let consumer = Consumer::acknowledging(url, "taken");
    let agent = Agent::new("faults-broker")
        .amqp(&url.replace("%2f", "%2f?heartbeat=2"))
        .set("amqp.queues", "durable")
        .everything_to(&["notifier://?topic=taken"]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    consumer.wait_for(2);

    // Short of memory: the broker blocks the connection, which stays open.
    lab.rabbit(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
    let wait_for_log = |message: &str| {
        let what = format!("{message:?}");
        eventually(&what, PATIENCE, || (!running.logged(message).is_empty()).then_some(()));
    };
    wait_for_log("broker blocked, short of memory or disk");
    lab.rabbit(&["set_vm_memory_high_watermark", "absolute", "1GB"]);
    wait_for_log("broker unblocked");

    // Stopped: noticed by missing heartbeats.
    lab.signal_amqp("-STOP");
    wait_for_log("publisher unavailable");
    lab.signal_amqp("-CONT");
    wait_for_log("publisher available again");

    // Without a binding: a returned message does not count as delivered, and the queue is bound
    // again.
    let before = consumer.arrivals().len();
    at_broker(url, async |channel| {
        let (queue, exchange) = ("taken.sample".into(), "ceilometer".into());
        channel.queue_unbind(queue, exchange, "taken.sample".into(), FieldTable::default()).await?;
        Ok(())
    });
    consumer.wait_for(before + 3);

    // Killed: the queue and its messages are durable.
    lab.kill_amqp();
    running.wait_for_cycles(2);
    lab.start_amqp();
    let ledger = running.stop().code(0).ledger();
    assert_all_delivered(&public_keys(&agent), &consumer, &ledger, "notifier");
}

#[test]
fn message_rejected_by_a_full_queue_is_retried() {
    let url = broker().amqp_url();
    let queue = "refusing.sample";
    at_broker(url, async |channel| {
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
        let overflow = AMQPValue::LongString("reject-publish".into());
        arguments.insert("x-overflow".into(), overflow);
        channel.queue_declare(queue.into(), QueueDeclareOptions::default(), arguments).await?;
        Ok(())
    });
    let agent =
        Agent::new("faults-refusing").amqp(url).everything_to(&["notifier://?topic=refusing"]);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    eventually("a rejected message", PATIENCE, || {
        let lines = running.logged("publisher unavailable");
        lines.iter().any(|line| line["reason"] == "refused by the broker").then_some(())
    });
    // From now on a consumer empties the queue.
    let consumer = Consumer::new(url, "refusing");
    let ledger = running.stop().code(0).ledger();
    assert_all_delivered(&public_keys(&agent), &consumer, &ledger, "notifier");
    at_broker(url, async |channel| {
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
        Ok(())
    });
}

/// Makes a certificate authority, and certificates for a broker and an agent.
const CERTIFICATES: &str = r#"
authority() { openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab -keyout ca.key -out ca.pem \
  -addext basicConstraints=critical,CA:TRUE; }
signed() { openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
  printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile "$1.ext" -out "$1.pem"; }
authority && signed broker && signed agent
"#;

#[test]
fn cluster_is_reached_over_tls_with_a_client_certificate() {
    let (tls, closed) = (closed_port(), closed_port());
    let lab = Lab::with_settings("faults-tls", |folder| {
        let output = std::process::Command::new("sh")
            .args(["-ec", CERTIFICATES])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let file = |name: &str| folder.at(name).display().to_string();
        format!(
            "listeners.ssl.1 = 127.0.0.1:{tls}\nssl_options.cacertfile = {}\n\
             ssl_options.certfile = {}\nssl_options.keyfile = {}\n\
             ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n",
            file("ca.pem"),
            file("broker.pem"),
            file("broker.key")
        )
    });
    let file = |name: &str| lab.at(name).display().to_string();
    let nodes = format!("guest:guest@127.0.0.1:{closed},guest:guest@localhost:{tls}");
    let consumer = Consumer::acknowledging(lab.amqp_url(), "tls");
    let agent = |name: &str| {
        Agent::new(name)
            .amqp(&format!("amqps://{nodes}/%2f"))
            .set("amqp.queues", "quorum")
            .set("shutdown_grace", "2s")
            .everything_to(&["notifier://?topic=tls"])
    };
    let trusted = agent("faults-tls")
        .set("amqp.tls.ca", file("ca.pem"))
        .set("amqp.tls.certificate", file("agent.pem"))
        .set("amqp.tls.key", file("agent.key"));
    let mut running = trusted.run();
    running.wait_for_cycles(2);
    consumer.wait_for(2);
    let ledger = running.stop().code(0).ledger();
    assert_all_delivered(&public_keys(&trusted), &consumer, &ledger, "notifier");
    let queues = lab.rabbit(&["list_queues", "name", "type", "durable"]);
    assert!(queues.contains("tls.sample\tquorum\ttrue"), "{queues}");

    // Without a client certificate; without trust in the broker's certificate.
    for (name, ca) in [("faults-tls-no-certificate", true), ("faults-tls-untrusted", false)] {
        let mut agent = agent(name);
        if ca {
            agent = agent.set("amqp.tls.ca", file("ca.pem"));
        }
        let mut running = agent.run();
        running.wait_for_cycles(2);
        let ended = running.stop().code(69);
        let lines = ended.logged("publisher unavailable");
        assert!(!lines.is_empty(), "{}", ended.stderr);
        assert!(ended.ledger().publisher("notifier").pending > 0);
    }
    let missing = trusted.set("amqp.tls.key", "/nowhere/key.pem");
    missing.execute(&["check"]).code(78).reports("the file \"/nowhere/key.pem\" cannot be read");
}
