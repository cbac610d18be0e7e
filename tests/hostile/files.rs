//! Malicious files, folders and sockets: links, FIFOs, folders of other users, silent clients,
//! names with control characters, and XML that is slow to parse.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::harness::{Agent, PATIENCE, Running, eventually, ndjson, text};

/// More connections than a client may have open, and more than the socket's queue can contain.
const SILENT: usize = 200;

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

/// An agent that sends everything to each of these publishers and to the honest file, each in its
/// own sink.
fn agent(name: &str, publishers: &[&str]) -> Agent {
    let agent = Agent::new(name).set("shutdown_grace", "2s");
    let honest = format!("file://{}?json", agent.folder.at("honest").display());
    let all: Vec<&str> = publishers.iter().copied().chain([&*honest]).collect();
    let names: Vec<String> = (0..all.len()).map(|number| format!("k{number}")).collect();
    let sinks: String = names
        .iter()
        .zip(all)
        .map(|(name, url)| format!("- {{name: {name}, publishers: ['{url}']}}\n"))
        .collect();
    agent.pipeline(&format!(
        "sources: [{{name: all, interval: 1, meters: ['*'], sinks: {names:?}}}]\nsinks:\n{sinks}"
    ))
}

/// Asserts that the honest file receives more samples.
fn goes_on(agent: &Agent, running: &mut Running) {
    let lines =
        || fs::read_to_string(agent.folder.at("honest")).unwrap_or_default().lines().count();
    let before = lines();
    running.wait_for_cycles(1);
    eventually("more in the honest file", PATIENCE, || (lines() > before).then_some(()));
}

// Regression: an agent whose file was a FIFO ignored SIGTERM, because opening it waited for a
// reader.
#[test]
fn fifo_link_and_world_writable_file_hold_only_their_own_samples() {
    let agent = Agent::new("hostile-outputs");
    let at = |name: &str| agent.folder.at(name).display().to_string();
    fifo(&agent.folder.at("fifo"));
    let victim = agent.folder.write("victim", "kept");
    symlink(&victim, agent.folder.at("link")).unwrap();
    let open = agent.folder.write("open", "");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
    symlink(&victim, agent.folder.at("rotated.1")).unwrap();
    let urls = [
        format!("file://{}", at("fifo")),
        format!("file://{}", at("link")),
        format!("file://{}", at("open")),
        format!("file://{}?max_bytes=2000&backup_count=3", at("rotated")),
    ];
    let reasons = ["it is a FIFO", "it is a link", "chmod o-w", "rotated.1: it is a link"];
    let agent = self::agent("hostile-outputs", &urls.each_ref().map(String::as_str));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let reported = |running: &Running| {
        let lines = running.logged("publisher unavailable");
        let has = |reason: &&str| lines.iter().any(|line| text(line, "reason").contains(reason));
        reasons.iter().all(has).then_some(())
    };
    eventually("a reason for each", PATIENCE, || reported(&running));
    goes_on(&agent, &mut running);
    let ended = running.stop().code(69);
    let ledger = ended.ledger();
    assert!(ledger.sinks.values().all(|sink| sink.dropped == 0), "{ledger:?}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
}

// Regression: 2^32 renames in each rotation prevented the agent from stopping.
#[test]
fn rotation_is_bounded_and_completes_at_the_limit() {
    let agent = Agent::new("hostile-rotation");
    let url = |backups: u64| {
        let path = agent.folder.at("rotated");
        format!("file://{}?json&max_bytes=3000&backup_count={backups}", path.display())
    };
    let (fine, refused) = (url(10_000), [url(10_001), url(4_294_967_295)]);
    for url in &refused {
        let agent = self::agent("hostile-rotation", &[url]);
        agent.execute(&["check"]).code(78).reports("at most 10000 (backup_count)");
    }
    let agent = self::agent("hostile-rotation", &[&fine]);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    goes_on(&agent, &mut running);
    let ledger = running.stop().code(0).ledger();
    assert!(ledger.sinks.values().all(|sink| sink.pending == 0 && sink.dropped == 0), "{ledger:?}");
}

// Regression: world-writable folders were used, and links in them were followed.
#[test]
fn a_store_that_others_may_write_is_refused_and_links_in_it_are_not_followed() {
    let agent = agent("hostile-store", &[]);
    let store = agent.folder.at("store");
    fs::create_dir(&store).unwrap();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o777)).unwrap();
    let place = store.display().to_string();
    let ended = agent.execute(&["run"]).code(69).reports(&place).reports("chmod go-w");
    assert!(ended.stderr.contains("mode 777"), "{}", ended.stderr);
    fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
    let victim = agent.folder.write("victim", "kept");
    for name in ["lock", "host-generation", "agent.redb", "dead-letters.ndjson"] {
        symlink(&victim, store.join(name)).unwrap();
        if name != "dead-letters.ndjson" {
            agent
                .execute(&["run"])
                .code(69)
                .reports(&format!("{place}/{name}"))
                .reports("it is a link");
        }
        fs::remove_file(store.join(name)).unwrap();
    }
    symlink(&victim, store.join("host-generation.new")).unwrap();
    let mut running = agent.run();
    running.wait_for_cycles(1);
    goes_on(&agent, &mut running);
    running.stop().code(0);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
}

