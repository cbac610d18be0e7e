//! `accumulator`: buffers samples until there are enough of them.
//!
//! Behaves like Ceilometer's transformer of that name: at the end of a polling cycle all samples
//! are emitted if there are at least `size`. With a `size` below 1 all samples pass, where
//! Ceilometer fails at every flush.

use std::cell::RefCell;

use conversion::buffer::{self, BufferedSample};
use nephometer_guest::{
    Answer, AnswerBuilder, Batch, Description, Dictionary, OptionError, OptionReader, Outcome,
    Refusal, Settings, Stateful, Timestamp, Transformer, rows, settings,
};

const STATE_VERSION: u32 = 2;

/// The configured transformer with its buffered samples.
#[derive(Debug)]
pub struct Accumulator {
    size: usize,
    samples: Vec<BufferedSample>,
}

impl Transformer for Accumulator {
    fn describe() -> Description {
        Description {
            name: "accumulator".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "buffers samples until there are enough".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: STATE_VERSION,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let errors = RefCell::default();
        let read = OptionReader::new(options, &errors);
        read.warn_of_unknown(&["size"]);
        // The schema ensures that it is whole and not too large.
        let size = buffer::sample_count(read.number("size").unwrap_or(1.0));
        let errors = errors.take();
        if !errors.is_empty() {
            return Err(errors);
        }
        // Buffered samples are emitted with their whole metadata.
        let settings = Settings { metadata: vec!["*".to_owned()], ..settings() };
        Ok((Self { size, samples: Vec::new() }, settings))
    }

    fn transform(&mut self, input: &Batch<'_>) -> Result<Outcome, Refusal> {
        if self.size == 0 {
            return Ok(Outcome::Unchanged);
        }
        self.samples.extend(rows(input).map(|row| BufferedSample::from_row(&row)));
        Ok(Outcome::Keep(Vec::new()))
    }
}

impl Stateful for Accumulator {
    fn flush(
        &mut self,
        dictionary: &Dictionary,
        _now: Timestamp,
    ) -> Result<Option<Answer>, Refusal> {
        if self.samples.is_empty() || self.samples.len() < self.size {
            return Ok(None);
        }
        let mut answer = AnswerBuilder::without_input(dictionary);
        for sample in self.samples.drain(..) {
            sample.add_to(&mut answer);
        }
        Ok(answer.finish_flush())
    }

    fn save(&self) -> Result<Vec<u8>, String> {
        buffer::save(&self.samples)
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        self.samples = match version {
            1 => {
                let old: Vec<BufferedSample<f64>> = buffer::parse(state)?;
                old.into_iter().map(BufferedSample::from).collect()
            }
            STATE_VERSION => buffer::parse(state)?,
            _ => return Err(buffer::unknown_version(version, STATE_VERSION)),
        };
        Ok(())
    }
}

nephometer_guest::export_stateful_transformer!(Accumulator);
