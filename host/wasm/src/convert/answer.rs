//! The guest's answer as samples, checked whole.

use std::sync::Arc;

use uuid::Uuid;

use super::session::{Picked, Session};
use super::size;
use crate::bindings::exports::nephometer::metering::transform::{Answer, Derived, Outcome};
use crate::bindings::nephometer::metering::types::ExactInteger;
use nephometer_model::{Batch, Bound, Meter, Moment, Resource, Sample, Timestamp, Volume};

/// A row without an origin.
const NO_ORIGIN: u32 = u32::MAX;

/// 1980-01-01: an earlier time comes from a clock that was never set.
const EARLIEST: Timestamp = Timestamp::from_nanos(315_532_800_000_000_000);
/// How far ahead of its input an answer's time may be.
const DAY: u64 = 86_400_000_000_000;

/// What replaces a batch.
#[derive(Debug)]
pub enum Transformed {
    /// All samples, as they are.
    Unchanged,
    /// These samples. New ones have the nil id.
    Samples(Vec<Sample>),
}

impl Transformed {
    /// The samples that replace those of `batch`, which it was made of.
    pub fn into_samples(self, batch: &Batch) -> Vec<Sample> {
        match self {
            Self::Unchanged => batch.samples.clone(),
            Self::Samples(samples) => samples,
        }
    }
}

impl Session {
    /// What replaces a batch. Samples that bypassed the component keep their place: where origins ascend,
    /// each comes before the first row of a later origin; otherwise they come first.
    ///
    /// # Errors
    /// Names the row, the column and what is wrong.
    pub(crate) fn transformed(
        &mut self,
        outcome: Outcome,
        input: &Picked<'_>,
    ) -> Result<Transformed, String> {
        Ok(Transformed::Samples(match outcome {
            Outcome::Unchanged => return Ok(Transformed::Unchanged),
            Outcome::Keep(rows) => keep(&rows, input)?,
            Outcome::Derive(derived) => self.derived(derived, input)?,
            Outcome::Replace(answer) => {
                let rows = self.rows(answer, Some(input), input.newest)?;
                merge(rows, input)
            }
        }))
    }

    /// What a component emitted at the end of a polling cycle.
    ///
    /// # Errors
    /// Names the row, the column and what is wrong.
    pub(crate) fn flushed(
        &mut self,
        answer: Option<Answer>,
        now: Timestamp,
    ) -> Result<Vec<Sample>, String> {
        let Some(answer) = answer else { return Ok(Vec::new()) };
        Ok(self.rows(answer, None, now)?.into_iter().map(|row| row.sample).collect())
    }

    fn derived(&mut self, derived: Derived, input: &Picked<'_>) -> Result<Vec<Sample>, String> {
        let Derived { meters, origin: origins, meter: numbers, volume: volumes, exact } = derived;
        lengths(origins.len(), &[("meter", numbers.len()), ("volume", volumes.len())])?;
        check_rows(origins.len(), input.count)?;
        self.own.take(meters, Vec::new())?;
        let mut exact = Exact::new(exact);
        let mut bypassing = Bypassing::new(input);
        let mut made = Vec::with_capacity(origins.len() + input.samples.len() - input.count);
        let mut known: Option<(u32, &Arc<Meter>, usize)> = None;
        let mut weight = Weight::default();
        let (mut last, mut passed) = (NO_ORIGIN, NO_ORIGIN);
        for (row, ((&origin, &number), &volume)) in
            (0u32..).zip(origins.iter().zip(&numbers).zip(&volumes))
        {
            let place = |column, reason: String| fault(row, column, &reason);
            if origin as usize >= input.count {
                return Err(place("origin", out_of_range(origin, input.count)));
            }
            if last != NO_ORIGIN && origin < last {
                return Err(place("origin", format!("{origin} after {last}: not ascending")));
            }
            let (meter, bytes) = match known {
                Some((known, meter, bytes)) if known == number => (meter, bytes),
                _ => {
                    let (meter, bytes) =
                        self.meter(number).ok_or_else(|| place("meter", unknown(number)))?;
                    known = Some((number, meter, bytes));
                    (meter, bytes)
                }
            };
            check_volume(row, volume)?;
            let position = input.position(origin);
            let from = &input.samples[position as usize];
            weight.meter(bytes, &from.meter);
            if origin == last {
                weight.repeated(&from.resource)?;
            }
            last = origin;
            bypassing.up_to(position, &mut made);
            let value = exact.of(row, volume)?;
            // Once: a second row that equals its origin is a copy.
            let same = passed != origin
                && is(value, volume, from)
                && (number == self.columns.meter[origin as usize] || **meter == *from.meter);
            if same {
                passed = origin;
                made.push(from.clone());
                continue;
            }
            made.push(Sample {
                id: Uuid::nil(),
                meter: Arc::clone(meter),
                resource: Arc::clone(&from.resource),
                volume: value.unwrap_or_else(|| number_of(volume, from.volume)),
                taken: Moment { monotonic: None, ..from.taken },
            });
        }
        weight.check()?;
        exact.finish()?;
        bypassing.rest(&mut made);
        Ok(made)
    }

