//! Runs `tests/cases/transformers` natively: the same cases that the host runs through the
//! components. The README beside them describes their format.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic fails the test")]

use nephometer_guest::testing::{Input, Sample};
use nephometer_guest::{
    Batch, Meter, OptionError, Outcome, Resource, Transformer, log, type_from_word, type_word,
};
use serde_json::{Map, Value, json};

type TransformFn = Box<dyn FnMut(&Batch<'_>) -> Outcome>;

fn transformer<T: Transformer + 'static>(options: &Value) -> Result<TransformFn, Vec<OptionError>> {
    let (mut transformer, _) = T::configure(options)?;
    Ok(Box::new(move |batch| transformer.transform(batch).unwrap()))
}

fn configure(one: &Value) -> Result<TransformFn, Vec<OptionError>> {
    match one["name"].as_str().unwrap() {
        "rate_of_change" => transformer::<rate_of_change::RateOfChange>(&one["parameters"]),
        "unit_conversion" => transformer::<unit_conversion::UnitConversion>(&one["parameters"]),
        other => panic!("no transformer {other}"),
    }
}

fn nanos(timestamp: &str) -> u64 {
    let parts: Vec<u64> =
        timestamp.split(['-', 'T', ':']).map(|part| part.parse().unwrap()).collect();
    let (year, month, day) = (parts[0], parts[1], parts[2]);
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    ((days - 719_468) * 86_400 + parts[3] * 3_600 + parts[4] * 60 + parts[5]) * 1_000_000_000
}

/// A sample with its monotonic time.
fn parse(sample: &Value, defaults: &Map<String, Value>) -> (Sample, u64) {
    let mut all = defaults.clone();
    all.extend(sample.as_object().unwrap().clone());
    let text = |key: &str| all.get(key).and_then(Value::as_str).map(str::to_owned);
    let seconds = all.get("monotonic_time").and_then(Value::as_f64).unwrap_or(0.0);
    let sample = Sample {
        meter: Meter {
            name: text("name").unwrap(),
            unit: text("unit").unwrap(),
            type_: type_from_word(&text("type").unwrap()).unwrap(),
        },
        resource: Resource {
            id: text("resource_id").unwrap(),
            source: text("source").unwrap_or_else(|| "openstack".to_owned()),
            project_id: text("project_id"),
            user_id: text("user_id"),
            metadata: all["resource_metadata"].to_string(),
        },
        time: nanos(&text("timestamp").unwrap()),
        volume: all["volume"].as_f64().unwrap().into(),
    };
    (sample, std::time::Duration::from_secs_f64(seconds).as_nanos().try_into().unwrap())
}

fn as_dict(sample: &Sample) -> Value {
    json!({
        "name": sample.meter.name, "type": type_word(sample.meter.type_),
        "unit": sample.meter.unit, "volume": sample.volume.as_f64(), "user_id": sample.resource.user_id,
        "project_id": sample.resource.project_id, "resource_id": sample.resource.id,
        "time": sample.time,
        "resource_metadata": serde_json::from_str::<Value>(&sample.resource.metadata).unwrap(),
    })
}

fn assert_option_errors(title: &str, case: &Value, expected: &[Value]) {
    let chain = case["transformers"].as_array().unwrap();
    for (index, one) in chain.iter().enumerate() {
        let mut errors = configure(one).err().unwrap_or_default();
        for wanted in expected.iter().filter(|wanted| wanted["transformer"] == index) {
            let contains = wanted["contains"].as_str().unwrap();
            let found = errors
                .iter()
                .position(|one| wanted["pointer"] == *one.pointer && one.reason.contains(contains));
            let found = found.unwrap_or_else(|| panic!("{title}: {wanted} not in {errors:?}"));
            errors.remove(found);
        }
        assert!(errors.is_empty(), "{title}: {errors:?}");
    }
}

fn assert_samples(title: &str, case: &Value, published: &[Sample]) {
    let expected = case["expect"].as_array().unwrap();
    assert_eq!(expected.len(), published.len(), "{title}: {published:#?}");
    for (wanted, sample) in expected.iter().zip(published) {
        let sample = as_dict(sample);
        for (key, value) in wanted.as_object().unwrap() {
            match key.as_str() {
                "timestamp" => {
                    assert_eq!(json!(nanos(value.as_str().unwrap())), sample["time"], "{title}");
                }
                "volume" => {
                    let (wanted, found) = (value.as_f64().unwrap(), sample[key].as_f64().unwrap());
                    let near = (wanted - found).abs() <= 1e-9 * wanted.abs();
                    assert!(near, "{title}: {found} for {wanted}");
                }
                _ => assert_eq!(value, &sample[key], "{title}: {key}"),
            }
        }
    }
}

fn run(title: &str, case: &Value) {
    log::taken();
    if let Some(expected) = case.get("expect_option_errors") {
        return assert_option_errors(title, case, expected.as_array().unwrap());
    }
    let chain = case["transformers"].as_array().unwrap();
    let configured = |one| (configure(one).unwrap(), Input::shuffled(3));
    let mut chain: Vec<(TransformFn, Input)> = chain.iter().map(configured).collect();
    let defaults = case["defaults"].as_object().unwrap();
    let mut published = Vec::new();
    for step in case["steps"].as_array().unwrap() {
        // Neither transformer emits samples at a flush.
        let Some(batch) = step.get("batch") else { continue };
        let mut samples: Vec<(Sample, u64)> =
            batch.as_array().unwrap().iter().map(|one| parse(one, defaults)).collect();
        for (transformer, input) in &mut chain {
            input.next();
            for (sample, monotonic) in &samples {
                input.sample(sample);
                input.monotonic(*monotonic);
            }
            let outcome = transformer(&input.batch());
            samples = input.samples(outcome).into_iter().map(|sample| (sample, 0)).collect();
        }
        published.extend(samples.into_iter().map(|(sample, _)| sample));
    }
    assert_samples(title, case, &published);
    let lines = log::taken();
    for line in case.get("expect_log").and_then(Value::as_array).into_iter().flatten() {
        let wanted = line.as_str().unwrap();
        assert!(lines.iter().any(|(_, line)| line.contains(wanted)), "{title}: {lines:?}");
    }
}

#[test]
fn all_cases_without_flush_pass() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/cases/transformers");
    let mut cases = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let case: Value = serde_yaml::from_str(&text).unwrap();
            let title = format!("{}: {}", path.display(), case["title"]);
            // The others buffer samples; they run in the host, which flushes them.
            let runs_here = |one: &Value| {
                ["rate_of_change", "unit_conversion"].contains(&one["name"].as_str().unwrap())
            };
            if !case["transformers"].as_array().unwrap().iter().all(runs_here) {
                continue;
            }
            run(&title, &case);
            cases += 1;
        }
    }
    assert!(cases >= 28, "only {cases} cases in {folder}");
}
