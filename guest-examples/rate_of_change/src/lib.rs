//! `rate_of_change`: the growth of a counter per second, scaled.
//!
//! Behaves like Ceilometer's transformer of that name. The first sample of a meter and resource
//! yields no rate; a counter that falls was reset to 0; a sample older than the last one is
//! dropped; two at the same time yield a rate of 0. Intervals are measured with monotonic times if
//! both samples have one, otherwise with timestamps.

use std::rc::Rc;

use conversion::series::{self, Reading, Series};
use conversion::{Conversion, Scale};
use nephometer_guest::{
    AnswerBuilder, Batch, Complaint, Description, MeterType, OptionError, Outcome, Refusal, Row,
    Settings, Stateful, Transformer, log, rows, settings,
};

/// The configured transformer with the last readings.
#[derive(Debug)]
pub struct RateOfChange {
    conversion: Conversion,
    series: Series,
}

impl RateOfChange {
    #[inline]
    fn rate(&mut self, row: &Row<'_>, previous: &Reading, seconds: f64) -> Result<f64, Rc<str>> {
        let growth = row.value().minus(previous.volume).as_f64();
        let was_reset = growth < 0.0 && row.meter().type_ == MeterType::Cumulative;
        let growth = if was_reset { row.volume } else { growth };
        let rate = if seconds == 0.0 { 0.0 } else { growth / seconds };
        let scaled = self.conversion.scale.evaluate(row, 1.0)? * rate;
        let volume = self.conversion.capped(scaled);
        if volume.is_finite() { Ok(volume) } else { Err("the result is not finite".into()) }
    }
}

impl Transformer for RateOfChange {
    fn describe() -> Description {
        Description {
            name: "rate_of_change".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "growth of a counter per second".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: series::VERSION,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let conversion = Conversion::read(options)?;
        if let Scale::Factor(factor) = conversion.scale {
            log::warn(&format!(
                "target.scale is a number: as in Ceilometer, each rate is also multiplied by the \
                 volume of its sample; write scale: \"{factor}\" as a string to scale the rate only"
            ));
        }
        let settings = Settings { metadata: conversion.scale.metadata(), ..settings() };
        Ok((Self { conversion, series: Series::default() }, settings))
    }

    fn transform(&mut self, input: &Batch<'_>) -> Result<Outcome, Refusal> {
        let mut first = Complaint::new(log::Level::Debug, "dropping samples with no predecessor");
        let mut late = Complaint::new(log::Level::Warn, "dropping out of time order samples");
        let mut failed = Complaint::new(log::Level::Warn, "dropping samples whose rate fails");
        let mut answer = AnswerBuilder::new(input);
        let mut meters = vec![None; input.dictionary.meters()];
        for row in rows(input) {
            let reading = Reading::from_row(&row);
            let key = self.series.key(&row);
            let Some(previous) = self.series.replace(key, reading) else {
                first.add(&row, "");
                continue;
            };
            let Some(seconds) = reading.seconds_since(&previous) else {
                self.series.replace(key, previous);
                late.add(&row, "");
                continue;
            };
            match self.rate(&row, &previous, seconds) {
                Ok(volume) => {
                    let meter = *meters[row.meter_number as usize]
                        .get_or_insert_with(|| answer.meter(&self.conversion.meter(row.meter())));
                    answer.derive(&row, meter, volume);
                }
                Err(reason) => failed.add(&row, &reason),
            }
        }
        [first, late, failed].into_iter().for_each(Complaint::write);
        self.series.forget(&input.samples.removed);
        Ok(answer.finish())
    }
}

impl Stateful for RateOfChange {
    fn save(&self) -> Result<Vec<u8>, String> {
        self.series.save()
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        self.series = Series::restore(version, state)?;
        Ok(())
    }
}

nephometer_guest::export_stateful_transformer!(RateOfChange);

#[cfg(test)]
mod tests;
