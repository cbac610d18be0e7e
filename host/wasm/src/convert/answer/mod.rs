//! Checks a component's answer as a whole and converts it into samples.
//!
//! Reads the numbers that answers refer to from the [`Session`]. Must not call the guest.

use std::sync::Arc;

use uuid::Uuid;

use super::session::{SelectedRows, Session};
use super::size;
use crate::bindings::exports::nephometer::metering::transform::{Answer, Derived, Outcome};
use crate::bindings::nephometer::metering::types::ExactInteger;
use nephometer_model::{Batch, Bound, Meter, Moment, Resource, Sample, Timestamp, Volume};

/// A row without an origin.
const NO_ORIGIN: u32 = u32::MAX;

/// 1980-01-01: an earlier time comes from a clock that was never set.
const EARLIEST: Timestamp = Timestamp::from_nanos(315_532_800_000_000_000);
/// How far the time of a row may be ahead of its input, nanoseconds.
const DAY: u64 = 86_400_000_000_000;

/// The samples that replace a batch.
#[derive(Debug)]
pub enum Transformed {
    /// All samples of the batch, as they are.
    Unchanged,
    /// These samples. New ones have the nil id.
    Samples(Vec<Sample>),
}

impl Transformed {
    /// The samples that replace those of `batch`, the input of this result.
    pub fn into_samples(self, batch: &Batch) -> Vec<Sample> {
        match self {
            Self::Unchanged => batch.samples.clone(),
            Self::Samples(samples) => samples,
        }
    }
}

