//! `nephometer check --format`: the same findings for people, scripts and editors.

use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Agent, root};

const PIPELINE: &str = "\
sources:
  - name: all
    interval: soon
    meters: ['*']
    sinks: [out]
sinks:
  - name: out
    publishers:
      - notifier://user:hunter2@broker:port/
      - file:///dev/null
    unknown: 1
";

fn printed(agent: &Agent, arguments: &[&str], code: i32) -> String {
    let ended = agent.execute(&[&["check"], arguments].concat()).code(code);
    assert!(!ended.stdout.contains("hunter2"), "a secret in:\n{}", ended.stdout);
    ended.stdout.replace(&format!("{}/", agent.folder.path().display()), "")
}

fn parsed(agent: &Agent, arguments: &[&str], code: i32) -> Value {
    serde_json::from_str(&printed(agent, arguments, code)).unwrap()
}

#[test]
fn short_is_the_default_without_a_terminal() {
    let agent = Agent::new("check-short").pipeline(PIPELINE);
    let short = printed(&agent, &["--format", "short"], 78);
    assert_eq!(printed(&agent, &[], 78), short);
    assert!(short.contains("\npipeline.yaml:9:9: "), "{short}");
    agent.execute(&["check", "--format", "xml"]).code(64);
}

#[test]
fn text_has_the_line_a_caret_and_the_remedy() {
    let agent = Agent::new("check-text").pipeline(PIPELINE);
    let text = printed(&agent, &["--format", "text"], 78);
    assert!(!text.contains('\u{1b}'), "colours without a terminal: {text:?}");
    let lines: Vec<&str> = text.lines().collect();
    let at = |start: &str| {
        let found = lines.iter().position(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start} in:\n{text}"))
    };
    let interval = at("pipeline.yaml:3:15: ");
    assert_eq!(lines[interval + 1], " 3 |     interval: soon");
    assert_eq!(lines[interval + 2], "   |               ^");
    assert!(lines[interval + 3].starts_with("   = "), "{text}");
    // The same message and remedy as in the short form.
    let remedy = lines[interval + 3].trim_start_matches("   = ");
    let line = format!("{}; {remedy}", lines[interval]);
    assert!(printed(&agent, &[], 78).lines().any(|short| short == line), "{line}");
    assert_eq!(lines[at("pipeline.yaml:9:9: ") + 1], " 9 | …");
}

#[test]
fn json_has_all_findings() {
    let agent = Agent::new("check-json").pipeline(PIPELINE);
    let found = parsed(&agent, &["--format", "json"], 78);
    let short = printed(&agent, &["--format", "short"], 78);
    let line = |one: &Value| {
        let text = |key: &str| one[key].as_str().unwrap().to_owned();
        let place = match one["line"].as_u64() {
            Some(line) => format!("{}:{line}:{}", text("file"), one["column"]),
            None => text("file"),
        };
        format!("{place}: {}; {}\n", text("message"), text("remedy"))
    };
    let list = |key: &str| found[key].as_array().unwrap().clone();
    let warnings = list("warnings").into_iter().map(|one| format!("warning: {}", line(&one)));
    let all: String = warnings.chain(list("errors").iter().map(line)).collect();
    assert_eq!(all, short);
    assert!(list("errors").len() > 1 && !list("warnings").is_empty(), "{found}");
}

#[test]
fn sarif_has_what_its_schema_requires() {
    let agent = Agent::new("check-sarif").pipeline(PIPELINE);
    let log = parsed(&agent, &["--format", "sarif"], 78);
    assert_eq!(log["version"], "2.1.0");
    let runs = log["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    let driver = &runs[0]["tool"]["driver"];
    assert_eq!(driver["name"], "nephometer");
    assert_eq!(driver["version"], env!("CARGO_PKG_VERSION"));
    let rules: Vec<&Value> = driver["rules"].as_array().unwrap().iter().collect();
    assert_eq!(rules.len(), 2);
    let results = runs[0]["results"].as_array().unwrap();
    let short = printed(&agent, &["--format", "short"], 78);
    assert_eq!(results.len(), short.lines().count());
    for result in results {
        let level = result["level"].as_str().unwrap();
        let rule = rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!(rule["id"], result["ruleId"]);
        assert_eq!(result["ruleId"], format!("configuration-{level}"));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
    }
    let place = results
        .iter()
        .map(|one| &one["locations"][0]["physicalLocation"])
        .find(|place| place["region"]["startLine"] == 3)
        .unwrap();
    assert_eq!(place["region"]["startColumn"], 15);
    assert_eq!(place["artifactLocation"]["uri"], "file://pipeline.yaml");
}

#[test]
fn exit_codes_do_not_depend_on_the_format() {
    let good = Agent::new("check-good").everything_to(&["file:///dev/null"]);
    let warned = Agent::new("check-warned").everything_to(&["file:///dev/null", "kafka://h"]);
    for format in ["text", "short", "json", "sarif"] {
        let output = printed(&good, &["--format", format, "--strict"], 0);
        let is_for_people = matches!(format, "text" | "short");
        assert_eq!(output.contains("ok: 1 sources, 1 sinks"), is_for_people, "{output}");
        printed(&warned, &["--format", format], 0);
        printed(&warned, &["--format", format, "--strict"], 78);
    }
    let found = parsed(&good, &["--format", "json"], 0);
    assert_eq!(found, serde_json::json!({"errors": [], "warnings": []}));
}

/// The files of `tests/config` contain secrets in places where they do not belong.
#[test]
fn no_format_shows_secrets() {
    let agent = Agent::new("check-secrets");
    let mut seen = 0;
    let mut files: Vec<(PathBuf, &str)> = Vec::new();
    for (folder, option) in [
        ("bad", "--pipeline"),
        ("components", "--pipeline"),
        ("good", "--pipeline"),
        ("ceilometer", "--ceilometer-conf"),
    ] {
        let entries = std::fs::read_dir(root().join("tests/config").join(folder)).unwrap();
        files.extend(entries.map(|entry| (entry.unwrap().path(), option)));
    }
    files.retain(|(path, _)| path.extension().is_some_and(|it| it == "yaml" || it == "conf"));
    for (path, option) in files {
        for format in ["text", "json", "sarif"] {
            let arguments = ["check", "--format", format, option, path.to_str().unwrap()];
            let ended = agent.execute(&arguments);
            for secret in ["hunter2", "ter2", "hun#", "hun?"] {
                let shown = ended.stdout.contains(secret) || ended.stderr.contains(secret);
                assert!(!shown, "a secret of {} in:\n{}", path.display(), ended.stdout);
            }
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} outputs");
}
