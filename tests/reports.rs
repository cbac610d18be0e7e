//! Runs the cases in `tests/reports`: what people reported, and the output that is right. See the
//! README there.

use std::fs;
use std::path::Path;
use std::process::Command;

use regex::Regex;
use serde_json::{Map, Value};

use crate::harness::{Agent, Server, root, text};

#[test]
fn reported_problems_stay_fixed() {
    let mut folders: Vec<_> = fs::read_dir(root().join("tests/reports"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("case.yaml").is_file())
        .collect();
    folders.sort();
    assert!(folders.len() >= 4, "{folders:?}");
    let wrong: String = folders.iter().filter_map(|folder| run(folder).err()).collect();
    assert!(wrong.is_empty(), "{wrong}");
}

/// A running case.
struct Case {
    agent: Agent,
    services: Vec<(String, Server)>,
}

fn run(folder: &Path) -> Result<(), String> {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let read = fs::read_to_string(folder.join("case.yaml")).unwrap();
    let case: Value = serde_yaml::from_str(&read).unwrap_or_else(|error| panic!("{name}: {error}"));
    check_keys(&case, &["report", "cites", "services", "settings", "requires", "steps"], name);
    if let Some(required) = case["requires"].as_str() {
        assert!(root().join(required).exists(), "{name}: {required} is missing; run: make test");
    }
    let services = list(&case, "services")
        .map(|service| (service.to_owned(), start(service)))
        .collect::<Vec<_>>();
    let mut running = Case { agent: Agent::new(&format!("report-{name}")), services };
    for (key, value) in case["settings"].as_object().unwrap_or(&Map::new()) {
        let value = running.substituted(value);
        running.agent = running.agent.set(key, value);
    }
    running.copy(folder, running.agent.folder.path());
    let steps = case["steps"].as_array().unwrap_or_else(|| panic!("{name}: no steps"));
    for (number, step) in (1..).zip(steps) {
        let step = running.substituted(step);
        running.step(&step).map_err(|reason| {
            format!("== {name}, step {number}: {}\n{reason}\n", case["report"])
        })?;
    }
    Ok(())
}

/// A misspelt key would be an expectation that is never checked.
fn check_keys(value: &Value, known: &[&str], place: &str) {
    for key in value.as_object().unwrap_or_else(|| panic!("{place}: not a mapping")).keys() {
        assert!(known.contains(&key.as_str()), "{place}: unknown key {key}");
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    value[key].as_array().into_iter().flatten().map(|one| one.as_str().unwrap())
}

fn start(service: &str) -> Server {
    Server::start(service, |folder, port| {
        let mut command = match service {
            "pushgateway" => Command::new("prometheus-pushgateway"),
            "prometheus" => {
                let mut command = Command::new("prometheus");
                let config = folder.write("prometheus.yml", "global: {scrape_interval: 1h}\n");
                command.arg(format!("--config.file={}", config.display()));
                command.arg(format!("--storage.tsdb.path={}", folder.at("data").display()));
                command.arg("--web.enable-remote-write-receiver");
                command
            }
            other => panic!("unknown service {other}"),
        };
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command
    })
}

impl Case {
    /// Replaces `{NAME}` in all texts of a value.
    fn substituted(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(list) => list.iter().map(|one| self.substituted(one)).collect(),
            Value::Object(map) => {
                map.iter().map(|(key, one)| (key.clone(), self.substituted(one))).collect()
            }
            other => other.clone(),
        }
    }

    fn text(&self, text: &str) -> String {
        let folder = self.agent.folder.path().canonicalize().unwrap().display().to_string();
        let root = root().canonicalize().unwrap().display().to_string();
        let text = text.replace("{folder}", &folder).replace("{root}", &root);
        self.services.iter().fold(text, |text, (name, server)| {
            text.replace(&format!("{{{name}}}"), &format!("127.0.0.1:{}", server.port))
        })
    }

    /// Copies all files of the case but its declaration.
    fn copy(&self, from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let (path, target) = (entry.path(), to.join(entry.file_name()));
            if path.is_dir() {
                fs::create_dir(&target).unwrap();
                self.copy(&path, &target);
            } else if entry.file_name() != "case.yaml" {
                // What is not text is copied as it is.
                match fs::read_to_string(&path) {
                    Ok(text) => fs::write(target, self.text(&text)).unwrap(),
                    Err(_) => drop(fs::copy(path, target).unwrap()),
                }
            }
        }
    }

    fn step(&self, step: &Value) -> Result<(), String> {
        const KNOWN: [&str; 10] = [
            "run", "get", "code", "expect", "fields", "lines", "without", "reports", "lacks",
            "number",
        ];
        check_keys(step, &KNOWN, "a step");
        let (output, everything) = match step["get"].as_str() {
            Some(address) => {
                let (authority, path) = address.split_once('/').unwrap();
                let is_it = |server: &Server| authority == format!("127.0.0.1:{}", server.port);
                let server = self.services.iter().find(|(_, server)| is_it(server));
                let (_, server) = server.unwrap_or_else(|| panic!("no service at {authority}"));
                let body = server.body(&format!("/{path}"));
                (body.clone(), body)
            }
            None => {
                let arguments: Vec<&str> = list(step, "run").collect();
                assert!(!arguments.is_empty(), "a step has neither run nor get");
                let code = step["code"].as_i64().unwrap_or(0);
                let ended = self.agent.execute(&arguments).code(i32::try_from(code).unwrap());
                (ended.stdout.clone(), format!("{}{}", ended.stdout, ended.stderr))
            }
        };
        check(step, &output, &everything)
    }
}

