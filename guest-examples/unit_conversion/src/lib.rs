//! `unit_conversion`: renames and scales samples.
//!
//! Behaves like Ceilometer's transformer of that name. Samples in another unit than `source.unit`
//! pass unchanged; all others are scaled, cut to the maximum and renamed. A sample whose scale
//! cannot be computed is dropped and logged.

use std::rc::Rc;

use conversion::Conversion;
use nephometer_guest::{
    AnswerBuilder, Batch, Complaint, Description, OptionError, Outcome, Refusal, Row, Settings,
    Transformer, log, rows, settings,
};

/// The configured transformer. It keeps nothing between batches except caches.
#[derive(Debug)]
pub struct UnitConversion {
    conversion: Conversion,
}

impl UnitConversion {
    fn has_source_unit(&self, row: &Row<'_>) -> bool {
        self.conversion.source_unit.as_ref().is_none_or(|unit| *unit == row.meter().unit)
    }

    fn convert(&mut self, row: &Row<'_>) -> Result<f64, Rc<str>> {
        let scaled = self.conversion.scale.evaluate(row, row.volume)?;
        let volume = self.conversion.capped(scaled);
        if volume.is_finite() { Ok(volume) } else { Err("the result is not finite".into()) }
    }
}

impl Transformer for UnitConversion {
    fn describe() -> Description {
        Description {
            name: "unit_conversion".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "renames and scales samples".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: 0,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let conversion = Conversion::read(options)?;
        let settings = Settings { metadata: conversion.scale.metadata(), ..settings() };
        Ok((Self { conversion }, settings))
    }

    fn transform(&mut self, input: &Batch<'_>) -> Result<Outcome, Refusal> {
        if !rows(input).any(|row| self.has_source_unit(&row)) {
            return Ok(Outcome::Unchanged);
        }
        let mut failed = Complaint::new(log::Level::Warn, "dropping samples whose scale fails");
        let mut answer = AnswerBuilder::new(input);
        let mut meters = vec![None; input.dictionary.meters()];
        for row in rows(input) {
            if !self.has_source_unit(&row) {
                answer.pass(&row);
                continue;
            }
            match self.convert(&row) {
                Ok(volume) => {
                    let meter = *meters[row.meter_number as usize]
                        .get_or_insert_with(|| answer.meter(&self.conversion.meter(row.meter())));
                    answer.derive(&row, meter, volume);
                }
                Err(reason) => failed.add(&row, &reason),
            }
        }
        failed.write();
        Ok(answer.finish())
    }
}

nephometer_guest::export_transformer!(UnitConversion);
