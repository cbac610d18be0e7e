//! Entry points of the fuzz targets in `host/fuzz`, which a unit test calls, too.

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::bindings::exports::nephometer::metering::dictionary::{
    NumberedMeterResult, NumberedResourceResult,
};
use super::bindings::exports::nephometer::metering::transform::{Answer, Derived, Outcome};
use super::bindings::nephometer::metering::types::{
    ExactInteger, MeterResult, MeterType as Kind, ResourceResult,
};
use super::convert::{Filter, Numbering, Session, Transformed};
use super::inspect::producers;
use super::options::check_options;
use super::survey::survey;
use nephometer_model::{Batch, Meter, MeterType, Moment, Resource, Sample, Timestamp, Volume};

const NOW: u64 = 1_700_000_000_000_000_000;

/// Converts arbitrary answers to a small batch. Accepted samples must be valid.
pub fn answer(data: &[u8]) {
    // Too few bytes give no answer.
    let _short = answer_of(&mut Unstructured::new(data));
}

/// Checks arbitrary JSON as options against an arbitrary schema.
pub fn options(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (schema, rest) = data.split_at(end);
    let schema = String::from_utf8_lossy(schema);
    let options = serde_json::from_slice(rest.get(1..).unwrap_or_default());
    let options: Map<String, Value> = options.unwrap_or_default();
    if let Ok(errors) = check_options(&schema, &options) {
        assert!(errors.finish().0.len() <= nephometer_model::Bound::OptionErrors.size());
    }
}

/// Inspects arbitrary bytes as the sections of a component, as done before compilation.
pub fn component(data: &[u8]) {
    let file = [&b"\0asm\x0d\0\x01\0"[..], data].concat();
    // Unreadable sections are refused; both must terminate.
    let _refused = survey(&file);
    let _producers = producers(&file);
}

fn answer_of(input: &mut Unstructured<'_>) -> Result<()> {
    let batch = batch();
    let globs = if input.arbitrary()? { vec!["cpu".to_owned()] } else { Vec::new() };
    let filter = Filter::new(&globs).expect("a good pattern");
    let mut session = Session::new(Vec::new(), Numbering::Ascending);
    // Each answer meets the state that the previous ones left.
    for _ in 0..input.int_in_range(1..=3)? {
        let selected = session.select(&batch, &filter).expect("a small batch");
        session.mark_learned();
        let outcome = match input.int_in_range(0..=4)? {
            0 => Outcome::Keep(indices(input)?),
            1 => Outcome::Derive(derived(input)?),
            2 => {
                let flushed =
                    session.flushed(Some(full_answer(input)?), Timestamp::from_nanos(NOW));
                check(&flushed.unwrap_or_default());
                continue;
            }
            _ => Outcome::Replace(full_answer(input)?),
        };
        let max = if let Outcome::Keep(_) = outcome { batch.samples.len() } else { usize::MAX };
        let transformed = session.transformed(outcome, &selected);
        session.forget_removed(&selected);
        match transformed {
            Ok(Transformed::Samples(samples)) => {
                assert!(samples.len() <= max);
                check(&samples);
            }
            Ok(Transformed::Unchanged) => {}
            // A refused answer ends the instance.
            Err(_) => break,
        }
    }
    Ok(())
}

/// Asserts that accepted samples are valid.
fn check(samples: &[Sample]) {
    for sample in samples {
        assert!(sample.volume.as_f64().is_finite());
        assert!(!sample.meter.name.is_empty() && !sample.resource.id.is_empty());
    }
}