/// Compares an output with the expectations of its step.
fn check(step: &Value, output: &str, everything: &str) -> Result<(), String> {
    let mut checks = 0;
    if let Some(expected) = step["expect"].as_str() {
        let selected = selected(step, output);
        if selected != expected {
            return Err(format!("expected:\n{expected}but it is:\n{selected}"));
        }
        checks += 1;
    }
    for (key, is_wanted) in [("reports", true), ("lacks", false)] {
        for part in list(step, key) {
            if everything.contains(part) != is_wanted {
                return Err(format!("{key} {part:?}, but it is:\n{everything}"));
            }
            checks += 1;
        }
    }
    if let Some(number) = step.get("number") {
        check_keys(number, &["pattern", "at_most", "at_least"], "number");
        let pattern = Regex::new(text(number, "pattern")).unwrap();
        let found = pattern.captures(everything).and_then(|found| found[1].parse::<f64>().ok());
        let found = found.ok_or_else(|| format!("no number in:\n{everything}"))?;
        let too_large = number["at_most"].as_f64().is_some_and(|most| found > most);
        if too_large || number["at_least"].as_f64().is_some_and(|least| found < least) {
            return Err(format!("expected {number}, but it is {found}"));
        }
        checks += 1;
    }
    // The exit code of a command is one, too.
    assert!(checks > 0 || step.get("code").is_some() || step.get("run").is_some(), "{step}");
    Ok(())
}

fn selected(step: &Value, output: &str) -> String {
    let pattern = |key: &str| step[key].as_str().map(|pattern| Regex::new(pattern).unwrap());
    let (wanted, without) = (pattern("lines"), pattern("without"));
    let fields: Vec<&str> = list(step, "fields").collect();
    let mut selected = String::new();
    for line in output.lines().filter(|line| wanted.as_ref().is_none_or(|one| one.is_match(line))) {
        let line = if fields.is_empty() { line.to_owned() } else { of_json(line, &fields) };
        let line = without.as_ref().map_or(line.clone(), |one| one.replace_all(&line, "").into());
        selected.push_str(&line);
        selected.push('\n');
    }
    selected
}

/// Fields of a line of JSON, numbers with all their digits.
fn of_json(line: &str, fields: &[&str]) -> String {
    let parsed: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let shown = fields.iter().map(|field| match &parsed[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    shown.collect::<Vec<_>>().join(" ")
}
