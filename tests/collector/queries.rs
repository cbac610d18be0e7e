//! Generated questions, and what the real Ceilometer 9.0.7 answers to them (`scripts/ceilometer-api`).
//! A difference that is kept has its id of docs/api.md in the file of answers.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::api::token;
use crate::harness::{Collector, Folder, Reply, api_of, ndjson, request, root};

/// A file of `queries`. It is read while the test runs, because `scripts/ceilometer-api --update` writes it.
fn golden(name: &str) -> String {
    std::fs::read_to_string(root().join("tests/collector/queries").join(name)).unwrap()
}

/// A collector with the samples, its address, and a token of an administrator and one of a project.
struct Asked {
    address: String,
    admin: String,
    member: String,
}

impl Asked {
    fn reply(&self, question: &Value) -> Reply {
        let token = if question["project"].is_string() { &self.member } else { &self.admin };
        let header = format!("X-Auth-Token: {token}");
        let path = question["path"].as_str().unwrap();
        match question.get("body") {
            Some(body) => request(&self.address, "POST", path, &[&header], &body.to_string()),
            None => request(&self.address, "GET", path, &[&header], ""),
        }
    }
}

/// What of an answer has to be the same: no times of arrival, no address of a server, and lists whose
/// order is that of a database in an order of their own (A5).
fn comparable(value: &Value, address: &str) -> Value {
    match value {
        Value::Array(entries) => {
            let mut entries: Vec<Value> =
                entries.iter().map(|entry| comparable(entry, address)).collect();
            let is_set = |entry: &Value| {
                ["meter_id", "links", "href", "period_start"]
                    .iter()
                    .any(|key| entry.get(key).is_some())
            };
            if entries.iter().all(is_set) {
                entries.sort_by_key(|entry| {
                    let keys =
                        ["name", "resource_id", "type", "unit", "href", "period_start", "groupby"];
                    keys.map(|key| entry[key].to_string())
                });
            }
            Value::Array(entries)
        }
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| *key != "recorded_at");
            kept.map(|(key, value)| (key.clone(), comparable(value, address))).collect()
        }
        // Ceilometer escapes nothing in links (A16).
        Value::String(text) if text.starts_with("http://") => {
            let text = text.replace(address, "HOST").replace("%2F", "/").replace("%20", " ");
            json!(text.replace("%C3%BC", "ü"))
        }
        other => other.clone(),
    }
}

/// Whether two answers are the same. Sums of doubles depend on their order.
fn equal(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(one, two)| equal(one, two))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, one)| theirs.get(key).is_some_and(|two| equal(one, two)))
        }
        (Value::Number(one), Value::Number(two)) => {
            let (one, two) = (one.as_f64().unwrap(), two.as_f64().unwrap());
            (one - two).abs() <= two.abs() * 1e-12
        }
        _ => ours == theirs,
    }
}

fn length(reply: &Reply) -> usize {
    reply.body.as_array().map_or(0, Vec::len)
}

/// `None` if a reply is right: the real answer, or what the differences of the question make of it.
fn wrong(asked: &Asked, question: &Value, reply: &Reply) -> Option<String> {
    let (status, answer) = (&question["status"], &question["answer"]);
    let differs: Vec<&str> = question["differs"]
        .as_array()
        .map_or(Vec::new(), |ids| ids.iter().map(|id| id.as_str().unwrap()).collect());
    let right = match *differs {
        ["A2"] => reply.status == 404,
        ["A3"] => {
            let sources = |entry: &Value| entry["groupby"]["source"].as_str().map(str::to_owned);
            let found: BTreeSet<_> =
                reply.body.as_array().unwrap().iter().filter_map(sources).collect();
            *status == 501 && found.iter().map(String::as_str).eq(["hardware", "openstack"])
        }
        // The rest describes a library.
        ["A4"] => {
            let beginning = |text: &str| text.split(": ").next().unwrap().to_owned();
            *status == reply.status
                && beginning(answer.as_str().unwrap()) == beginning(reply.fault())
        }
        // Which entries a limit leaves is up to the database.
        ["A5"] => *answer == length(reply),
        ["A6"] => *status == 500 && reply.status == 200 && reply.body[0]["sum"].is_null(),
        ["A12"] => length(reply) == 0,
        ["A17"] => *status == 500 && reply.status == 200 && length(reply) == 2,
        [] | ["A1"] if answer.is_string() => *status == reply.status && *answer == *reply.fault(),
        [] | ["A1"] => {
            let theirs = comparable(answer, "HOST");
            *status == reply.status && equal(&comparable(&reply.body, &asked.address), &theirs)
        }
        _ => panic!("nothing is known of {differs:?}"),
    };
    (!right).then(|| {
        let body = serde_json::to_string(&comparable(&reply.body, &asked.address)).unwrap();
        let request = json!([question["path"], question["body"], question["project"]]);
        format!("{request} {differs:?}\n  real: {status} {answer}\n  ours: {} {body}", reply.status)
    })
}

#[test]
fn generated_questions_have_the_answers_of_the_real_api() {
    let folder = Folder::new("collector-queries");
    let collector = Collector::new("collector-queries-store");
    let [admin, member] =
        [("p0", "admin"), ("p1", "member")].map(|(project, role)| token(&collector, project, role));
    let file = folder.write("tokens", [&*admin.1, &member.1].join("\n"));
    let collector = collector
        .set("store.window", "40000d")
        .set("store.keep", "forever")
        .set("store.rollups", "forever")
        .set("api.access", "tokens")
        .set("api.tokens", file.to_str().unwrap());
    let samples = root().join("tests/collector/queries/samples.ndjson");
    let lines = std::fs::read_to_string(&samples).unwrap();
    let ids: BTreeSet<&str> = lines.lines().map(|line| line.split('"').nth(3).unwrap()).collect();
    let stored = collector.execute(&["import", "--unsigned", samples.to_str().unwrap()]).code(0);
    let repeated = lines.lines().count() - ids.len();
    assert!(repeated > 30, "{repeated}");
    stored.reports(&format!("ok: {} stored, {repeated} duplicates", ids.len()));
    let running = collector.run();
    let asked = Asked { address: api_of(&running), admin: admin.0, member: member.0 };
    let questions = ndjson(&golden("answers.ndjson"));
    assert!(questions.len() >= 300, "{}", questions.len());
    let mut failed = Vec::new();
    for question in &questions {
        failed.extend(wrong(&asked, question, &asked.reply(question)));
    }
    let shown = failed.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(failed.is_empty(), "{} of {}:\n{shown}", failed.len(), questions.len());
    running.stop().code(0);
}

/// The table of differences has each that the answers name.
#[test]
fn differences_have_ids_in_the_documents() {
    let page = std::fs::read_to_string(root().join("docs/api.md")).unwrap();
    for question in ndjson(&golden("answers.ndjson")) {
        for id in question["differs"].as_array().into_iter().flatten() {
            let row = format!("| {} |", id.as_str().unwrap());
            assert!(page.contains(&row), "docs/api.md has no row {row}");
        }
    }
}