fn batch() -> Batch {
    let resource = |id: &str| {
        Arc::new(Resource {
            id: id.into(),
            source: "openstack".into(),
            project_id: Some("p".into()),
            metadata: json!({"cpu_number": 2}).as_object().expect("an object").clone(),
            ..Resource::default()
        })
    };
    let (a, b) = (resource("a"), resource("b"));
    let cpu = Arc::new(Meter::new("cpu", MeterType::Cumulative, "ns"));
    let memory = Arc::new(Meter::new("memory", MeterType::Gauge, "MiB"));
    let sample = |id, meter: &Arc<Meter>, resource: &Arc<Resource>, volume| Sample {
        id: Uuid::from_u128(id),
        meter: Arc::clone(meter),
        resource: Arc::clone(resource),
        volume,
        taken: Moment { wall: Timestamp::from_nanos(NOW), ..Moment::default() },
    };
    let samples = vec![
        sample(1, &cpu, &a, Volume::Integer((1 << 60) + 1)),
        sample(2, &memory, &a, Volume::Float(1.5)),
        sample(3, &cpu, &b, Volume::Integer(4)),
    ];
    let cycle_start = Moment { wall: Timestamp::from_nanos(NOW), ..Moment::default() };
    Batch { source: "s".into(), cycle_start, samples, removed: Vec::new() }
}

fn derived(input: &mut Unstructured<'_>) -> Result<Derived> {
    Ok(Derived {
        meters: meters(input)?,
        origin: indices(input)?,
        meter: indices(input)?,
        volume: few(input, Unstructured::arbitrary)?,
        exact: exact(input)?,
    })
}

fn full_answer(input: &mut Unstructured<'_>) -> Result<Answer> {
    Ok(Answer {
        meters: meters(input)?,
        resources: resources(input)?,
        origin: indices(input)?,
        meter: indices(input)?,
        resource: indices(input)?,
        time: few(input, |input| Ok(if input.arbitrary()? { NOW } else { input.arbitrary()? }))?,
        volume: few(input, Unstructured::arbitrary)?,
        exact: exact(input)?,
    })
}

fn exact(input: &mut Unstructured<'_>) -> Result<Vec<ExactInteger>> {
    few(input, |input| {
        Ok(ExactInteger { row: input.int_in_range(0..=6)?, value: input.arbitrary()? })
    })
}

fn meters(input: &mut Unstructured<'_>) -> Result<Vec<NumberedMeterResult>> {
    few(input, |input| {
        let type_ = *input.choose(&[Kind::Gauge, Kind::Delta, Kind::Cumulative])?;
        let entry = MeterResult { name: input.arbitrary()?, unit: input.arbitrary()?, type_ };
        Ok(NumberedMeterResult { number: own(input)?, entry })
    })
}

fn resources(input: &mut Unstructured<'_>) -> Result<Vec<NumberedResourceResult>> {
    few(input, |input| {
        let entry = ResourceResult {
            id: input.arbitrary()?,
            source: input.arbitrary()?,
            project_id: input.arbitrary()?,
            user_id: input.arbitrary()?,
            metadata: input.arbitrary()?,
        };
        Ok(NumberedResourceResult { number: own(input)?, entry })
    })
}

/// Mostly numbers that a component may assign.
fn own(input: &mut Unstructured<'_>) -> Result<u32> {
    if input.int_in_range(0..=9)? == 0 {
        return input.arbitrary();
    }
    Ok(0x8000_0000 + input.int_in_range(0..=6)?)
}

/// Mostly small numbers, so that some of them exist.
fn indices(input: &mut Unstructured<'_>) -> Result<Vec<u32>> {
    few(input, |input| match input.int_in_range(0..=9)? {
        0 => input.arbitrary(),
        1 => Ok(u32::MAX),
        2 | 3 => own(input),
        small => Ok(small - 4),
    })
}

fn few<'a, T>(
    input: &mut Unstructured<'a>,
    mut one: impl FnMut(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = input.int_in_range(0..=6)?;
    (0..count).map(|_| one(input)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        /// So that the targets compile and hold before `make fuzz`, which takes longer.
        #[test]
        fn targets_take_any_bytes(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            super::answer(&data);
            super::options(&data);
            super::component(&data);
        }
    }
}