impl Session {
    /// Converts the outcome for a batch. Samples that bypassed the component keep their position:
    /// if origins ascend, each comes before the first row with a later origin; otherwise they come
    /// first.
    ///
    /// # Errors
    /// Names the row, the column and what is wrong.
    pub(crate) fn transformed(
        &mut self,
        outcome: Outcome,
        input: &SelectedRows<'_>,
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

    /// Converts the samples that a component flushed at the end of a polling cycle.
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

    fn derived(
        &mut self,
        derived: Derived,
        input: &SelectedRows<'_>,
    ) -> Result<Vec<Sample>, String> {
        let Derived { meters, origin: origins, meter: numbers, volume: volumes, exact } = derived;
        check_lengths(origins.len(), &[("meter", numbers.len()), ("volume", volumes.len())])?;
        check_row_count(origins.len(), input.count)?;
        self.own.add(meters, Vec::new())?;
        let mut exact = ExactValues::new(exact);
        let mut bypassed = BypassedSamples::new(input);
        let mut samples = Vec::with_capacity(origins.len() + input.samples.len() - input.count);
        let mut known: Option<(u32, &Arc<Meter>, usize)> = None;
        let mut added = AddedBytes::default();
        let (mut last, mut copied) = (NO_ORIGIN, NO_ORIGIN);
        for (row, ((&origin, &number), &volume)) in
            (0u32..).zip(origins.iter().zip(&numbers).zip(&volumes))
        {
            let error = |column, reason: String| column_error(row, column, &reason);
            if origin as usize >= input.count {
                return Err(error("origin", out_of_range(origin, input.count)));
            }
            if last != NO_ORIGIN && origin < last {
                return Err(error("origin", format!("{origin} after {last}: not ascending")));
            }
            let (meter, bytes) = match known {
                Some((known, meter, bytes)) if known == number => (meter, bytes),
                _ => {
                    let (meter, bytes) =
                        self.meter(number).ok_or_else(|| error("meter", unknown(number)))?;
                    known = Some((number, meter, bytes));
                    (meter, bytes)
                }
            };
            check_volume(row, volume)?;
            let index = input.sample_index(origin);
            let from = &input.samples[index as usize];
            added.replace_meter(bytes, &from.meter);
            if origin == last {
                added.add_repeated_row(&from.resource)?;
            }
            last = origin;
            bypassed.append_before(index, &mut samples);
            let value = exact.take(row, volume)?;
            // Only once per origin: a second row that equals it is a copy with an id of its own.
            let is_origin = copied != origin
                && has_value_of(value, volume, from)
                && (number == self.columns.meter[origin as usize] || **meter == *from.meter);
            if is_origin {
                copied = origin;
                samples.push(from.clone());
                continue;
            }
            samples.push(Sample {
                id: Uuid::nil(),
                meter: Arc::clone(meter),
                resource: Arc::clone(&from.resource),
                volume: value.unwrap_or_else(|| derived_volume(volume, from.volume)),
                taken: Moment { monotonic: None, ..from.taken },
            });
        }
        added.check()?;
        exact.finish()?;
        bypassed.append_rest(&mut samples);
        Ok(samples)
    }

    fn rows(
        &mut self,
        answer: Answer,
        input: Option<&SelectedRows<'_>>,
        newest: Timestamp,
    ) -> Result<Vec<AnswerRow>, String> {
        let Answer { meters, resources, origin, meter, resource, time, volume, exact } = answer;
        let columns = [
            ("meter", meter.len()),
            ("resource", resource.len()),
            ("time", time.len()),
            ("volume", volume.len()),
        ];
        check_lengths(origin.len(), &columns)?;
        let input_rows = input.map_or(0, |input| input.count);
        check_row_count(origin.len(), input_rows)?;
        self.own.add(meters, resources)?;
        self.check_added_bytes(&meter, &resource, input)?;
        let latest = Timestamp::from_nanos(newest.as_nanos().saturating_add(DAY));
        let mut exact = ExactValues::new(exact);
        let mut copied = vec![false; input_rows];
        let mut rows = Vec::with_capacity(origin.len());
        for (row, &origin) in (0u32..).zip(&origin) {
            let index = row as usize;
            let (meter_number, resource_number) = (meter[index], resource[index]);
            let (volume, time) = (volume[index], Timestamp::from_nanos(time[index]));
            let (meter, _) = self
                .meter(meter_number)
                .ok_or_else(|| column_error(row, "meter", &unknown(meter_number)))?;
            let resource = self
                .resource(resource_number)
                .ok_or_else(|| column_error(row, "resource", &unknown(resource_number)))?;
            check_volume(row, volume)?;
            if time < EARLIEST || time > latest {
                let reason = format!("{} is before 1980 or after {}", time.iso(), latest.iso());
                return Err(column_error(row, "time", &reason));
            }
            let value = exact.take(row, volume)?;
            let new = NewSample { meter, resource, time, volume, value };
            let Some(input) = input.filter(|_| origin != NO_ORIGIN) else {
                if origin != NO_ORIGIN {
                    return Err(column_error(row, "origin", &out_of_range(origin, input_rows)));
                }
                rows.push(AnswerRow { origin: None, sample: new.into_sample(None) });
                continue;
            };
            let at = origin as usize;
            if at >= input_rows {
                return Err(column_error(row, "origin", &out_of_range(origin, input_rows)));
            }
            let sample_index = input.sample_index(origin);
            let from = &input.samples[sample_index as usize];
            let is_origin = has_value_of(value, volume, from)
                && from.taken.wall == time
                && (meter_number == self.columns.meter[at] || **meter == *from.meter)
                && (resource_number == self.columns.resource[at] || **resource == *from.resource);
            // Only once per origin: a second row that equals it is a copy with an id of its own.
            let sample = if is_origin && !std::mem::replace(&mut copied[at], true) {
                from.clone()
            } else {
                new.into_sample(Some(from))
            };
            rows.push(AnswerRow { origin: Some(sample_index), sample });
        }
        exact.finish()?;
        Ok(rows)
    }

    /// Refuses an answer whose messages would be much larger than those of its input. A small
    /// answer can refer to one large resource in many rows, and every message repeats it.
    fn check_added_bytes(
        &self,
        meters: &[u32],
        resources: &[u32],
        input: Option<&SelectedRows<'_>>,
    ) -> Result<(), String> {
        let mut added = AddedBytes::default();
        let (input_meters, input_resources) = input.map_or((&[][..], &[][..]), |_| {
            (self.columns.meter.as_slice(), self.columns.resource.as_slice())
        });
        added.add_rows(meters.len(), input_meters.len());
        added
            .add_entries(meters, input_meters, |number| self.meter(number).map(|(_, bytes)| bytes));
        added.add_entries(resources, input_resources, |number| {
            self.resource(number).map(|resource| size::resource_bytes(resource))
        });
        added.check()
    }
}

/// Bytes of messages beyond those of the input.
#[derive(Default)]
struct AddedBytes {
    added: usize,
    removed: usize,
}

impl AddedBytes {
    /// Counts `rows` rows in place of `input_rows`.
    fn add_rows(&mut self, rows: usize, input_rows: usize) {
        self.added += rows.saturating_sub(input_rows).saturating_mul(size::ROW_BYTES);
    }

