//! Malicious brokers. One agent has a publisher for each of them and one that writes a file. The
//! agent survives, the file stays complete, memory does not grow, and SIGTERM stops the agent.

use std::io::{self, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::measure_memory;
use super::peer::{
    EVIL, Misdeed, Peer, TUNE, arrays, broker, closed, frame, header, long, method, returned,
    short, start, tables,
};
use crate::harness::{
    Agent, Ended, Folder, PATIENCE, Running, certificate, closed_port, eventually, ndjson,
};

/// Memory in KiB that the agent may use beyond an agent with as many good brokers.
const MORE: u64 = 64 << 10;
const UNAVAILABLE: &str = "publisher unavailable";

/// Name, misdeed, and the reason that the agent logs for the outage.
const MISDEEDS: [(&str, Misdeed, &str); 20] = [
    ("silent", |peer| peer.hold(), "no answer from the broker within 10 s"),
    ("slow", slow, "no answer from the broker within 10 s"),
    ("no-broker", |peer| peer.greet(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "frame type 72"),
    ("older", |peer| peer.greet(b"AMQP\0\0\x08\0"), "the server only supports AMQP 0.8.0"),
    ("huge-frame", huge_frame, "2147483655 bytes, at most 131072 bytes (amqp_frame_bytes)"),
    ("large-frame", |peer| peer.greet(&start(&tables(20_000))), "(amqp_frame_bytes)"),
    ("tables-550", |peer| peer.greet(&start(&tables(550))), "(amqp_table_depth)"),
    ("tables-2300", |peer| peer.greet(&start(&tables(2_300))), "(amqp_table_depth)"),
    ("many-starts", |peer| peer.greet(&start(&[]).repeat(100_000)), "connecting to the broker"),
    ("late-tables", late_tables, "33 levels, at most 32 levels (amqp_table_depth)"),
    ("declares", declares, "method 50.10 is not one that a broker sends"),
    ("evil-login", evil_login, "EVIL"),
    ("evil-channel", |peer| peer.welcome(|peer, _| peer.send(&closed(1, (20, 40)))), "EVIL"),
    ("evil-return", evil_return, "returned by the broker: \\u{1b}[2J"),
    ("confirms-nothing", |peer| peer.welcome(|peer, _| peer.confirm(99_999)), "99999"),
    ("flows", |peer| peer.welcome(|peer, _| peer.flood(&method(1, (20, 20), &[1]))), UNASKED),
    ("closes", |peer| peer.welcome(|peer, _| peer.flood(&closed(1, (20, 40)))), "failed: "),
    ("blocks", |peer| peer.welcome(|peer, _| peer.flood(&blocked())), UNASKED),
    ("returns", returns, "the broker returns more messages than were sent"),
    ("bodies", bodies, "the broker returns more bytes than were sent"),
];
const UNASKED: &str = "1001, at most 1000 (amqp_unasked_methods)";

fn slow(peer: &mut Peer) -> io::Result<()> {
    peer.take(8)?;
    for byte in start(&[]) {
        peer.send(&[byte])?;
        std::thread::sleep(Duration::from_millis(500));
    }
    peer.hold()
}

fn huge_frame(peer: &mut Peer) -> io::Result<()> {
    peer.greet(&[1, 0, 0, 0x7f, 0xff, 0xff, 0xff])?;
    peer.flood(b"x")
}

fn late_tables(peer: &mut Peer) -> io::Result<()> {
    peer.welcome(|peer, _| peer.send(&[returned(b""), header(&tables(2_300))].concat()))
}

fn declares(peer: &mut Peer) -> io::Result<()> {
    let arguments = [&[0, 0][..], &short(b"q"), &[0], &long(&tables(2_000))].concat();
    peer.welcome(|peer, _| peer.send(&method(1, (50, 10), &arguments)))
}

fn evil_login(peer: &mut Peer) -> io::Result<()> {
    peer.greet(&start(&[]))?;
    peer.frame()?;
    peer.send(&closed(0, (10, 50)))
}

fn evil_return(peer: &mut Peer) -> io::Result<()> {
    peer.welcome(|peer, tag| {
        peer.send(&[returned(EVIL), header(&[])].concat())?;
        peer.confirm(tag)
    })
}

fn blocked() -> Vec<u8> {
    [method(0, (10, 60), &short(EVIL)), method(0, (10, 61), &[])].concat()
}

fn returns(peer: &mut Peer) -> io::Result<()> {
    peer.welcome(|peer, _| peer.flood(&[returned(b""), header(&[])].concat()))
}

/// Returns the first message with a body that never ends.
fn bodies(peer: &mut Peer) -> io::Result<()> {
    let mut header = header(&[]);
    header[11..19].copy_from_slice(&u64::MAX.to_be_bytes());
    peer.welcome(|peer, _| {
        peer.send(&[returned(b""), header.clone()].concat())?;
        peer.flood(&frame(3, 1, &[0; 4000]))
    })
}

/// Unusual behaviour that is allowed.
const ODD: [(&str, Misdeed); 4] = [
    ("no-limits", |peer| odd(peer, &[], [0; 8])),
    ("tiny-limits", |peer| odd(peer, &[], [0, 1, 0, 0, 0, 1, 0, 1])),
    ("vast-limits", |peer| odd(peer, &[], [0xff; 8])),
    ("deep-enough", |peer| odd(peer, &tables(31), TUNE)),
];

fn odd(peer: &mut Peer, properties: &[u8], tune: [u8; 8]) -> io::Result<()> {
    peer.login(properties, tune)?;
    peer.serve(Peer::confirm)
}

fn publisher(name: &str, port: u16) -> String {
    format!("notifier://guest:guest@127.0.0.1:{port}/%2f?topic={name}")
}

/// An agent with these publishers and one that writes a file. It has few samples, so that
/// connections account for its memory.
fn agent(name: &str, mut publishers: Vec<String>) -> Agent {
    let agent = Agent::new(name).libvirt("sim://?domains=1").set("shutdown_grace", "2s");
    publishers.push(format!("file://{}?json", agent.folder.at("neighbour").display()));
    agent.pipeline(&format!(
        "sources: [{{name: little, interval: 1, meters: ['cpu'], sinks: [out]}}]\n\
         sinks: [{{name: out, transformers: [], publishers: {publishers:?}}}]\n"
    ))
}

fn neighbour(agent: &Agent) -> usize {
    let text = std::fs::read_to_string(agent.folder.at("neighbour")).unwrap_or_default();
    ndjson(text.rsplit_once('\n').map_or("", |(whole, _)| whole)).len()
}

/// Stops the agent and asserts that the file is complete. Also returns the peak resident memory in
/// KiB.
fn end(running: Running, agent: &Agent, code: i32) -> (Ended, u64) {
    running.terminate();
    let (ended, resident) = measure_memory(running, Running::ended);
    let ended = ended.code(code);
    let ledger = ended.ledger();
    let file = ledger.publisher("/file://");
    assert_eq!((file.samples, file.pending), (ledger.polled, 0), "{ledger:?}");
    assert_eq!(neighbour(agent) as u64, ledger.polled);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    (ended, resident)
}

/// The reason of a publisher's first outage.
fn reason(running: &Running, name: &str) -> Option<String> {
    let topic = format!("topic={name}");
    let outages = running.logged(UNAVAILABLE).into_iter();
    let mut own = outages.filter(|line| line["publisher"].as_str().unwrap().ends_with(&topic));
    own.next().map(|line| line["reason"].as_str().unwrap().to_owned())
}

#[test]
fn hostile_broker_cannot_crash_or_block_the_agent() {
    let names = MISDEEDS.iter().map(|(name, ..)| *name).chain(ODD.iter().map(|(name, _)| *name));
    let good = names.map(|name| publisher(name, broker(|peer| peer.welcome(Peer::confirm)).0));
    let calm = agent("hostile-broker-calm", good.collect());
    let mut running = calm.run();
    running.wait_for_cycles(3);
    let (_, idle) = end(running, &calm, 0);

    let misdeeds = MISDEEDS.map(|(name, misdeed, reason)| (name, broker(misdeed), reason));
    let odd = ODD.map(|(name, misdeed)| (name, broker(misdeed).0));
    let mut publishers: Vec<String> =
        misdeeds.iter().map(|(name, (port, _), _)| publisher(name, *port)).collect();
    publishers.extend(odd.iter().map(|(name, port)| publisher(name, *port)));
    // Tables that exceed the default frame size are accepted if the URL asks for larger frames.
    let (port, _) = broker(|peer| peer.greet(&start(&arrays(20_000))));
    publishers.push("notifier://?topic=arrays-20000".to_owned());
    let agent = agent("hostile-broker", publishers)
        .amqp(&format!("amqp://guest:guest@127.0.0.1:{port}/%2f?frame_max=131072"));
    let mut running = agent.run();
    running.wait_for_cycles(1);
    let wanted = misdeeds.iter().map(|(name, _, wanted)| (*name, *wanted));
    for (name, wanted) in wanted.chain([("arrays-20000", "(amqp_table_depth)")]) {
        let reason = eventually(name, PATIENCE, || reason(&running, name));
        assert!(reason.contains(wanted), "{name}: {reason}");
        assert!(!reason.contains(|c: char| c.is_control() || c == '\u{202e}'), "{reason:?}");
    }
    // Each is retried, the others continue, and a failed attempt leaves no open connection.
    let before = neighbour(&agent);
    running.wait_for_cycles(2);
    eventually("more in the file", PATIENCE, || (neighbour(&agent) > before).then_some(()));
    for (name, (_, open), _) in &misdeeds {
        let what = format!("one connection of {name}");
        eventually(&what, PATIENCE, || (open.load(Relaxed) <= 1).then_some(()));
    }
    let (ended, most) = end(running, &agent, 69);
    let ledger = ended.ledger();
    for (name, ..) in &misdeeds {
        assert_eq!(ledger.publisher(&format!("topic={name}")).left, 0, "{name}");
    }
    for (name, _) in &odd {
        assert!(ledger.publisher(&format!("topic={name}")).left > 0, "{name}: {}", ended.stderr);
    }
    assert!(most < idle + MORE, "{most} KiB, with good brokers {idle} KiB");
}

#[test]
fn blocking_broker_does_not_delay_shutdown_of_the_agent() {
    let (port, _) =
        broker(|peer| peer.welcome(|peer, _| peer.send(&method(0, (10, 60), &short(EVIL)))));
    let agent = agent("hostile-broker-blocks", vec![publisher("blocks", port)]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    eventually("a line in the log", PATIENCE, || {
        let blocked = "broker blocked, short of memory or disk";
        (!running.logged(blocked).is_empty()).then_some(())
    });
    end(running, &agent, 69);
}

/// With TLS, the limits apply to the decrypted data: TLS protects from others, not from the broker.
#[test]
fn tables_are_bounded_over_tls_too() {
    let (folder, port) = (Folder::new("hostile-broker-tls-server"), closed_port());
    certificate(&folder);
    let mut server = Command::new("openssl")
        .args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}")])
        .args(["-cert", "certificate.pem", "-key", "key.pem"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The server sends its input to the connected client; the thread ends with the server.
    let mut input = server.stdin.take().unwrap();
    std::thread::spawn(move || {
        while input.write_all(&start(&tables(2_300))).is_ok() {
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    eventually("OpenSSL's server", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok());
    let agent = agent("hostile-broker-tls", vec!["notifier://?topic=tls".to_owned()])
        .amqp(&format!("amqps://guest:guest@localhost:{port}/%2f"))
        .set("amqp.tls.ca", folder.at("certificate.pem").display().to_string());
    let mut running = agent.run();
    running.wait_for_cycles(1);
    let reason = eventually("an outage", PATIENCE, || reason(&running, "tls"));
    let ended = end(running, &agent, 69);
    drop(server.kill());
    drop(server.wait());
    assert!(reason.contains("(amqp_table_depth)"), "{reason}\n{}", ended.0.stderr);
}
