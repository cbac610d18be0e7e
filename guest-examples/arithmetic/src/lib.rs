//! `arithmetic`: samples computed from several meters of one resource.
//!
//! Behaves like Ceilometer's transformer of that name: `$(meter)` in `target.expr` stands for the
//! volume of the last sample of a meter, `$(meter).resource_metadata.x` for another of its fields.
//! At the end of a polling cycle, each resource with a sample of every meter yields one result, and
//! its samples are dropped. No input sample passes.

mod formula;

use std::cell::RefCell;
use std::collections::BTreeMap;

use conversion::buffer::{self, BufferedSample};
use formula::Formula;
use nephometer_guest::{
    Answer, AnswerBuilder, Batch, Description, Dictionary, Meter, MeterType, OptionError,
    OptionReader, Outcome, Refusal, Settings, Stateful, Timestamp, Transformer, Volume, log, rows,
    settings, type_from_word,
};

const STATE_VERSION: u32 = 2;

/// The last samples, by resource id, then by meter name.
type LastSamples<V = Volume> = BTreeMap<String, BTreeMap<String, BufferedSample<V>>>;

/// The configured transformer with its buffered samples.
#[derive(Debug)]
pub struct Arithmetic {
    formula: Formula,
    name: Option<String>,
    unit: Option<String>,
    kind: Option<MeterType>,
    last_samples: LastSamples,
}

impl Arithmetic {
    /// The result for one resource.
    fn result(&self, samples: &BTreeMap<String, BufferedSample>) -> Result<BufferedSample, String> {
        let volume = self.formula.evaluate(samples)?;
        let first = samples.get(self.formula.reference()).ok_or("a meter is missing")?;
        let time = samples.values().map(|sample| sample.time).max().unwrap_or(first.time);
        let meter = Meter {
            name: self.name.clone().unwrap_or_else(|| first.name.clone()),
            unit: self.unit.clone().unwrap_or_else(|| first.unit.clone()),
            type_: self.kind.unwrap_or(first.kind),
        };
        Ok(BufferedSample { volume: volume.into(), time, ..first.clone() }.with_meter(meter))
    }
}

impl Transformer for Arithmetic {
    fn describe() -> Description {
        Description {
            name: "arithmetic".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "samples computed from several meters".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: STATE_VERSION,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let errors = RefCell::default();
        let root = OptionReader::new(options, &errors);
        root.warn_of_unknown(&["target"]);
        let target = root.object("target");
        target.warn_of_unknown(&["name", "unit", "type", "expr"]);
        let formula = Formula::parse(target.text("expr").unwrap_or_default());
        let kind = target.text("type").and_then(|word| {
            let known = type_from_word(word);
            if known.is_none() {
                target.refuse("type", format!("'{word}' is not gauge, delta or cumulative"));
            }
            known
        });
        if let Err(reason) = &formula {
            target.refuse("expr", reason.clone());
        }
        let text = |key| target.text(key).map(str::to_owned);
        let (name, unit) = (text("name"), text("unit"));
        let Ok(formula) = formula else { return Err(errors.take()) };
        let errors = errors.take();
        if !errors.is_empty() {
            return Err(errors);
        }
        // The result has the metadata of the first meter.
        let settings = Settings { metadata: vec!["*".to_owned()], ..settings() };
        Ok((Self { formula, name, unit, kind, last_samples: LastSamples::new() }, settings))
    }

    fn transform(&mut self, input: &Batch<'_>) -> Result<Outcome, Refusal> {
        for row in rows(input) {
            if self.formula.meters().contains(&row.meter().name) {
                let samples = self.last_samples.entry(row.resource().id.clone()).or_default();
                samples.insert(row.meter().name.clone(), BufferedSample::from_row(&row));
            }
        }
        for id in &input.samples.removed {
            self.last_samples.remove(id);
        }
        Ok(Outcome::Keep(Vec::new()))
    }
}

impl Stateful for Arithmetic {
    fn flush(
        &mut self,
        dictionary: &Dictionary,
        _now: Timestamp,
    ) -> Result<Option<Answer>, Refusal> {
        let required = self.formula.meters().len();
        let mut answer = AnswerBuilder::without_input(dictionary);
        let (mut failed, mut first) = (0_usize, String::new());
        for (id, samples) in std::mem::take(&mut self.last_samples) {
            if samples.len() < required {
                self.last_samples.insert(id, samples);
                continue;
            }
            match self.result(&samples) {
                Ok(sample) => sample.add_to(&mut answer),
                Err(reason) => {
                    if failed == 0 {
                        first = format!("{id}: {reason}");
                    }
                    failed += 1;
                }
            }
        }
        match failed {
            0 => {}
            1 => log::warn(&format!("no result for {first}")),
            _ => log::warn(&format!("no result for {first}, and for {} more", failed - 1)),
        }
        Ok(answer.finish_flush())
    }

    fn save(&self) -> Result<Vec<u8>, String> {
        buffer::save(&self.last_samples)
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        self.last_samples = match version {
            1 => buffer::parse::<LastSamples<f64>>(state)?.into_iter().map(upgrade).collect(),
            STATE_VERSION => buffer::parse(state)?,
            _ => return Err(buffer::unknown_version(version, STATE_VERSION)),
        };
        Ok(())
    }
}

/// Converts the samples of one resource from version 1 of the state.
fn upgrade(
    (id, samples): (String, BTreeMap<String, BufferedSample<f64>>),
) -> (String, BTreeMap<String, BufferedSample>) {
    (id, samples.into_iter().map(|(meter, sample)| (meter, sample.into())).collect())
}

nephometer_guest::export_stateful_transformer!(Arithmetic);