// Regression: `component check FIFO` and all other commands that read a file waited for ever.
#[test]
fn commands_never_block_on_a_fifo() {
    let agent = agent("hostile-fifos", &[]);
    let path = agent.folder.at("fifo");
    fifo(&path);
    let path = path.to_str().unwrap();
    let recording = agent.folder.at("recording");
    fs::create_dir_all(recording.join("xml")).unwrap();
    fs::create_dir(recording.join("domstats")).unwrap();
    fifo(&recording.join("xml/a.xml"));
    let recording = format!("replay://{}", recording.display());
    let component = crate::harness::component("rate_of_change");
    let component = component.to_str().unwrap();
    for (arguments, code) in [
        (&["component", "check", path][..], 78),
        (&["component", "inspect", path], 78),
        (&["component", "test", component, path], 64),
        (&["component", "run", component, "--recording", path], 64),
        (&["replay", path], 64),
        (&["check", "--ceilometer-conf", path], 78),
        (&["check", "--polling", path], 78),
        (&["once", "--libvirt", &recording], 78),
    ] {
        let ended = agent.execute(arguments);
        let both = format!("{}{}", ended.stdout, ended.stderr);
        assert!(both.contains("it is a FIFO"), "{arguments:?}: {both}");
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {both}");
    }
    fs::create_dir(agent.folder.at("folder.wasm")).unwrap();
    let folder = agent.folder.path().to_str().unwrap().to_owned();
    let agent = agent
        .set("components.path", json!([folder]))
        .through("[{name: folder, parameters: {}}]", &["test://"]);
    let ended = agent.execute(&["check"]).code(78).reports("expected a file, found a folder");
    assert!(!ended.stdout.contains("did you mean"), "{}", ended.stdout);
}

#[test]
fn configuration_is_still_read_from_a_pipe() {
    let agent = agent("hostile-pipe", &[]);
    let pipeline = fs::read(agent.folder.at("pipeline.yaml")).unwrap();
    fs::remove_file(agent.folder.at("pipeline.yaml")).unwrap();
    let mut command: Command = agent.command(&["check", "--pipeline", "/dev/stdin"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&pipeline).unwrap();
    let output = child.wait_with_output().unwrap();
    let output = String::from_utf8_lossy(&output.stdout);
    assert!(output.starts_with("ok: 1 sources, 1 sinks"), "{output}");
}

// Regression: 200 silent connections made all other clients wait for a minute.
#[test]
fn idle_clients_of_the_control_socket_are_disconnected() {
    let agent = agent("hostile-control", &[]);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    // A socket path has a maximum length; this one leads through the agent's working directory.
    let socket = format!("/proc/{}/cwd/agent.sock", running.pid().as_raw_nonzero());
    let mut silent: Vec<UnixStream> = (0..SILENT)
        .map(|_| {
            // The queue of the socket may be full for a moment.
            eventually("a connection", PATIENCE, || UnixStream::connect(&socket).ok())
        })
        .collect();
    for _ in 0..3 {
        agent.execute(&["status"]).code(0).reports("nephometer ");
    }
    // A client that sends an incomplete request is treated the same.
    for client in &mut silent {
        // Most of them have been closed already.
        drop(client.write_all(b"{\"command\": \"sta"));
    }
    agent.execute(&["status"]).code(0);
    let mut large = UnixStream::connect(&socket).unwrap();
    // The agent may refuse the request before it is complete.
    drop(large.write_all(&vec![b' '; 65_537]));
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut large, &mut answer).unwrap();
    assert!(answer.contains("control_request_bytes"), "{answer}");
    goes_on(&agent, &mut running);
    running.stop().code(0);
}