    fn rows(
        &mut self,
        answer: Answer,
        input: Option<&Picked<'_>>,
        newest: Timestamp,
    ) -> Result<Vec<Row>, String> {
        let Answer { meters, resources, origin, meter, resource, time, volume, exact } = answer;
        let columns = [
            ("meter", meter.len()),
            ("resource", resource.len()),
            ("time", time.len()),
            ("volume", volume.len()),
        ];
        lengths(origin.len(), &columns)?;
        let known = input.map_or(0, |input| input.count);
        check_rows(origin.len(), known)?;
        self.own.take(meters, resources)?;
        self.check_weight(&meter, &resource, input)?;
        let latest = Timestamp::from_nanos(newest.as_nanos().saturating_add(DAY));
        let mut exact = Exact::new(exact);
        let mut used = vec![false; known];
        let mut rows = Vec::with_capacity(origin.len());
        for (row, &origin) in (0u32..).zip(&origin) {
            let index = row as usize;
            let (meter, resource) = (meter[index], resource[index]);
            let (volume, time) = (volume[index], Timestamp::from_nanos(time[index]));
            let (of_meter, _) =
                self.meter(meter).ok_or_else(|| fault(row, "meter", &unknown(meter)))?;
            let of_resource = self
                .resource(resource)
                .ok_or_else(|| fault(row, "resource", &unknown(resource)))?;
            check_volume(row, volume)?;
            if time < EARLIEST || time > latest {
                let reason = format!("{} is before 1980 or after {}", time.iso(), latest.iso());
                return Err(fault(row, "time", &reason));
            }
            let value = exact.of(row, volume)?;
            let made = New { meter: of_meter, resource: of_resource, time, volume, value };
            let Some(input) = input.filter(|_| origin != NO_ORIGIN) else {
                if origin != NO_ORIGIN {
                    return Err(fault(row, "origin", &out_of_range(origin, known)));
                }
                rows.push(Row { origin: None, sample: made.sample(None) });
                continue;
            };
            let at = origin as usize;
            if at >= known {
                return Err(fault(row, "origin", &out_of_range(origin, known)));
            }
            let position = input.position(origin);
            let from = &input.samples[position as usize];
            let same = is(value, volume, from)
                && from.taken.wall == time
                && (meter == self.columns.meter[at] || **of_meter == *from.meter)
                && (resource == self.columns.resource[at] || **of_resource == *from.resource);
            // Once: a second row that equals its origin is a copy.
            let sample = if same && !std::mem::replace(&mut used[at], true) {
                from.clone()
            } else {
                made.sample(Some(from))
            };
            rows.push(Row { origin: Some(position), sample });
        }
        exact.finish()?;
        Ok(rows)
    }

