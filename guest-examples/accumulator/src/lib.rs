//! `accumulator`: holds samples back until there are enough of them.
//!
//! Behaves as Ceilometer's transformer of that name: at the end of a tick all samples are given out
//! if there are at least `size`. Below 1 it lets everything pass, where upstream fails at every
//! flush.

use std::cell::RefCell;

use conversion::held::{self, Held};
use nephometer_guest::{
    Answer, AnswerBuilder, Batch, Description, Dictionary, OptionError, OptionReader, Outcome,
    Refusal, Settings, Stateful, Timestamp, Transformer, rows, settings,
};

const STATE_VERSION: u32 = 2;

/// The configured transformer with what it holds.
#[derive(Debug)]
pub struct Accumulator {
    size: usize,
    held: Vec<Held>,
}

impl Transformer for Accumulator {
    fn describe() -> Description {
        Description {
            name: "accumulator".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "holds samples back until there are enough".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: STATE_VERSION,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let errors = RefCell::default();
        let read = OptionReader::new(options, &errors);
        read.warn_of_unknown(&["size"]);
        // The schema has seen that it is whole, and not too large.
        let size = read.number("size").unwrap_or(1.0).max(0.0);
        let size = held::whole(size);
        let errors = errors.take();
        if !errors.is_empty() {
            return Err(errors);
        }
        // What is given out later has to be as it came.
        let settings = Settings { metadata: vec!["*".to_owned()], ..settings() };
        Ok((Self { size, held: Vec::new() }, settings))
    }

    fn transform(&mut self, input: &Batch<'_>) -> Result<Outcome, Refusal> {
        if self.size == 0 {
            return Ok(Outcome::Unchanged);
        }
        self.held.extend(rows(input).map(|row| Held::of(&row)));
        Ok(Outcome::Keep(Vec::new()))
    }
}

impl Stateful for Accumulator {
    fn flush(
        &mut self,
        dictionary: &Dictionary,
        _now: Timestamp,
    ) -> Result<Option<Answer>, Refusal> {
        if self.held.is_empty() || self.held.len() < self.size {
            return Ok(None);
        }
        let mut answer = AnswerBuilder::without_input(dictionary);
        for sample in self.held.drain(..) {
            sample.give_out(&mut answer);
        }
        Ok(answer.finish_flush())
    }

    fn save(&self) -> Result<Vec<u8>, String> {
        held::save(&self.held)
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        self.held = match version {
            1 => held::parse::<Vec<Held<f64>>>(state)?.into_iter().map(Held::from).collect(),
            STATE_VERSION => held::parse(state)?,
            _ => return Err(held::unknown(version, STATE_VERSION)),
        };
        Ok(())
    }
}

nephometer_guest::export_stateful_transformer!(Accumulator);