// Regression: control characters in names and reasons reached the terminal unescaped.
#[test]
fn control_characters_of_guests_never_reach_the_terminal() {
    let agent = agent("hostile-terminal", &[]);
    let evil = r#"{"properties": {"a\u001b[2Jb\u009b2J": {"description": "x\r\nok: all\u0007"}}}"#;
    let component = agent.folder.write("evil.wasm", super::checked::schema(evil, 0));
    let store = agent.folder.at("store");
    fs::create_dir(&store).unwrap();
    let letter = json!({
        "number": 1, "sink": "k\u{1b}[2J", "stage": 0, "component": "c\u{9b}2J", "digest": "00",
        "reason": "it\u{1b}]0;title\u{7}\nfailed", "position": 1, "source": "s", "tick": "t\u{202e}",
        "rows": 0, "batch": "",
    });
    fs::write(store.join("dead-letters.ndjson"), format!("{letter}\n")).unwrap();
    let file = component.to_str().unwrap();
    for arguments in [
        &["component", "inspect", file][..],
        &["component", "check", file, "--options", r#"{"a": 1}"#],
        &["dead-letters", "ls"],
    ] {
        let ended = agent.execute(arguments).code(0);
        let hostile = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!ended.stdout.contains(hostile), "{arguments:?}: {:?}", ended.stdout);
        assert!(!ended.stderr.contains(hostile), "{arguments:?}: {:?}", ended.stderr);
        let lines = ended.stdout.lines().filter(|line| line.starts_with("ok: all"));
        assert_eq!(lines.count(), 0, "{}", ended.stdout);
    }
    agent.execute(&["component", "inspect", file]).reports("a\\u{1b}[2Jb\\u{9b}2J");
    agent.execute(&["dead-letters", "ls"]).reports("it\\u{1b}]0;title\\u{7}\\nfailed");
}

/// A domain of libvirt's test driver, which keeps its metadata unchanged.
fn domain(number: u32, metadata: &str) -> String {
    format!(
        "<domain type='test'><name>d{number}</name>\
         <uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa{number}</uuid><metadata>{metadata}</metadata>\
         <memory unit='KiB'>1024</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>"
    )
}

// Regression: XML with 100,000 attributes or disks took more than a minute and blocked all domains.
#[test]
fn oversized_xml_affects_only_its_own_domain() {
    let agent = agent("hostile-xml", &[]);
    let items = |count: usize| format!("<m:m xmlns:m='urn:m'>{}</m:m>", "<m:m/>".repeat(count));
    let text = format!("<m:m xmlns:m='urn:m'>{}</m:m>", "x".repeat(4 << 20));
    let domains = [domain(0, &items(10)), domain(1, &items(50_000)), domain(2, &text)];
    let node = agent.folder.write("node.xml", format!("<node>{}</node>", domains.concat()));
    let agent = agent.libvirt(&format!("test://{}", node.display()));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    goes_on(&agent, &mut running);
    let ended = running.stop().code(0);
    let left_out = ended.logged("domain skipped, description unreadable");
    for bound in ["xml_items", "xml_bytes"] {
        let lines = left_out.iter().filter(|line| self::text(line, "reason").contains(bound));
        assert_eq!(lines.count(), 1, "{bound}: {left_out:?}");
    }
    let samples = ndjson(&fs::read_to_string(agent.folder.at("honest")).unwrap());
    let of_d0 = |sample: &serde_json::Value| self::text(sample, "resource_id").contains("ab3fa0");
    assert!(!samples.is_empty() && samples.iter().all(of_d0), "{samples:?}");
}

// Regression: log lines of `configure` were repeated for each instance, and therefore for each
// attempt, both after an instance was ended and after options were refused.
#[test]
fn an_unknown_option_is_logged_once() {
    // It accepts connections and never answers, so that each attempt ends its instance.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let urls = [format!("influx://{address}/x?colour=1"), format!("influx://{address}?taste=1")];
    let agent = agent("hostile-option", &urls.each_ref().map(String::as_str))
        .set("components.by_name.influx.limits.wall", "200ms");
    let mut running = agent.run();
    eventually("three attempts", PATIENCE, || {
        (running.logged("publisher component failed").len() >= 3).then_some(())
    });
    goes_on(&agent, &mut running);
    let ended = running.stop();
    for option in ["colour", "taste"] {
        let message = format!("unknown option /query/{option} is ignored");
        let lines = ended.logged(&message);
        let warned = lines.iter().filter(|line| line["level"] == "WARN");
        assert_eq!(warned.count(), 1, "{lines:#?}");
    }
}