    /// Refuses rows that represent much more than those of the input. A small answer can name one large
    /// resource in many rows, and every message repeats it.
    fn check_weight(
        &self,
        meters: &[u32],
        resources: &[u32],
        input: Option<&Picked<'_>>,
    ) -> Result<(), String> {
        let mut weight = Weight::default();
        let had = input.map_or((&[][..], &[][..]), |_| {
            (self.columns.meter.as_slice(), self.columns.resource.as_slice())
        });
        weight.rows(meters.len(), had.0.len());
        weight.entries(meters, had.0, |number| self.meter(number).map(|(_, bytes)| bytes));
        weight
            .entries(resources, had.1, |number| self.resource(number).map(|one| size::weight(one)));
        weight.check()
    }
}

/// Bytes of messages beyond those of the input.
#[derive(Default)]
struct Weight {
    more: usize,
    less: usize,
}

impl Weight {
    /// So many rows in place of so many.
    fn rows(&mut self, rows: usize, had: usize) {
        self.more += rows.saturating_sub(had).saturating_mul(size::ROW);
    }

    /// One row of a meter of so many bytes in place of one of another meter.
    #[inline]
    fn meter(&mut self, bytes: usize, before: &Meter) {
        self.more += bytes;
        self.less += size::of_meter(before);
    }

    /// One more row of the same resource.
    #[cold]
    fn repeated(&mut self, resource: &Resource) -> Result<(), String> {
        self.more = self.more.saturating_add(size::ROW + size::weight(resource));
        // Before all of them are made.
        self.check()
    }

    /// The entries of these rows in place of those.
    fn entries(&mut self, rows: &[u32], had: &[u32], weight: impl Fn(u32) -> Option<usize>) {
        for (count, number) in size::beyond(rows, had) {
            // A number without an entry is refused with its row.
            let bytes = weight(number).unwrap_or(0);
            self.more = self.more.saturating_add(count.saturating_mul(bytes));
        }
    }

    fn check(&self) -> Result<(), String> {
        let bytes = self.more.saturating_sub(self.less);
        Bound::AnswerBytes.check(bytes).map_err(|exceeded| exceeded.to_string())
    }
}

/// Exact values of an answer, row by row.
struct Exact {
    values: std::iter::Peekable<std::vec::IntoIter<ExactInteger>>,
}

impl Exact {
    fn new(values: Vec<ExactInteger>) -> Self {
        Self { values: values.into_iter().peekable() }
    }

    /// The exact value of a row, if it has one. Rows are asked for in order.
    #[inline]
    fn of(&mut self, row: u32, volume: f64) -> Result<Option<Volume>, String> {
        match self.values.peek() {
            Some(next) if next.row == row => {
                let value = next.value;
                self.values.next();
                let whole = Volume::Integer(i128::from(value));
                if whole.as_f64() == volume {
                    return Ok(Some(whole));
                }
                let reason = format!("{value} is not {volume}, the volume of the row");
                Err(fault(row, "exact", &reason))
            }
            _ => Ok(None),
        }
    }

    /// All values have found their row.
    fn finish(mut self) -> Result<(), String> {
        self.values.next().map_or(Ok(()), |left| {
            Err(fault(left.row, "exact", "there is no such row, or rows do not ascend"))
        })
    }
}

/// A row of an answer.
struct Row {
    /// The position of its origin among all samples of the batch, also those that bypassed the component.
    origin: Option<u32>,
    sample: Sample,
}

/// Samples that bypassed the component, in ascending order of the answer's origins.
struct Bypassing<'a> {
    input: &'a Picked<'a>,
    next: u32,
    row: usize,
}

impl<'a> Bypassing<'a> {
    fn new(input: &'a Picked<'a>) -> Self {
        Self { input, next: 0, row: 0 }
    }

    /// Adds those before a position.
    #[inline]
    fn up_to(&mut self, position: u32, into: &mut Vec<Sample>) {
        if let Some(rows) = &self.input.rows {
            while self.next < position {
                if rows.get(self.row) == Some(&self.next) {
                    self.row += 1;
                } else {
                    into.push(self.input.samples[self.next as usize].clone());
                }
                self.next += 1;
            }
        }
    }

    fn rest(&mut self, into: &mut Vec<Sample>) {
        let all = u32::try_from(self.input.samples.len()).expect("the batch was checked");
        self.up_to(all, into);
    }
}

