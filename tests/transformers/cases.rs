//! Runs the cases in `tests/cases/transformers`; see the README there.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::run;
use crate::harness::{Agent, Ended, component, ndjson, root};

#[test]
fn cases_hold_with_the_real_components() {
    let folder = root().join("tests/cases/transformers");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 20, "{files:?}");
    let agent = Agent::new("cases");
    let wrong: String = files.iter().filter_map(|file| case(&agent, file).err()).collect();
    assert!(wrong.is_empty(), "{wrong}");
}

fn case(agent: &Agent, file: &Path) -> Result<(), String> {
    let name = file.file_name().unwrap().to_str().unwrap();
    let case: Value = serde_yaml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let result = if case.get("expect_option_errors").is_some() {
        option_errors(agent, &case)
    } else {
        samples(agent, &case)
    };
    result.map_err(|reason| format!("== {name}: {}\n{reason}\n", case["title"]))
}

fn option_errors(agent: &Agent, case: &Value) -> Result<(), String> {
    let expected = case["expect_option_errors"].as_array().unwrap();
    let pointers = regex::Regex::new(r"[:;] /\S+: ").unwrap();
    let mut reported = 0;
    for (at, transformer) in case["transformers"].as_array().unwrap().iter().enumerate() {
        let mine = expected.iter().filter(|error| error["transformer"] == at);
        let ended = configure(agent, transformer);
        for error in mine {
            let (pointer, contains) = (error["pointer"].as_str().unwrap(), &error["contains"]);
            let contains = contains.as_str().unwrap();
            let fits =
                |line: &str| line.contains(&format!(" {pointer}: ")) && line.contains(contains);
            if !ended.stderr.lines().any(fits) {
                return Err(format!("no {pointer} {contains:?} in\n{}", ended.stderr));
            }
        }
        reported += pointers.find_iter(&ended.stderr).count();
    }
    if reported == expected.len() {
        Ok(())
    } else {
        Err(format!("{reported} errors instead of {}", expected.len()))
    }
}

fn configure(agent: &Agent, transformer: &Value) -> Ended {
    let file = component(transformer["name"].as_str().unwrap());
    let options = parameters(transformer).to_string();
    agent
        .execute_with_input(
            &["component", "run", file.to_str().unwrap(), "--options", &options],
            "",
        )
        .code(78)
}

/// Runs the chain one component after the other, with a flush after every batch. A component that
/// keeps rows across batches must be the only one of its chain.
fn samples(agent: &Agent, case: &Value) -> Result<(), String> {
    let mut batches: Vec<Vec<Value>> = case["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|step| step.get("batch"))
        .map(|batch| {
            let samples = batch.as_array().unwrap().iter();
            samples.map(|sample| complete(&case["defaults"], sample)).collect()
        })
        .collect();
    let mut log = String::new();
    for transformer in case["transformers"].as_array().unwrap() {
        let name = transformer["name"].as_str().unwrap();
        let options = parameters(transformer);
        log.push_str(&log_of(agent, name, &options, &batches));
        batches = vec![run(agent, name, &options, &batches)];
    }
    let (ours, expected) = (&batches[0], case["expect"].as_array().unwrap());
    if ours.len() != expected.len() {
        return Err(format!("{} samples instead of {}: {ours:?}", ours.len(), expected.len()));
    }
    for (ours, expected) in ours.iter().zip(expected) {
        for (key, value) in expected.as_object().unwrap() {
            if !same(&ours[key], value) {
                return Err(format!("{key} is {} instead of {value} in {ours}", ours[key]));
            }
        }
    }
    for text in case.get("expect_log").and_then(Value::as_array).unwrap_or(&Vec::new()) {
        let text = text.as_str().unwrap();
        if !log.lines().any(|line| line.contains(text)) {
            return Err(format!("{text:?} is not in the log:\n{log}"));
        }
    }
    Ok(())
}

/// The log of a component for these batches.
fn log_of(agent: &Agent, name: &str, options: &Value, batches: &[Vec<Value>]) -> String {
    let lines =
        |batch: &Vec<Value>| batch.iter().map(|s| format!("{s}\n")).collect::<String>() + "\n";
    let input: String = batches.iter().map(lines).collect();
    let (file, options) = (component(name), options.to_string());
    let file = file.to_str().unwrap();
    let arguments = ["component", "run", file, "--options", &options, "--flush", "--log", "debug"];
    let ended = agent.execute_with_input(&arguments, &input).code(0);
    ndjson(&ended.stdout);
    ended.stderr
}

fn parameters(transformer: &Value) -> Value {
    transformer.get("parameters").filter(|p| !p.is_null()).cloned().unwrap_or_else(|| json!({}))
}

/// A sample with all keys that `component run` reads.
fn complete(defaults: &Value, sample: &Value) -> Value {
    let mut all: Map<String, Value> = serde_json::from_str(
        r#"{"name": "", "type": "gauge", "unit": "", "volume": 0, "user_id": null, "user_name": null,
            "project_id": null, "project_name": null, "resource_id": "r", "timestamp": "",
            "resource_metadata": {}, "source": "openstack",
            "id": "3a5f2c1e-6821-11e5-9d70-fa163e000001", "monotonic_time": null}"#,
    )
    .unwrap();
    for part in [defaults, sample] {
        for (key, value) in part.as_object().into_iter().flatten() {
            all.insert(key.clone(), value.clone());
        }
    }
    Value::Object(all)
}

fn same(ours: &Value, expected: &Value) -> bool {
    match (ours.as_f64(), expected.as_f64()) {
        (Some(ours), Some(expected)) => (ours - expected).abs() <= 1e-9 * expected.abs().max(1e-9),
        _ => ours == expected,
    }
}
