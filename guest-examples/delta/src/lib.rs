//! `delta`: the growth of a counter since the previous sample.
//!
//! Behaves like Ceilometer's transformer of that name: the first sample of a meter and resource
//! yields no delta, one that is older than the last is dropped, two at the same time yield a delta.
//! Samples are ordered by timestamp, never by monotonic time.

use std::cell::RefCell;

use conversion::Conversion;
use conversion::series::{self, Reading, Series};
use nephometer_guest::{
    AnswerBuilder, Batch, Complaint, Description, Meter, MeterType, OptionError, OptionReader,
    Outcome, Refusal, Settings, Stateful, Transformer, log, rows, settings,
};

/// The configured transformer with the last readings.
#[derive(Debug)]
pub struct Delta {
    conversion: Conversion,
    growth_only: bool,
    series: Series,
}

impl Transformer for Delta {
    fn describe() -> Description {
        Description {
            name: "delta".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "growth of a counter between samples".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: series::VERSION,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let errors = RefCell::default();
        let conversion = Conversion::read_beside(options, &["growth_only"], &errors);
        let growth_only = OptionReader::new(options, &errors).value("growth_only");
        let growth_only = growth_only.and_then(serde_json::Value::as_bool).unwrap_or(false);
        let errors = errors.take();
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok((Self { conversion, growth_only, series: Series::default() }, settings()))
    }

    fn transform(&mut self, input: &Batch<'_>) -> Result<Outcome, Refusal> {
        let mut first = Complaint::new(log::Level::Debug, "dropping samples with no predecessor");
        let mut late = Complaint::new(log::Level::Warn, "dropping out of time order samples");
        let mut fallen = Complaint::new(log::Level::Debug, "dropping samples below the previous");
        let mut answer = AnswerBuilder::new(input);
        for row in rows(input) {
            let reading = Reading::from_row(&row);
            let key = self.series.key(&row);
            let Some(previous) = self.series.replace(key, reading) else {
                first.add(&row, "");
                continue;
            };
            if reading.is_before(&previous) {
                self.series.replace(key, previous);
                late.add(&row, "");
                continue;
            }
            let growth = row.value().minus(previous.volume);
            if self.growth_only && growth.as_f64() < 0.0 {
                fallen.add(&row, "");
                continue;
            }
            let Meter { name, .. } = self.conversion.meter(row.meter());
            let meter = Meter { name, unit: row.meter().unit.clone(), type_: MeterType::Delta };
            let meter = answer.meter(&meter);
            answer.derive(&row, meter, growth);
        }
        [first, late, fallen].into_iter().for_each(Complaint::write);
        self.series.forget(&input.samples.removed);
        Ok(answer.finish())
    }
}

impl Stateful for Delta {
    fn save(&self) -> Result<Vec<u8>, String> {
        self.series.save()
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        self.series = Series::restore(version, state)?;
        Ok(())
    }
}

nephometer_guest::export_stateful_transformer!(Delta);
