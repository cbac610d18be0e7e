//! `ceilometer.conf`: the agent uses the broker that the file names, with TLS where the file
//! requires it, or refuses to start. Also warnings about valid but unsafe settings.

use std::fs::{self, Permissions};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Agent, Ended, PATIENCE, root};

const PIPELINE: &str = "sources: [{name: all, interval: 1, meters: ['*'], sinks: [out]}]\n\
                        sinks: [{name: out, publishers: ['notifier://']}]\n";

/// The binary with a `ceilometer.conf` and a `nephometer.yaml` without a broker, in the folder of
/// `agent`.
fn command(agent: &Agent, arguments: &[&str], conf: &Path, settings: &str) -> Command {
    let settings = format!("{{libvirt: {{uri: 'sim://?domains=1'}}, {settings}}}\n");
    let config = agent.folder.write("host.yaml", settings);
    let pipeline = agent.folder.at("pipeline.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_nephometer"));
    command.args(arguments).arg("--config").arg(config).arg("--pipeline").arg(pipeline);
    command.arg("--ceilometer-conf").arg(conf).current_dir(agent.folder.path());
    command.env("NEPHOMETER_MESSAGE__TELEMETRY_SECRET", "one of our own");
    command.env("NEPHOMETER_STORE__PATH", agent.folder.at("store"));
    command.env("NEPHOMETER_CACHE__PATH", agent.folder.at("cache"));
    command
}

fn ended(agent: &Agent, command: Command) -> Ended {
    agent.start(command, None).ended(PATIENCE)
}

/// `tests/config/ceilometer` contains the files that cause warnings or refusals, each with the
/// output of `check`.
#[test]
fn options_of_the_broker_are_read_or_refused() {
    let agent = Agent::new("conf-table").pipeline(PIPELINE);
    let folder = root().join("tests/config/ceilometer");
    let (mut wrong, mut seen) = (String::new(), 0);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|it| it == "conf")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let conf = agent.folder.write(name, fs::read(path).unwrap());
        fs::set_permissions(&conf, Permissions::from_mode(0o600)).unwrap();
        let ended = ended(&agent, command(&agent, &["check"], &conf, ""));
        let printed = ended.stdout.replace(&format!("{}/", agent.folder.path().display()), "");
        let expected = fs::read_to_string(path.with_extension("expected")).unwrap();
        let code = if expected.contains("ok: ") { 0 } else { 78 };
        if printed != expected || ended.status.code() != Some(code) {
            wrong += &format!("== {name}: {:?}\n{printed}{}", ended.status, ended.stderr);
        }
        for secret in ["hunter2", "ter2", "hun#", "hun?"] {
            let shown = printed.contains(secret) || ended.stderr.contains(secret);
            assert!(!shown, "a secret of {name} in:\n{printed}{}", ended.stderr);
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(seen > 10, "{seen} files");
}

/// `run` refuses to start as well; with `amqp.url`, the options cause only a warning.
#[test]
fn unread_options_stop_the_agent_unless_the_broker_is_named() {
    let agent = Agent::new("conf-run").pipeline(PIPELINE);
    let conf =
        agent.folder.write("c.conf", "[oslo_messaging_rabbit]\nrabbit_login_method = hunter2\n");
    let refused =
        "c.conf:2:1: [oslo_messaging_rabbit] rabbit_login_method is not read, and may change";
    for arguments in [&["run"][..], &["once", "--publish"]] {
        let ended = ended(&agent, command(&agent, arguments, &conf, "")).code(78).reports(refused);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
    let noted =
        "c.conf:2:1: [oslo_messaging_rabbit] rabbit_login_method has no effect: amqp.url is set";
    let named = command(&agent, &["check"], &conf, "amqp: {url: 'amqp://u:p@127.0.0.1'}");
    ended(&agent, named).code(0).reports(noted);
    let mut variable = command(&agent, &["check"], &conf, "");
    variable.env("NEPHOMETER_AMQP__URL", "amqp://u:p@127.0.0.1");
    ended(&agent, variable).code(0).reports(noted);
    // A key without a value does not name a broker.
    ended(&agent, command(&agent, &["check"], &conf, "amqp: {url: }")).code(78).reports(refused);
}

/// Once, the shipped `nephometer.yaml`, which names a broker, made a `ceilometer.conf` beside it have no
/// effect without a word.
#[test]
fn an_option_that_nephometer_yaml_overrides_is_warned_of() {
    let agent = Agent::new("conf-overridden").pipeline(PIPELINE);
    let url = "amqp://127.0.0.1:5672/%2F";
    let conf = format!("[DEFAULT]\ntransport_url = {}\nhost = c\n", url.replace("amqp", "rabbit"));
    let conf = agent.folder.write("c.conf", conf);
    fs::set_permissions(&conf, Permissions::from_mode(0o600)).unwrap();
    let check =
        |settings: &str| ended(&agent, command(&agent, &["check"], &conf, settings)).code(0);
    let warned = |ended: &Ended| ended.stdout.contains("no effect: amqp.url at ");
    let other = check("amqp: {url: 'amqp://127.0.0.1:5673/%2F'}");
    assert!(warned(&other), "{}", other.stdout);
    assert!(other.stdout.contains("c.conf:2") && other.stdout.contains("host.yaml:1"));
    assert!(!warned(&check("")) && !check("host: c").stdout.contains("no effect"));
}

/// The first byte that the broker receives. `PORT` in `conf` and `url` is the broker's port, and
/// `url` is the publisher.
fn first_byte(name: &str, conf: &str, url: &str) -> u8 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let pipeline = PIPELINE.replace("notifier://", &url.replace("PORT", &port));
    let agent = Agent::new(name).pipeline(&pipeline);
    let conf = agent.folder.write("c.conf", conf.replace("PORT", &port));
    let running = agent.start(command(&agent, &["run"], &conf, ""), None);
    let mut byte = [0];
    let (mut stream, _) = listener.accept().unwrap();
    stream.read_exact(&mut byte).unwrap();
    drop((stream, listener));
    running.terminate();
    running.ended(PATIENCE);
    byte[0]
}

