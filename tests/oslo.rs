//! The broker in a `ceilometer.conf`: this agent beside oslo.messaging of three releases.
//!
//! `tests/config/oslo` has the files. Its `table.md` has one row for each: what this agent uses, and
//! which versions of oslo.messaging use the same. `NEPHOMETER_TEST_UPDATE=1` writes it again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::harness::{Folder, root};
use nephometer_config::{Inputs, Mode, Origin, Queues, load};

/// The versions, and the folder that has them besides that of Ceilometer 27.
const VERSIONS: [(&str, Option<&str>); 3] = [
    ("2.5.0", Some("oslo.messaging-2.5.0")),
    ("8.1.4", Some("oslo.messaging-8.1.4")),
    ("18.3.1", None),
];

/// Files that no version reads as this agent does, each with the reason.
const DIFFERENT: [(&str, &str); 2] = [
    ("url-user-once", "a host without a user gets the user of the host before, not guest"),
    ("url-slash-encoded", "an encoded slash in a password works; upstream decodes it too early"),
];

/// What the installed versions make of the files of a folder.
fn answers(version: Option<&str>, folder: &Path) -> Map<String, Value> {
    let tools = root().join("target/tools/ceilometer");
    let mut command = Command::new(tools.join("bin/python"));
    command.args(["-W", "ignore"]).arg(root().join("tests/ceilometer/oslo.py")).arg(folder);
    if let Some(version) = version {
        let path = tools.join(version);
        assert!(path.is_dir(), "{} is missing: scripts/ceilometer makes it", path.display());
        command.env("PYTHONPATH", path);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let Value::Object(answers) = serde_json::from_slice(&output.stdout).unwrap() else { panic!() };
    answers
}

/// What this agent makes of a file, in the same form.
fn own(conf: &Path) -> Value {
    let text = |name: &str, text: &str| Origin::Text { name: name.into(), text: text.into() };
    let inputs = Inputs {
        config: text("host", "mode: polling"),
        pipeline: text(
            "pipeline",
            "sources: [{name: s, interval: 60, meters: [cpu], sinks: [k]}]\n\
                                    sinks: [{name: k, publishers: ['test://']}]",
        ),
        ceilometer: Some(conf.to_owned()),
        hostname: "node-1".into(),
        ..Inputs::default()
    };
    let spec = match load(&inputs) {
        Ok(loaded) => loaded.spec,
        Err(error) => return json!({"error": error.to_string()}),
    };
    let broker = &spec.amqp.broker;
    let urls: Vec<url::Url> = broker.urls.iter().map(|url| url.reveal().parse().unwrap()).collect();
    let decoded = |text: &str| {
        let pair = format!("x={}", text.replace('+', "%2B"));
        url::form_urlencoded::parse(pair.as_bytes()).next().unwrap().1.into_owned()
    };
    let brokers: Vec<Value> = urls
        .iter()
        .map(|url| {
            let host = url.host_str().unwrap().trim_matches(['[', ']']);
            let path = url.path().strip_prefix('/').unwrap();
            json!([
                decoded(url.username()),
                decoded(url.password().unwrap()),
                host,
                url.port(),
                decoded(path)
            ])
        })
        .collect();
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let (certificate, key) = broker.tls.identity.clone().unzip();
    let tls = urls
        .iter()
        .any(|url| url.scheme() == "amqps")
        .then(|| [path(&broker.tls.ca), path(&certificate), path(&key)]);
    let queues = match broker.queues {
        Queues::Transient => "transient",
        Queues::Durable => "durable",
        Queues::Quorum => "quorum",
    };
    let Mode::Polling { topics, .. } = &spec.mode else { panic!("{:?}", spec.mode) };
    json!({"brokers": brokers, "tls": tls, "queues": queues, "exchange": broker.exchange, "topics": topics})
}

/// An answer with one name for this machine, and without paths.
fn plain(value: &Value, folder: &Path) -> String {
    let text = value.to_string().replace(&format!("{}/", folder.display()), "");
    text.replace("\"127.0.0.1\"", "\"localhost\"").replace("hunter2", "h2")
}

/// An answer in a few words: each broker, and what differs from the defaults.
fn short(answer: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let broker = |parts: &Value| {
        let [user, password, host, port, vhost] = [0, 1, 2, 3, 4].map(|at| text(&parts[at]));
        let password = password.replace("hunter2", "h2");
        format!("{user}:{password}@{host}:{port}/{}", vhost.strip_prefix('/').unwrap_or(&vhost))
    };
    let mut words: Vec<String> = answer["brokers"].as_array().unwrap().iter().map(broker).collect();
    if let Some(files) = answer["tls"].as_array() {
        let files =
            files.iter().filter_map(Value::as_str).filter_map(|path| path.rsplit('/').next());
        words.push(format!("tls({})", files.collect::<Vec<_>>().join(" ")));
    }
    for (key, usual) in [("queues", "transient"), ("exchange", "ceilometer")] {
        words.extend(Some(text(&answer[key])).filter(|value| value != usual));
    }
    if answer["topics"] != json!(["notifications"]) {
        words.push(text(&answer["topics"]).replace('"', ""));
    }
    words.join(" ")
}

/// One row of the table.
fn row(name: &str, own: &Value, answers: &[(&str, &Value)], folder: &Path) -> String {
    let shown = plain(own, folder);
    let same: Vec<&str> = answers
        .iter()
        .filter(|(_, answer)| plain(answer, folder) == shown)
        .map(|(version, _)| *version)
        .collect();
    let agree = same.join(", ");
    if own["error"].is_string() {
        let refused = answers.iter().filter(|(_, answer)| answer["error"].is_string());
        let refused: Vec<&str> = refused.map(|(version, _)| *version).collect();
        let by = if refused.is_empty() { "none refuses".into() } else { refused.join(", ") };
        return format!("| {name} | refused | refused: {by} |\n");
    }
    let reason = DIFFERENT.iter().find(|(file, _)| *file == name).map(|(_, reason)| *reason);
    let other = match reason {
        Some(reason) if same.is_empty() => format!("none: {reason}"),
        None if !same.is_empty() => agree,
        _ => format!("WRONG: {answers:?}"),
    };
    format!("| {name} | `{}` | {other} |\n", short(own))
}

#[test]
fn brokers_are_those_of_oslo_messaging() {
    let folder = Folder::new("oslo");
    let files = root().join("tests/config/oslo");
    for name in ["ca", "certificate", "key"] {
        folder.write(name, "");
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&files).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            let mut text = fs::read_to_string(&path).unwrap();
            for name in ["ca", "certificate", "key"] {
                let place = format!("@{}@", name.to_uppercase());
                text = text.replace(&place, folder.at(name).to_str().unwrap());
            }
            let name = path.file_name().unwrap().to_str().unwrap();
            names.push((name.to_owned(), folder.write(name, text)));
        }
    }
    names.sort();
    assert!(names.len() >= 60, "{} files", names.len());
    let all: BTreeMap<&str, Map<String, Value>> =
        VERSIONS.iter().map(|(version, path)| (*version, answers(*path, folder.path()))).collect();
    let mut table = String::from(
        "<!-- written by NEPHOMETER_TEST_UPDATE=1 cargo test --release -p nephometer --test integration oslo:: -->\n\n\
         # ceilometer.conf beside oslo.messaging\n\n\
         Each broker; then the files of TLS, queues, exchange and topics that are not the defaults.\n\n\
         | file | this agent | the same with oslo.messaging |\n|---|---|---|\n",
    );
    for (name, path) in &names {
        let answers: Vec<(&str, &Value)> =
            VERSIONS.iter().map(|(version, _)| (*version, &all[version][name.as_str()])).collect();
        let stem = name.trim_end_matches(".conf");
        table += &row(stem, &own(path), &answers, folder.path());
    }
    assert!(!table.contains("WRONG"), "{table}");
    let path = files.join("table.md");
    if std::env::var_os("NEPHOMETER_TEST_UPDATE").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let differs = kept.lines().zip(table.lines()).find(|(kept, now)| kept != now);
    assert!(
        kept == table,
        "tests/config/oslo/table.md is out of date; first difference: {differs:?}"
    );
}
