//! The guest's answer as samples, checked whole.

use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::batch::Columns;
use super::size::{self, Columned};
use crate::bindings::exports::nephometer::metering::transform::{Answer, Outcome};
use crate::bindings::nephometer::metering::types;
use nephometer_model::{Meter, MeterType, Moment, Resource, Sample, Timestamp, Volume};

/// A row that comes from no row.
const NO_ORIGIN: u32 = u32::MAX;

/// 1980-01-01: before it lies nothing but clocks that were never set.
const EARLIEST: Timestamp = Timestamp::from_nanos(315_532_800_000_000_000);
/// How far ahead of its input an answer's time may be.
const DAY: u64 = 86_400_000_000_000;

/// Whole numbers up to here are exact as doubles: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The `source` of a new resource that does not name one.
const SOURCE: &str = "openstack";

/// What takes the place of a batch's samples. Rows that passed by stand where they stood: in an
/// answer whose origins ascend each one comes before the first row that comes from a later one;
/// in any other answer they all come first. The error says which row and column, and why.
pub(crate) fn transformed(outcome: Outcome, input: &Columns<'_>) -> Result<Vec<Sample>, String> {
    match outcome {
        Outcome::Unchanged => Ok(input.samples.to_vec()),
        Outcome::Keep(rows) => keep(&rows, input),
        Outcome::Replace(answer) => {
            let made = Checker::new(answer, Some(input), input.newest)?.samples()?;
            Ok(merge(made, input))
        }
    }
}

/// What a component gave out at the end of a tick.
pub(crate) fn flushed(answer: Option<Answer>, now: Timestamp) -> Result<Vec<Sample>, String> {
    let Some(answer) = answer else { return Ok(Vec::new()) };
    let made = Checker::new(answer, None, now)?.samples()?;
    Ok(made.into_iter().map(|row| row.sample).collect())
}

fn keep(rows: &[u32], input: &Columns<'_>) -> Result<Vec<Sample>, String> {
    let count = input.rows.len();
    let mut kept = vec![input.rows.len() != input.samples.len(); input.samples.len()];
    for row in &input.rows {
        kept[*row as usize] = false;
    }
    let mut next = 0;
    for (position, row) in rows.iter().enumerate() {
        if *row as usize >= count {
            return Err(format!("keep, entry {position}: {row} is no row; there are {count}"));
        }
        if *row < next {
            return Err(format!("keep, entry {position}: {row} does not ascend"));
        }
        next = row.saturating_add(1);
        kept[input.rows[*row as usize] as usize] = true;
    }
    let samples = input.samples.iter().zip(kept);
    Ok(samples.filter(|(_, kept)| *kept).map(|(sample, _)| sample.clone()).collect())
}

/// A row of an answer.
struct Row {
    /// The position of its origin among all samples of the batch, also those that passed by.
    origin: Option<u32>,
    sample: Sample,
}

fn merge(made: Vec<Row>, input: &Columns<'_>) -> Vec<Sample> {
    if input.rows.len() == input.samples.len() {
        return made.into_iter().map(|row| row.sample).collect();
    }
    let mut by = (0..).zip(input.samples).peekable();
    let mut seen = input.rows.iter().copied().peekable();
    let mut passed_by = std::iter::from_fn(|| {
        loop {
            let (position, sample) = by.next()?;
            if seen.next_if_eq(&position).is_none() {
                return Some((position, sample));
            }
        }
    })
    .peekable();
    let ascending = made.iter().filter_map(|row| row.origin).is_sorted();
    let mut merged = Vec::with_capacity(input.samples.len() - input.rows.len() + made.len());
    if !ascending {
        merged.extend(passed_by.by_ref().map(|(_, sample)| sample.clone()));
    }
    for row in made {
        if let Some(origin) = row.origin {
            while let Some((_, sample)) = passed_by.next_if(|(position, _)| *position < origin) {
                merged.push(sample.clone());
            }
        }
        merged.push(row.sample);
    }
    merged.extend(passed_by.map(|(_, sample)| sample.clone()));
    merged
}

struct Checker<'a> {
    input: Option<&'a Columns<'a>>,
    latest: Timestamp,
    /// The input's entries, then the new ones. A new one that equals one of the input's is it.
    meters: Vec<(u32, Arc<Meter>)>,
    resources: Vec<(u32, Arc<Resource>)>,
    answer: Columned,
    /// Per row of the input: whether a row of the answer is it already.
    used: Vec<bool>,
}

impl<'a> Checker<'a> {
    fn new(
        answer: Answer,
        input: Option<&'a Columns<'a>>,
        newest: Timestamp,
    ) -> Result<Self, String> {
        let Answer { meters, resources, origin, meter, resource, time, volume } = answer;
        let rows = origin.len();
        for (column, length) in [
            ("meter", meter.len()),
            ("resource", resource.len()),
            ("time", time.len()),
            ("volume", volume.len()),
        ] {
            if length != rows {
                return Err(format!("column {column} has {length} rows, origin has {rows}"));
            }
        }
        size::entries(&meters, &resources).map_err(|exceeded| exceeded.to_string())?;
        let checker = Self {
            input,
            latest: Timestamp::from_nanos(newest.as_nanos().saturating_add(DAY)),
            meters: all_meters(input, meters),
            resources: all_resources(input, resources)?,
            answer: Columned { origin, meter, resource, time, volume },
            used: vec![false; input.map_or(0, |input| input.rows.len())],
        };
        size::rows(&checker.answer, input, (&checker.meters, &checker.resources))
            .map_err(|exceeded| exceeded.to_string())?;
        Ok(checker)
    }

    fn samples(mut self) -> Result<Vec<Row>, String> {
        (0..self.answer.origin.len()).map(|row| self.row(row)).collect()
    }

