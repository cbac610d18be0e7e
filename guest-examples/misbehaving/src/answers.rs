//! Malformed answers.

use nephometer_guest::{
    Answer, AnswerBuilder, Batch, Derived, Meter, MeterType, NO_ORIGIN, Outcome, Resource,
};

const TEN_DAYS: u64 = 10 * 86_400 * 1_000_000_000;

/// A valid answer with one error; `None` if the mode is not about answers.
pub(crate) fn malformed(mode: &str, input: &Batch<'_>) -> Option<Outcome> {
    let mut answer = unchanged(input);
    match mode {
        "unequal-columns" => drop(answer.time.pop()),
        "bad-meter" => answer.meter.fill(1_000_000),
        "bad-resource" => answer.resource.fill(1_000_000),
        "bad-origin" => answer.origin.fill(1_000_000),
        "nan" => answer.volume.fill(f64::NAN),
        "infinity" => answer.volume.fill(f64::INFINITY),
        "time-zero" => answer.time.fill(0),
        "time-future" => answer.time.iter_mut().for_each(|time| *time += TEN_DAYS),
        "too-many-entries" => {
            let mut builder = AnswerBuilder::new(input);
            (0..100_000).for_each(|n: u32| _ = builder.meter(&meter(n.to_string())));
        }
        "huge-answer" => {
            let mut builder = AnswerBuilder::new(input);
            let name = |n: u32| format!("{n:02}{}", "x".repeat(1 << 20));
            (0..32).for_each(|n| _ = builder.meter(&meter(name(n))));
        }
        "bad-metadata" => {
            let bad = resource("misbehaving".to_owned(), "{not JSON".to_owned());
            let number = AnswerBuilder::new(input).resource(&bad);
            answer.resource.fill(number);
        }
        "own-entries" => add_resources(input, 30_000),
        "derive-descending" => return Some(derived(input, (0..rows(input)).rev().collect())),
        "derive-out-of-range" => return Some(derived(input, vec![rows(input)])),
        _ => return None,
    }
    Some(Outcome::Replace(answer))
}

/// All rows of the input, with these numbers of meters and resources in turn.
pub(crate) fn with_numbers(input: &Batch<'_>, meter: &[u32], resource: &[u32]) -> Outcome {
    let mut answer = unchanged(input);
    answer.origin.fill(NO_ORIGIN);
    for (column, numbers) in [(&mut answer.meter, meter), (&mut answer.resource, resource)] {
        let numbers = numbers.iter().cycle();
        column.iter_mut().zip(numbers).for_each(|(into, number)| *into = *number);
    }
    Outcome::Replace(answer)
}

fn unchanged(input: &Batch<'_>) -> Answer {
    let samples = input.samples;
    Answer {
        origin: (0..rows(input)).collect(),
        meter: samples.meter.clone(),
        resource: samples.resource.clone(),
        time: samples.time.clone(),
        volume: samples.volume.clone(),
        exact: Vec::new(),
    }
}

fn derived(input: &Batch<'_>, origin: Vec<u32>) -> Outcome {
    let meter = input.samples.meter.first().copied().unwrap_or_default();
    let rows = origin.len();
    Outcome::Derive(Derived {
        origin,
        meter: vec![meter; rows],
        volume: vec![1.0; rows],
        exact: Vec::new(),
    })
}

/// Adds new resources of the component's own.
fn add_resources(input: &Batch<'_>, count: u32) {
    let time = input.samples.time.first().copied().unwrap_or_default();
    let mut builder = AnswerBuilder::new(input);
    for n in 0..count {
        builder.resource(&resource(format!("{time}-{n}"), "{}".to_owned()));
    }
}

fn rows(input: &Batch<'_>) -> u32 {
    u32::try_from(input.samples.volume.len()).unwrap_or(u32::MAX)
}

fn resource(id: String, metadata: String) -> Resource {
    Resource { id, source: "openstack".to_owned(), project_id: None, user_id: None, metadata }
}

fn meter(name: String) -> Meter {
    Meter { name, unit: String::new(), type_: MeterType::Gauge }
}
