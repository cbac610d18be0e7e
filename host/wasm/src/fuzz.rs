//! What the fuzz targets in `host/fuzz` call; only they see it.

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
use super::options;
use super::survey::survey;
use nephometer_model::{Batch, Meter, MeterType, Moment, Resource, Sample, Timestamp, Volume};

const TICK: u64 = 1_700_000_000_000_000_000;

/// Any answer of a component to a small batch. What is taken has to be fit to be published.
pub fn answer(data: &[u8]) {
    // Bytes that are too few make no answer.
    let _short = answer_of(&mut Unstructured::new(data));
}

/// Any text as a schema, and any JSON as options.
pub fn options(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (schema, rest) = data.split_at(at);
    let schema = String::from_utf8_lossy(schema);
    let options = serde_json::from_slice(rest.get(1..).unwrap_or_default());
    let options: Map<String, Value> = options.unwrap_or_default();
    if let Ok(faults) = options::check(&schema, &options) {
        assert!(faults.finish().0.len() <= nephometer_model::Bound::OptionErrors.size());
    }
}

/// Any bytes as the sections of a component, as they are looked at before they are compiled.
pub fn component(data: &[u8]) {
    let file = [&b"\0asm\x0d\0\x01\0"[..], data].concat();
    // What cannot be read is refused; that it ends is what is to be seen.
    let _refused = survey(&file);
    let _producers = producers(&file);
}

fn answer_of(given: &mut Unstructured<'_>) -> Result<()> {
    let batch = batch();
    let globs = if given.arbitrary()? { vec!["cpu".to_owned()] } else { Vec::new() };
    let filter = Filter::new(&globs).expect("a good pattern");
    let mut session = Session::new(Vec::new(), Numbering::Ascending);
    // Each answer meets what the ones before have left.
    for _ in 0..given.int_in_range(1..=3)? {
        let picked = session.pick(&batch, &filter).expect("a small batch");
        session.learned();
        let outcome = match given.int_in_range(0..=4)? {
            0 => Outcome::Keep(indices(given)?),
            1 => Outcome::Derive(derived(given)?),
            2 => {
                let flushed = session.flushed(Some(made(given)?), Timestamp::from_nanos(TICK));
                check(&flushed.unwrap_or_default());
                continue;
            }
            _ => Outcome::Replace(made(given)?),
        };
        let most = if let Outcome::Keep(_) = outcome { batch.samples.len() } else { usize::MAX };
        let made = session.transformed(outcome, &picked);
        session.forget(&picked);
        match made {
            Ok(Transformed::Samples(samples)) => {
                assert!(samples.len() <= most);
                check(&samples);
            }
            Ok(Transformed::Unchanged) => {}
            // The instance ends with it.
            Err(_) => break,
        }
    }
    Ok(())
}

/// What is accepted has to be fit to be published.
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
            user_id: None,
            metadata: json!({"cpu_number": 2}).as_object().expect("an object").clone(),
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
        taken: Moment { wall: Timestamp::from_nanos(TICK), ..Moment::default() },
    };
    let samples = vec![
        sample(1, &cpu, &a, Volume::Integer((1 << 60) + 1)),
        sample(2, &memory, &a, Volume::Float(1.5)),
        sample(3, &cpu, &b, Volume::Integer(4)),
    ];
    let cycle_start = Moment { wall: Timestamp::from_nanos(TICK), ..Moment::default() };
    Batch { source: "s".into(), cycle_start, samples, gone: Vec::new() }
}

fn derived(given: &mut Unstructured<'_>) -> Result<Derived> {
    Ok(Derived {
        meters: meters(given)?,
        origin: indices(given)?,
        meter: indices(given)?,
        volume: some(given, Unstructured::arbitrary)?,
        exact: exact(given)?,
    })
}

fn made(given: &mut Unstructured<'_>) -> Result<Answer> {
    Ok(Answer {
        meters: meters(given)?,
        resources: resources(given)?,
        origin: indices(given)?,
        meter: indices(given)?,
        resource: indices(given)?,
        time: some(given, |given| {
            Ok(if given.arbitrary()? { TICK } else { given.arbitrary()? })
        })?,
        volume: some(given, Unstructured::arbitrary)?,
        exact: exact(given)?,
    })
}

fn exact(given: &mut Unstructured<'_>) -> Result<Vec<ExactInteger>> {
    some(given, |given| {
        Ok(ExactInteger { row: given.int_in_range(0..=6)?, value: given.arbitrary()? })
    })
}

fn meters(given: &mut Unstructured<'_>) -> Result<Vec<NumberedMeterResult>> {
    some(given, |given| {
        let type_ = *given.choose(&[Kind::Gauge, Kind::Delta, Kind::Cumulative])?;
        let entry = MeterResult { name: given.arbitrary()?, unit: given.arbitrary()?, type_ };
        Ok(NumberedMeterResult { number: own(given)?, entry })
    })
}

fn resources(given: &mut Unstructured<'_>) -> Result<Vec<NumberedResourceResult>> {
    some(given, |given| {
        let entry = ResourceResult {
            id: given.arbitrary()?,
            source: given.arbitrary()?,
            project_id: given.arbitrary()?,
            user_id: given.arbitrary()?,
            metadata: given.arbitrary()?,
        };
        Ok(NumberedResourceResult { number: own(given)?, entry })
    })
}

/// Mostly numbers that a component may give.
fn own(given: &mut Unstructured<'_>) -> Result<u32> {
    if given.int_in_range(0..=9)? == 0 {
        return given.arbitrary();
    }
    Ok(0x8000_0000 + given.int_in_range(0..=6)?)
}

/// Mostly small ones, so that some of them exist.
fn indices(given: &mut Unstructured<'_>) -> Result<Vec<u32>> {
    some(given, |given| match given.int_in_range(0..=9)? {
        0 => given.arbitrary(),
        1 => Ok(u32::MAX),
        2 | 3 => own(given),
        small => Ok(small - 4),
    })
}

fn some<'a, T>(
    given: &mut Unstructured<'a>,
    mut one: impl FnMut(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = given.int_in_range(0..=6)?;
    (0..count).map(|_| one(given)).collect()
}