/// Regression: a site that required TLS by the option names of its release got connections without
/// TLS.
#[test]
fn a_site_that_asks_for_tls_gets_tls() {
    const TLS_HANDSHAKE: u8 = 0x16;
    let url = "transport_url = rabbit://u:p@127.0.0.1:PORT/";
    let rabbit = "[oslo_messaging_rabbit]\n";
    for (name, conf, publisher) in [
        ("ssl", format!("{url}\n{rabbit}ssl = True\n"), "notifier://"),
        ("old-name", format!("{url}\n{rabbit}rabbit_use_ssl = true\n"), "notifier://"),
        ("in-the-url", format!("{url}?ssl=1\n{rabbit}ssl = False\n"), "notifier://"),
        // The options of the file also apply to the broker of a publisher's own URL.
        ("own-url", format!("{rabbit}ssl = yes\n"), "notifier://u:p@127.0.0.1:PORT"),
    ] {
        let first = first_byte(&format!("conf-{name}"), &conf, publisher);
        assert_eq!(first, TLS_HANDSHAKE, "{name}");
    }
    let clear = first_byte("conf-clear", &format!("{url}\n"), "notifier://");
    assert_eq!(clear, b'A', "without TLS");
}

/// The warnings of `check`, without the paths of folders.
fn warnings(agent: &Agent) -> Vec<String> {
    let ended = agent.execute(&["check"]).code(0);
    let folder = format!("{}/", agent.folder.path().display());
    let lines = ended.stdout.lines().filter_map(|line| line.strip_prefix("warning: "));
    lines.map(|line| line.replace(&folder, "")).collect()
}

#[test]
fn known_secrets_are_warned_of_where_they_are_used() {
    let signed = "nephometer.yaml: messages are signed with the default secret, which everybody \
                  knows; set message.telemetry_secret, and the same at the receivers";
    let agent = Agent::new("warn-known");
    for publisher in ["udp://127.0.0.1", "tcp://127.0.0.1", "notifier://"] {
        let agent = Agent::new("warn-known").everything_to(&[publisher]);
        assert_eq!(warnings(&agent), [signed], "{publisher}");
    }
    let agent = agent.everything_to(&["file:///dev/null", "test://"]);
    assert!(warnings(&agent).is_empty());

    let agent = Agent::new("warn-guest")
        .set("message.telemetry_secret", "")
        .variable("NEPHOMETER_AMQP__URL", "amqp://192.0.2.1,u:p@192.0.2.2")
        .everything_to(&["notifier://", "notifier://[2001:db8::1]:5672", "notifier://localhost"]);
    let found = warnings(&agent);
    let warning = |place: &str, host: &str| {
        format!(
            "{place}: the broker {host} is another host, and guest:guest opens it; use a user and a \
             password of this agent's own"
        )
    };
    let expected = [
        warning("pipeline.yaml:2:67", "[2001:db8::1]:5672"),
        warning("NEPHOMETER_AMQP__URL", "192.0.2.1:5672"),
    ];
    assert_eq!(found, expected);
    // The agent prints the same warnings when it starts.
    let mut running = agent.run();
    running.wait_for_cycles(1);
    let ended = running.stop();
    assert!(ended.stderr.contains("warning: ") && ended.stderr.contains("guest:guest opens it"));
}