fn keep(rows: &[u32], input: &Picked<'_>) -> Result<Vec<Sample>, String> {
    let mut bypassing = Bypassing::new(input);
    let mut kept = Vec::with_capacity(rows.len() + input.samples.len() - input.count);
    let mut next = 0;
    for (entry, row) in rows.iter().enumerate() {
        if *row as usize >= input.count {
            return Err(format!("keep, entry {entry}: {}", out_of_range(*row, input.count)));
        }
        if *row < next {
            return Err(format!("keep, entry {entry}: row {row} is not ascending"));
        }
        next = row.saturating_add(1);
        let position = input.position(*row);
        bypassing.up_to(position, &mut kept);
        kept.push(input.samples[position as usize].clone());
    }
    bypassing.rest(&mut kept);
    Ok(kept)
}

fn merge(made: Vec<Row>, input: &Picked<'_>) -> Vec<Sample> {
    if input.rows.is_none() {
        return made.into_iter().map(|row| row.sample).collect();
    }
    let ascending = made.iter().filter_map(|row| row.origin).is_sorted();
    let mut bypassing = Bypassing::new(input);
    let mut merged = Vec::with_capacity(input.samples.len() - input.count + made.len());
    if !ascending {
        bypassing.rest(&mut merged);
    }
    for row in made {
        if let Some(origin) = row.origin {
            bypassing.up_to(origin, &mut merged);
        }
        merged.push(row.sample);
    }
    bypassing.rest(&mut merged);
    merged
}

/// What a row of an answer makes.
struct New<'a> {
    meter: &'a Arc<Meter>,
    resource: &'a Arc<Resource>,
    time: Timestamp,
    volume: f64,
    value: Option<Volume>,
}

impl New<'_> {
    fn sample(self, origin: Option<&Sample>) -> Sample {
        let Self { meter, resource, time, volume, value } = self;
        // A row of the same time keeps the clock that the next component of the chain computes with;
        // messages have none for computed samples.
        let continuous = origin
            .filter(|origin| origin.taken.wall == time)
            .and_then(|origin| origin.taken.continuous);
        let volume = value.unwrap_or_else(|| {
            origin.map_or(Volume::Float(volume), |origin| number_of(volume, origin.volume))
        });
        Sample {
            id: Uuid::nil(),
            meter: Arc::clone(meter),
            resource: Arc::clone(resource),
            volume,
            taken: Moment { wall: time, continuous, monotonic: None },
        }
    }
}

/// Whether a row has the value of its origin.
#[inline]
fn is(value: Option<Volume>, volume: f64, from: &Sample) -> bool {
    value.map_or_else(|| from.volume.as_f64() == volume, |value| value == from.volume)
}

/// The value of a row without an exact one: that of its origin if they are equal as `f64`.
#[inline]
fn number_of(volume: f64, origin: Volume) -> Volume {
    if origin.as_f64() == volume {
        return origin;
    }
    match super::whole(volume).filter(|_| origin.is_integer()) {
        Some(whole) => Volume::Integer(i128::from(whole)),
        None => Volume::Float(volume),
    }
}

fn check_rows(rows: usize, of_input: usize) -> Result<(), String> {
    let more = rows.saturating_sub(of_input);
    Bound::AnswerRows.check(more).map_err(|exceeded| exceeded.to_string())
}

fn check_volume(row: u32, volume: f64) -> Result<(), String> {
    if volume.is_finite() {
        return Ok(());
    }
    Err(fault(row, "volume", &format!("{volume} is not finite")))
}

fn lengths(rows: usize, columns: &[(&str, usize)]) -> Result<(), String> {
    match columns.iter().find(|(_, length)| *length != rows) {
        Some((column, length)) => {
            Err(format!("column {column} has {length} rows, column origin has {rows}"))
        }
        None => Ok(()),
    }
}

fn fault(row: u32, column: &str, reason: &str) -> String {
    format!("row {row}, column {column}: {reason}")
}

fn out_of_range(row: u32, count: usize) -> String {
    format!("row {row} is out of range (the batch has {count} rows)")
}

fn unknown(number: u32) -> String {
    format!("number {number:#x} is unknown")
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