    /// Counts a row with a meter of `bytes` in place of one with the meter `replaced`.
    #[inline]
    fn replace_meter(&mut self, bytes: usize, replaced: &Meter) {
        self.added += bytes;
        self.removed += size::meter_bytes(replaced);
    }

    /// Counts one more row of the same resource.
    #[cold]
    fn add_repeated_row(&mut self, resource: &Resource) -> Result<(), String> {
        self.added = self.added.saturating_add(size::ROW_BYTES + size::resource_bytes(resource));
        // Checked per row, so that an attack ends before all samples have been created.
        self.check()
    }

    /// Counts the entries that `rows` refer to in place of those of `input_rows`.
    fn add_entries(
        &mut self,
        rows: &[u32],
        input_rows: &[u32],
        bytes: impl Fn(u32) -> Option<usize>,
    ) {
        for (count, number) in size::added_references(rows, input_rows) {
            // A number without an entry is refused with its row.
            let bytes = bytes(number).unwrap_or(0);
            self.added = self.added.saturating_add(count.saturating_mul(bytes));
        }
    }

    fn check(&self) -> Result<(), String> {
        let bytes = self.added.saturating_sub(self.removed);
        Bound::AnswerBytes.check(bytes).map_err(|exceeded| exceeded.to_string())
    }
}

/// The exact values of an answer, by ascending row.
struct ExactValues {
    values: std::iter::Peekable<std::vec::IntoIter<ExactInteger>>,
}

impl ExactValues {
    fn new(values: Vec<ExactInteger>) -> Self {
        Self { values: values.into_iter().peekable() }
    }

    /// The exact value of a row, if it has one. Must be called in the order of the rows.
    #[inline]
    fn take(&mut self, row: u32, volume: f64) -> Result<Option<Volume>, String> {
        match self.values.peek() {
            Some(next) if next.row == row => {
                let value = next.value;
                self.values.next();
                let whole = Volume::Integer(i128::from(value));
                if whole.as_f64() == volume {
                    return Ok(Some(whole));
                }
                let reason = format!("{value} does not match the volume {volume} of the row");
                Err(column_error(row, "exact", &reason))
            }
            _ => Ok(None),
        }
    }

    /// Checks that every value has found its row.
    fn finish(mut self) -> Result<(), String> {
        self.values.next().map_or(Ok(()), |left| {
            Err(column_error(left.row, "exact", "row does not exist, or rows are not ascending"))
        })
    }
}

/// A row of an answer.
struct AnswerRow {
    /// Index of its origin among all samples of the batch, bypassed ones included.
    origin: Option<u32>,
    sample: Sample,
}

/// Samples that bypassed the component, merged by ascending origin.
struct BypassedSamples<'a> {
    input: &'a SelectedRows<'a>,
    /// Index of the next sample.
    next: u32,
    /// Index of the next selected row.
    row: usize,
}

impl<'a> BypassedSamples<'a> {
    fn new(input: &'a SelectedRows<'a>) -> Self {
        Self { input, next: 0, row: 0 }
    }

    /// Appends the bypassed samples before the sample at `index`.
    #[inline]
    fn append_before(&mut self, index: u32, samples: &mut Vec<Sample>) {
        if let Some(rows) = &self.input.rows {
            while self.next < index {
                if rows.get(self.row) == Some(&self.next) {
                    self.row += 1;
                } else {
                    samples.push(self.input.samples[self.next as usize].clone());
                }
                self.next += 1;
            }
        }
    }

