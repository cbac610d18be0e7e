//! `usage`: what counters grew by in each billing window, to the last unit.
//!
//! Takes cumulative meters and emits, when a window closes, one sample `METER.usage` for each resource
//! that has any. Data that arrive later make samples `METER.usage.correction`, which name the window.
//! Sums over all windows, with corrections and what gaps excluded, equal the growth of the counter.

mod options;
mod segment;
mod series;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;

use conversion::buffer::{self, BufferedSample};
use nephometer_guest::{
    Answer, AnswerBuilder, Batch, Complaint, Description, Dictionary, MeterType, OptionError,
    Outcome, Refusal, Row, Settings, Stateful, Timestamp, Transformer, Volume, log, rows, settings,
};
use options::Policies;
use segment::Reading;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use series::{ClosedWindows, CounterSeries, Taken, WindowSum};
use window::Window;

const STATE_VERSION: u32 = 1;

/// The configured transformer with its counters.
#[derive(Debug)]
pub struct Usage {
    policies: Policies,
    counters: Counters,
}

/// The saved state: the order of fields must not change.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counters {
    /// By meter and resource.
    all: BTreeMap<(String, String), Counter>,
    /// Windows that end here or before are closed.
    closed: Timestamp,
}

/// A counter, with a sample to make others from.
#[derive(Debug, Serialize, Deserialize)]
struct Counter {
    latest: BufferedSample,
    series: CounterSeries,
}

impl Usage {
    fn add(&mut self, row: &Row<'_>, value: i64) -> Taken {
        let reading = Reading { time: row.time, value };
        let key = (row.meter().name.clone(), row.resource().id.clone());
        let closed = self.counters.closed;
        let counter = self.counters.all.entry(key).or_insert_with(|| Counter {
            latest: BufferedSample::from_row(row),
            series: CounterSeries::new(closed),
        });
        let taken = counter.series.add(reading, &self.policies);
        // Owner and metadata are those of the newest sample.
        if taken == Taken::Counted && row.time >= counter.latest.time {
            counter.latest = BufferedSample::from_row(row);
        }
        taken
    }

    /// The sample for a window.
    fn sample(
        &self,
        counter: &Counter,
        window: (Timestamp, WindowSum),
        is_late: bool,
    ) -> BufferedSample {
        let (start, sum) = window;
        let window = Window { start, end: sum.end };
        let suffix = if is_late { "usage.correction" } else { "usage" };
        let amount = sum.share.amount;
        let volume = i64::try_from(amount).map_or(Volume::Float(amount as f64), Volume::from);
        BufferedSample {
            name: format!("{}.{suffix}", counter.latest.name),
            kind: MeterType::Delta,
            // Within the window, for those who sum by time.
            time: sum.end - 1_000,
            volume,
            metadata: self.metadata(&counter.latest.metadata, window, &sum),
            ..counter.latest.clone()
        }
    }

    /// The metadata of the resource, and the window under the key `window`.
    fn metadata(&self, of: &str, window: Window, sum: &WindowSum) -> String {
        let Policies { calendar, zone, gaps, .. } = &self.policies;
        let share = &sum.share;
        let text =
            |time: Timestamp| if time == 0 { Value::Null } else { calendar.text(time).into() };
        let mut metadata: Value = serde_json::from_str(of).unwrap_or_else(|_| json!({}));
        metadata["window"] = json!({
            "kind": calendar.kind.as_str(),
            "timezone": zone,
            "start": text(window.start),
            "end": text(window.end),
            "samples": sum.samples,
            "first": text(sum.first),
            "last": text(sum.last),
            "resets": share.resets,
            "gap_seconds": share.gap as f64 / 1e9,
            "gaps": gaps.as_str(),
            "excluded": i64::try_from(share.excluded).unwrap_or(i64::MAX),
        });
        metadata.to_string()
    }
}

impl Transformer for Usage {
    fn describe() -> Description {
        Description {
            name: "usage".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "growth of counters per billing window".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: STATE_VERSION,
            facts: Vec::new(),
        }
    }

    fn configure(options: &Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let (policies, meters) = Policies::read(options)?;
        let settings = Settings { meters, metadata: vec!["*".to_owned()], ..settings() };
        Ok((Self { policies, counters: Counters::default() }, settings))
    }

    fn transform(&mut self, input: &Batch<'_>) -> Result<Outcome, Refusal> {
        let mut others =
            Complaint::new(log::Level::Warn, "dropping samples that are no whole counter");
        let mut late = Complaint::new(log::Level::Warn, "dropping samples that are too late");
        for row in rows(input) {
            let counts = row.meter().type_ == MeterType::Cumulative;
            match row.value().as_integer().filter(|_| counts) {
                None => others.add(&row, ""),
                Some(value) => {
                    if self.add(&row, value) == Taken::TooLate {
                        late.add(&row, "");
                    }
                }
            }
        }
        [others, late].into_iter().for_each(Complaint::write);
        for id in &input.samples.removed {
            let counters = self.counters.all.iter_mut().filter(|((_, one), _)| one == id);
            counters.for_each(|(_, counter)| counter.series.end());
        }
        Ok(Outcome::Keep(Vec::new()))
    }
}

impl Stateful for Usage {
    fn flush(
        &mut self,
        dictionary: &Dictionary,
        now: Timestamp,
    ) -> Result<Option<Answer>, Refusal> {
        let mut samples = Vec::new();
        let mut counters = std::mem::take(&mut self.counters.all);
        for counter in counters.values_mut() {
            let ClosedWindows { closed, corrections } = counter.series.close(now, &self.policies);
            samples.extend(corrections.into_iter().map(|one| self.sample(counter, one, true)));
            samples.extend(closed.into_iter().map(|one| self.sample(counter, one, false)));
        }
        counters.retain(|_, counter| !counter.series.is_over(now));
        self.counters.all = counters;
        self.counters.closed = self.counters.closed.max(now.saturating_sub(self.policies.grace));
        let mut answer = AnswerBuilder::without_input(dictionary);
        samples.into_iter().for_each(|sample| sample.add_to(&mut answer));
        Ok(answer.finish_flush())
    }

    fn save(&self) -> Result<Vec<u8>, String> {
        buffer::save(&self.counters)
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        if version != STATE_VERSION {
            return Err(buffer::unknown_version(version, STATE_VERSION));
        }
        self.counters = buffer::parse(state)?;
        Ok(())
    }
}

nephometer_guest::export_stateful_transformer!(Usage);