    fn row(&mut self, row: usize) -> Result<Row, String> {
        let fault = |column: &str, reason: String| format!("row {row}, column {column}: {reason}");
        let (meter, resource) = (self.answer.meter[row], self.answer.resource[row]);
        let (meter_is, meter) =
            entry(&self.meters, meter).map_err(|reason| fault("meter", reason))?;
        let (resource_is, resource) =
            entry(&self.resources, resource).map_err(|reason| fault("resource", reason))?;
        if meter.name.is_empty() {
            return Err(fault("meter", "the meter has no name".to_owned()));
        }
        if resource.id.is_empty() {
            return Err(fault("resource", "the resource has no id".to_owned()));
        }
        let volume = self.answer.volume[row];
        if !volume.is_finite() {
            return Err(fault("volume", format!("{volume} is not finite")));
        }
        let time = Timestamp::from_nanos(self.answer.time[row]);
        if time < EARLIEST || time > self.latest {
            let reason = format!("{} is before 1980 or after {}", time.iso(), self.latest.iso());
            return Err(fault("time", reason));
        }
        let origin = self.answer.origin[row];
        let known = self.used.len();
        let Some(input) = self.input.filter(|_| origin != NO_ORIGIN) else {
            if origin != NO_ORIGIN {
                return Err(fault("origin", format!("{origin} is no row; there are none")));
            }
            let sample = made(None, meter, resource, (time, volume));
            return Ok(Row { origin: None, sample });
        };
        let index = origin as usize;
        if index >= known {
            return Err(fault("origin", format!("{origin} is no row; there are {known}")));
        }
        let (from, from_meter, from_resource) = input.row(index);
        let same = from_meter == meter_is
            && from_resource == resource_is
            && from.taken.wall == time
            && from.volume.as_f64() == volume;
        // Once: a row that stands in an answer twice is a copy the second time.
        let sample = if same && !std::mem::replace(&mut self.used[index], true) {
            from.clone()
        } else {
            made(Some(from), meter, resource, (time, volume))
        };
        Ok(Row { origin: Some(input.rows[index]), sample })
    }
}

fn entry<T>(entries: &[(u32, Arc<T>)], index: u32) -> Result<(u32, &Arc<T>), String> {
    entries
        .get(index as usize)
        .map(|(is, entry)| (*is, entry))
        .ok_or_else(|| format!("{index} is no entry; there are {}", entries.len()))
}

fn made(
    origin: Option<&Sample>,
    meter: &Arc<Meter>,
    resource: &Arc<Resource>,
    (time, volume): (Timestamp, f64),
) -> Sample {
    let integer = origin.is_some_and(|origin| origin.volume.is_integer());
    // A row of the same time keeps the clock that the next component of the chain computes with;
    // messages have none for computed samples.
    let continuous = origin
        .filter(|origin| origin.taken.wall == time)
        .and_then(|origin| origin.taken.continuous);
    Sample {
        id: Uuid::nil(),
        meter: Arc::clone(meter),
        resource: Arc::clone(resource),
        volume: number(volume, integer),
        taken: Moment { wall: time, continuous, monotonic: None },
    }
}

#[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53: exact")]
fn number(volume: f64, integer: bool) -> Volume {
    if integer && volume.fract() == 0.0 && volume.abs() < EXACT {
        Volume::Integer(volume as i128)
    } else {
        Volume::Float(volume)
    }
}

fn all_meters(input: Option<&Columns<'_>>, new: Vec<types::MeterResult>) -> Vec<(u32, Arc<Meter>)> {
    let known = input.map_or(&[][..], |input| &input.meters.entries);
    let mut all: Vec<(u32, Arc<Meter>)> = numbered(known);
    for (index, meter) in (all.len()..).zip(new) {
        let kind = match meter.type_ {
            types::MeterType::Gauge => MeterType::Gauge,
            types::MeterType::Delta => MeterType::Delta,
            types::MeterType::Cumulative => MeterType::Cumulative,
        };
        let meter = Meter::new(meter.name, kind, meter.unit);
        let same = input.and_then(|input| input.meters.find(&meter));
        all.push(canonical(&all, same, index, meter));
    }
    all
}

fn all_resources(
    input: Option<&Columns<'_>>,
    new: Vec<types::ResourceResult>,
) -> Result<Vec<(u32, Arc<Resource>)>, String> {
    let known = input.map_or(&[][..], |input| &input.resources.entries);
    let mut all: Vec<(u32, Arc<Resource>)> = numbered(known);
    for (index, resource) in (all.len()..).zip(new) {
        let metadata: Map<String, Value> =
            serde_json::from_str(&resource.metadata).map_err(|error| {
                let position = index - known.len();
                format!("resources, entry {position}: metadata is no JSON object: {error}")
            })?;
        let source = if resource.source.is_empty() { SOURCE } else { resource.source.as_str() };
        let resource = Resource {
            id: resource.id.into(),
            source: source.into(),
            project_id: resource.project_id.map(Into::into),
            user_id: resource.user_id.map(Into::into),
            metadata,
        };
        let same = input.and_then(|input| input.resources.find(&resource));
        all.push(canonical(&all, same, index, resource));
    }
    Ok(all)
}

fn numbered<T>(entries: &[&Arc<T>]) -> Vec<(u32, Arc<T>)> {
    (0..).zip(entries).map(|(index, entry)| (index, Arc::clone(entry))).collect()
}

fn canonical<T>(all: &[(u32, Arc<T>)], same: Option<u32>, index: usize, entry: T) -> (u32, Arc<T>) {
    match same {
        Some(same) => (same, Arc::clone(&all[same as usize].1)),
        // Beyond u32 no row can refer to it.
        None => (u32::try_from(index).unwrap_or(u32::MAX), Arc::new(entry)),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
