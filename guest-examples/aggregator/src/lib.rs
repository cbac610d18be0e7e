//! `aggregator`: sums, means and last values of many samples.
//!
//! Behaves like Ceilometer's transformer of that name. Samples of one meter and resource, and of
//! one project and user unless the options `project_id` and `user_id` are set, form a group. A
//! group becomes one sample: the last value of cumulative meters, the mean of gauges, the sum of
//! deltas. The groups are emitted at the end of a polling cycle once there are enough samples, or
//! the first one is old enough.

mod group;
mod options;

use std::cell::RefCell;

use conversion::buffer::{self, MAX_SAMPLES};
use conversion::{Conversion, Scale};
use group::{Group, Groups};
use nephometer_guest::{
    Answer, AnswerBuilder, Batch, Complaint, Description, Dictionary, OptionError, Outcome,
    Refusal, Row, Settings, Stateful, Timestamp, Transformer, log, rows, settings,
};
use options::Policies;

const STATE_VERSION: u32 = 2;

/// The configured transformer with its groups.
#[derive(Debug)]
pub struct Aggregator {
    conversion: Conversion,
    policies: Policies,
    groups: Groups,
}

impl Aggregator {
    /// A group of one row.
    fn group_of(&mut self, row: &Row<'_>) -> Result<Group, std::rc::Rc<str>> {
        let volume = match self.conversion.scale {
            Scale::None => row.value(),
            _ => self.conversion.scale.evaluate(row, row.volume)?.into(),
        };
        if !volume.as_f64().is_finite() {
            return Err("the result is not finite".into());
        }
        let meter = self.conversion.meter(row.meter());
        Ok(Group::new(row, meter, volume, &self.policies))
    }
}

impl Transformer for Aggregator {
    fn describe() -> Description {
        Description {
            name: "aggregator".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "sums, means and last values of many samples".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: STATE_VERSION,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let errors = RefCell::default();
        let conversion = Conversion::read_beside(options, &options::KEYS, &errors);
        let policies = Policies::read(options, &errors);
        let errors = errors.take();
        if !errors.is_empty() {
            return Err(errors);
        }
        // Groups are emitted with their whole metadata.
        let settings = Settings { metadata: vec!["*".to_owned()], ..settings() };
        Ok((Self { conversion, policies, groups: Groups::default() }, settings))
    }

    fn transform(&mut self, input: &Batch<'_>) -> Result<Outcome, Refusal> {
        let mut failed = Complaint::new(log::Level::Warn, "dropping samples whose scale fails");
        for row in rows(input) {
            match self.group_of(&row) {
                Ok(one) => {
                    let max = self.conversion.max;
                    self.groups.add(one, &self.policies, max);
                }
                Err(reason) => failed.add(&row, &reason),
            }
        }
        failed.write();
        Ok(Outcome::Keep(Vec::new()))
    }
}

impl Stateful for Aggregator {
    fn flush(
        &mut self,
        dictionary: &Dictionary,
        now: Timestamp,
    ) -> Result<Option<Answer>, Refusal> {
        let Groups { samples, begun, all, .. } = &self.groups;
        let size = self.policies.size.unwrap_or(MAX_SAMPLES).min(MAX_SAMPLES);
        let full = *samples >= size;
        let expired = self
            .policies
            .retention
            .is_some_and(|limit| now.checked_sub(*begun).is_some_and(|age| age > limit));
        if all.is_empty() || !(full || expired) {
            return Ok(None);
        }
        let mut answer = AnswerBuilder::without_input(dictionary);
        for group in std::mem::take(&mut self.groups).all {
            group.into_sample().add_to(&mut answer);
        }
        Ok(answer.finish_flush())
    }

    fn save(&self) -> Result<Vec<u8>, String> {
        buffer::save(&self.groups)
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        self.groups = match version {
            1 => buffer::parse::<Groups<f64>>(state)?.into(),
            STATE_VERSION => buffer::parse(state)?,
            _ => return Err(buffer::unknown_version(version, STATE_VERSION)),
        };
        Ok(())
    }
}

nephometer_guest::export_stateful_transformer!(Aggregator);
