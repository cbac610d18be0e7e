//! `usage`: what counters grew by in each billing window, to the last unit.
//!
//! Takes cumulative meters and emits, when a window closes, one sample `METER.usage` for each resource
//! that has any. Data that arrive later make samples `METER.usage.correction`, which name the window.
//! Sums over all windows, with corrections and what gaps excluded, equal the growth of the counter.

mod counters;
mod options;
mod segment;
mod series;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transformer_tests;
mod window;

use conversion::buffer::{self, BufferedSample};
use counters::{CountedWindow, Counters};
use nephometer_guest::{
    Answer, AnswerBuilder, Batch, Complaint, Description, Dictionary, MeterType, OptionError,
    Outcome, Refusal, Settings, Stateful, Timestamp, Transformer, Volume, log, rows, settings,
};
use options::Policies;
use serde_json::{Map, Value, json};
use series::{ClosedWindow, Taken};

const STATE_VERSION: u32 = 1;

/// Samples and bytes of them in the answer to one flush, about: the rest of many windows that close
/// together follows with the next polling cycles.
const FLUSHED_SAMPLES: usize = 5_000;
const FLUSHED_BYTES: usize = 4 << 20;

/// The configured transformer with its counters.
#[derive(Debug)]
pub struct Usage {
    policies: Policies,
    counters: Counters,
    /// Whether it was reported that samples may be late for a shorter time only.
    is_shortened: bool,
}

/// The sample for a window.
fn sample(counted: &CountedWindow<'_>, policies: &Policies) -> BufferedSample {
    let CountedWindow { id, latest, meter, unit, window } = counted;
    let suffix = if window.correction == 0 { "usage" } else { "usage.correction" };
    let amount = window.sum.share.amount;
    BufferedSample {
        name: format!("{meter}.{suffix}"),
        unit: (*unit).to_owned(),
        kind: MeterType::Delta,
        id: (*id).to_owned(),
        source: latest.source.clone(),
        project_id: latest.project_id.clone(),
        user_id: latest.user_id.clone(),
        metadata: metadata(&latest.metadata, window, policies),
        // Within the window, for those who sum by time; another one for each correction, because the
        // id of a sample depends on it.
        time: window.sum.end - 1_000 * (1 + Timestamp::from(window.correction)),
        volume: i64::try_from(amount).map_or(Volume::Float(amount as f64), Volume::from),
    }
}

/// The metadata of the resource, and the window under the key `window`.
fn metadata(of: &str, window: &ClosedWindow, policies: &Policies) -> String {
    let Policies { calendar, zone, gaps, .. } = policies;
    let ClosedWindow { start, sum, correction } = window;
    let share = &sum.share;
    let text = |time: Timestamp| if time == 0 { Value::Null } else { calendar.text(time).into() };
    let excluded = share.excluded.clamp(i64::MIN.into(), i64::MAX.into());
    let mut metadata: Map<String, Value> = serde_json::from_str(of).unwrap_or_default();
    let window = json!({
        "kind": calendar.kind.as_str(),
        "timezone": zone,
        "start": text(*start),
        "end": text(sum.end),
        "correction": correction,
        "samples": sum.samples,
        "first": text(sum.first),
        "last": text(sum.last),
        "begun": share.begun,
        "ended": share.ended,
        "resets": share.resets,
        "gap_seconds": share.gap as f64 / 1e9,
        "gaps": gaps.as_str(),
        "excluded": i64::try_from(excluded).unwrap_or_default(),
    });
    metadata.insert("window".to_owned(), window);
    Value::Object(metadata).to_string()
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
        let counters = Counters::new(&policies);
        Ok((Self { policies, counters, is_shortened: false }, settings))
    }

    fn transform(&mut self, input: &Batch<'_>) -> Result<Outcome, Refusal> {
        let complaint = |what| Complaint::new(log::Level::Warn, what);
        let mut others = complaint("dropping samples that are not of a whole counter");
        let mut late = complaint("dropping samples that are too late");
        let mut excess = complaint("dropping samples beyond 50,000 counters");
        for row in rows(input) {
            let is_counter = row.meter().type_ == MeterType::Cumulative;
            let Some(value) = row.value().as_integer().filter(|_| is_counter) else {
                others.add(&row, "");
                continue;
            };
            match self.counters.add(&row, value, &self.policies) {
                Some(Taken::Counted | Taken::Repeated) => {}
                Some(Taken::TooLate) => late.add(&row, ""),
                None => excess.add(&row, ""),
            }
        }
        [others, late, excess].into_iter().for_each(Complaint::write);
        for id in &input.samples.removed {
            self.counters.end(id, &self.policies);
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
        let Self { policies, counters, is_shortened } = self;
        let mut answer = AnswerBuilder::without_input(dictionary);
        let (mut count, mut bytes) = (0, 0);
        let shortened = counters.close(now, policies, |window| {
            let sample = sample(&window, policies);
            count += 1;
            bytes += sample.metadata.len();
            sample.add_to(&mut answer);
            count < FLUSHED_SAMPLES && bytes < FLUSHED_BYTES
        });
        if shortened && !*is_shortened {
            let text = "samples may be late for a shorter time than `late`: too many are kept";
            log::write(log::Level::Warn, text);
        }
        *is_shortened = shortened;
        Ok(answer.finish_flush())
    }

    fn save(&self) -> Result<Vec<u8>, String> {
        buffer::save(&self.counters)
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        if version != STATE_VERSION {
            return Err(buffer::unknown_version(version, STATE_VERSION));
        }
        self.counters.replace(buffer::parse(state)?)
    }
}

nephometer_guest::export_stateful_transformer!(Usage);