#[test]
fn files_with_secrets_that_all_may_read_are_warned_of() {
    let agent = Agent::new("warn-files");
    let secret = |name: &str, mode: u32| {
        let text = if name == "url" { "amqp://u:hunter2@127.0.0.1" } else { "hunter2" };
        let path = agent.folder.write(name, text);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let (url, key) = (secret("url", 0o644), secret("secret", 0o646));
    let (closed, group) = (secret("closed", 0o600), secret("group", 0o640));
    // Not a valid key, but it is only parsed to connect to a broker.
    let tls = secret("tls", 0o604);
    let agent = agent
        .set("amqp", serde_json::json!({"url_file": url}))
        .set("message.telemetry_secret_file", key)
        .everything_to(&["notifier://u:hunter2@127.0.0.1", "udp://127.0.0.1"]);
    let found = warnings(&agent);
    let expected = |file: &str, may: &str, mode: &str| {
        format!(
            "the file {:?} holds a secret, and every user of this host may {may} it (mode {mode}); \
             remove that permission: chmod o= FILE",
            agent.folder.at(file)
        )
    };
    let shown = |text: String| text.replace(&format!("{}/", agent.folder.path().display()), "");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].ends_with(&shown(expected("url", "read", "0644"))), "{found:?}");
    assert!(found[1].ends_with(&shown(expected("secret", "read or change", "0646"))), "{found:?}");
    assert!(found[2].starts_with("pipeline.yaml:2:"), "{found:?}");
    assert!(found[2].ends_with(&shown(expected("pipeline.yaml", "read", "0644"))), "{found:?}");

    // `nephometer.yaml` itself, where one of its keys is a secret.
    let agent = agent
        .set("amqp", serde_json::json!({"url": "amqp://u:hunter2@127.0.0.1"}))
        .set("message", serde_json::json!({"telemetry_secret_file": group}))
        .everything_to(&["notifier://"]);
    let found = warnings(&agent);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("nephometer.yaml\" holds a secret"), "{found:?}");
    let options = serde_json::json!({"by_name": {"influx": {"options": {"Token": "hunter2"}}}});
    let agent = agent
        .set("amqp", serde_json::json!({"url": "amqp://guest:guest@127.0.0.1"}))
        .set("message", serde_json::json!({"telemetry_secret_file": closed}))
        .set("components", options)
        .everything_to(&["notifier://"]);
    assert_eq!(warnings(&agent).len(), 1);
    let pair = serde_json::json!({"certificate": tls, "key": tls});
    let agent = agent
        .set("components", serde_json::json!({}))
        .set("amqp.tls", pair)
        .everything_to(&["file:///dev/null"]);
    let found = warnings(&agent);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("tls\" holds a secret"), "{found:?}");

    let conf = agent.folder.write("c.conf", "[service_credentials]\npassword = hunter2\n");
    let ended = ended(&agent, command(&agent, &["check"], &conf, "")).code(0);
    assert!(ended.stdout.contains("c.conf\" holds a secret"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("hunter2"));
}

/// Section and name of the options of the installed Ceilometer and of its libraries.
fn installed_options() -> Vec<(String, String)> {
    let mut command =
        Command::new(root().join("target/tools/ceilometer/bin/oslo-config-generator"));
    let namespaces = [
        "ceilometer",
        "ceilometer-auth",
        "cotyledon",
        "oslo.concurrency",
        "oslo.log",
        "oslo.messaging",
        "oslo.reports",
    ];
    command.args(["--format", "json"]);
    command.args(namespaces.iter().flat_map(|name| ["--namespace", name]));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let sections = answer["options"].as_object().unwrap().iter();
    let options = sections.flat_map(|(section, group)| {
        let options = group["opts"].as_array().unwrap().iter();
        options.map(|option| (section.clone(), option["dest"].as_str().unwrap().to_owned()))
    });
    options.collect()
}

/// An operator of Ceilometer must not read of an option of Ceilometer that it is not understood: such
/// a warning is for misspelt ones.
#[test]
fn every_option_of_ceilometer_is_known() {
    let earlier = fs::read_to_string(root().join("tests/config/ceilometer-options.txt")).unwrap();
    let mut options = installed_options();
    assert!(options.len() > 150, "{}", options.len());
    options.extend(earlier.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (section, name) = line.split_once(' ').unwrap();
        (section.to_owned(), name.to_owned())
    }));
    options.push(("polling".to_owned(), "identity_name_discoverry".to_owned()));
    options.sort();
    options.dedup();
    let agent = Agent::new("conf-options").pipeline(PIPELINE);
    let lines = options.iter().map(|(section, name)| format!("[{section}]\n{name} = 1\n"));
    let conf = agent.folder.write("all.conf", lines.collect::<String>());
    let ended = ended(&agent, command(&agent, &["check"], &conf, ""));
    let lines = ended.stdout.lines().chain(ended.stderr.lines());
    let unknown: Vec<_> = lines.filter(|line| line.contains("is not understood")).collect();
    assert_eq!(unknown.len(), 1, "{unknown:#?}");
    assert!(unknown[0].contains("identity_name_discoverry"), "{unknown:?}");
}
