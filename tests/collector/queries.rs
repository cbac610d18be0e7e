//! Generated questions, and what the real Ceilometer 9.0.7 answers to them (`scripts/ceilometer-api`).
//! A difference that is kept has its id of docs/api.md in the file of answers.

use std::collections::{BTreeMap, BTreeSet};

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
                    let keys = ["name", "resource_id", "type", "unit", "href", "period_start"];
                    let group = entry["groupby"].as_object().into_iter().flatten();
                    let group: BTreeMap<_, _> = group.collect();
                    (keys.map(|key| entry[key].to_string()), json!(group).to_string())
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
        // With Python 3, it shows texts in lists as bytes (A18).
        Value::String(text) if text.starts_with("[b'") => json!(text.replacen('b', "", 1)),
        other => other.clone(),
    }
}

/// The first place at which two answers differ. Sums of doubles depend on their order.
fn difference(ours: &Value, theirs: &Value) -> Option<String> {
    let differs = || Some(format!(": ours {ours}, real {theirs}"));
    let at = |place: String, one: &Value, two: &Value| {
        difference(one, two).map(|found| format!("{place}{found}"))
    };
    match (ours, theirs) {
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => {
            let mut pairs = one.iter().zip(two).enumerate();
            pairs.find_map(|(number, (one, two))| at(format!("[{number}]"), one, two))
        }
        (Value::Object(one), Value::Object(two)) if one.len() == two.len() => {
            one.iter().find_map(|(key, one)| at(format!(".{key}"), one, &two[key]))
        }
        (Value::Number(one), Value::Number(two)) => {
            let (one, two) = (one.as_f64().unwrap(), two.as_f64().unwrap());
            if (one - two).abs() <= two.abs() * 1e-12 { None } else { differs() }
        }
        _ if ours == theirs => None,
        _ => differs(),
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
        ["A19"] => {
            let ours = reply.body.as_array().unwrap();
            answer.as_array().unwrap().iter().all(|meter| ours.contains(meter))
        }
        [] | ["A1"] => *status == reply.status,
        _ => panic!("nothing is known of {differs:?}"),
    };
    let same = matches!(*differs, [] | ["A1"]);
    let (ours, theirs) = match answer {
        Value::String(_) => (json!(reply.fault()), answer.clone()),
        answer => (comparable(&reply.body, &asked.address), comparable(answer, "HOST")),
    };
    let difference = if same { difference(&ours, &theirs) } else { None };
    (!right || difference.is_some()).then(|| {
        let request = json!([question["path"], question["body"], question["project"]]);
        let text = difference.unwrap_or_else(|| reply.body.to_string());
        let text: String = text.chars().take(600).collect();
        format!("{request} {differs:?} {status}, ours {}{text}", reply.status)
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
    let shown = failed.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
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