    fn append_rest(&mut self, samples: &mut Vec<Sample>) {
        let end = u32::try_from(self.input.samples.len()).expect("the batch was checked");
        self.append_before(end, samples);
    }
}

fn keep(rows: &[u32], input: &SelectedRows<'_>) -> Result<Vec<Sample>, String> {
    let mut bypassed = BypassedSamples::new(input);
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
        let index = input.sample_index(*row);
        bypassed.append_before(index, &mut kept);
        kept.push(input.samples[index as usize].clone());
    }
    bypassed.append_rest(&mut kept);
    Ok(kept)
}

fn merge(rows: Vec<AnswerRow>, input: &SelectedRows<'_>) -> Vec<Sample> {
    if input.rows.is_none() {
        return rows.into_iter().map(|row| row.sample).collect();
    }
    let ascending = rows.iter().filter_map(|row| row.origin).is_sorted();
    let mut bypassed = BypassedSamples::new(input);
    let mut merged = Vec::with_capacity(input.samples.len() - input.count + rows.len());
    if !ascending {
        bypassed.append_rest(&mut merged);
    }
    for row in rows {
        if let Some(origin) = row.origin {
            bypassed.append_before(origin, &mut merged);
        }
        merged.push(row.sample);
    }
    bypassed.append_rest(&mut merged);
    merged
}

/// The values of a row that becomes a new sample.
struct NewSample<'a> {
    meter: &'a Arc<Meter>,
    resource: &'a Arc<Resource>,
    time: Timestamp,
    volume: f64,
    value: Option<Volume>,
}

impl NewSample<'_> {
    fn into_sample(self, origin: Option<&Sample>) -> Sample {
        let Self { meter, resource, time, volume, value } = self;
        // A row with the time of its origin keeps the monotonic clock for the next component of the
        // chain. Messages of computed samples have none.
        let continuous = origin
            .filter(|origin| origin.taken.wall == time)
            .and_then(|origin| origin.taken.continuous);
        let volume = value.unwrap_or_else(|| {
            origin.map_or(Volume::Float(volume), |origin| derived_volume(volume, origin.volume))
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
fn has_value_of(value: Option<Volume>, volume: f64, origin: &Sample) -> bool {
    value.map_or_else(|| origin.volume.as_f64() == volume, |value| value == origin.volume)
}

/// The value of a row without an exact one: that of its origin if they are equal as `f64`.
#[inline]
fn derived_volume(volume: f64, origin: Volume) -> Volume {
    if origin.as_f64() == volume {
        return origin;
    }
    match super::whole(volume).filter(|_| origin.is_integer()) {
        Some(whole) => Volume::Integer(i128::from(whole)),
        None => Volume::Float(volume),
    }
}

fn check_row_count(rows: usize, input_rows: usize) -> Result<(), String> {
    let added = rows.saturating_sub(input_rows);
    Bound::AnswerRows.check(added).map_err(|exceeded| exceeded.to_string())
}

fn check_volume(row: u32, volume: f64) -> Result<(), String> {
    if volume.is_finite() {
        return Ok(());
    }
    Err(column_error(row, "volume", &format!("{volume} is not finite")))
}

fn check_lengths(rows: usize, columns: &[(&str, usize)]) -> Result<(), String> {
    match columns.iter().find(|(_, length)| *length != rows) {
        Some((column, length)) => {
            Err(format!("column {column} has {length} rows, column origin has {rows}"))
        }
        None => Ok(()),
    }
}

fn column_error(row: u32, column: &str, reason: &str) -> String {
    format!("row {row}, column {column}: {reason}")
}

fn out_of_range(row: u32, count: usize) -> String {
    format!("row {row} is out of range (the batch has {count} rows)")
}

fn unknown(number: u32) -> String {
    format!("number {number:#x} is unknown")
}

#[cfg(test)]
mod tests;
