//! `tariff`: the cost of processor time, by project and hour of the day.
//!
//! Every `cpu` sample of type delta becomes a gauge `cost`, priced by its project and the UTC hour
//! of its time. A sample of a project without prices is dropped and logged; the host counts it as
//! absorbed. All other samples pass. Each flush emits a `cost.total` per project, the sum of all
//! its costs. The state is JSON, in the same format as in the other languages.

mod prices;
mod total;

use std::cell::RefCell;
use std::collections::BTreeMap;

use nephometer_guest::{
    Answer, AnswerBuilder, Batch, Complaint, Description, Dictionary, Meter, MeterType,
    OptionError, OptionReader, Outcome, Refusal, Resource, Row, Settings, Stateful, Timestamp,
    Transformer, export_stateful_transformer, log, rows, settings,
};

use prices::Prices;
use total::{Saved, Total};

const STATE_VERSION: u32 = 1;
/// Nanoseconds.
const HOUR: u64 = 3_600_000_000_000;

/// The configured transformer with its totals by project.
#[derive(Debug)]
pub struct Tariff {
    currency: String,
    prices: BTreeMap<String, Prices>,
    totals: BTreeMap<String, Total>,
}

impl Tariff {
    /// The project and the cost of a row, or the reason why it has no cost.
    fn cost(&self, row: &Row<'_>) -> Result<(String, f64), String> {
        let project = row.resource().project_id.as_deref().unwrap_or_default();
        let Some(prices) = self.prices.get(project) else {
            return Err(match project {
                "" => "no project".to_owned(),
                project => format!("project \"{project}\" has no prices"),
            });
        };
        let cost = row.volume / HOUR as f64 * prices.at(row.time / HOUR % 24);
        // A cost that is not finite would invalidate the whole answer, and totals never decrease.
        if cost.is_finite() && cost >= 0.0 {
            Ok((project.to_owned(), cost))
        } else {
            Err(format!("volume is {}", row.volume))
        }
    }
}

impl Transformer for Tariff {
    fn describe() -> Description {
        Description {
            name: "tariff".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "cost of processor time".to_owned(),
            options_schema: include_str!("../../tariff/options.schema.json").to_owned(),
            state_version: STATE_VERSION,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let errors = RefCell::default();
        let read = OptionReader::new(options, &errors);
        let currency = read.text("currency").unwrap_or_default().to_owned();
        let prices = prices::read(&read.object("prices"));
        let errors = errors.take();
        if !errors.is_empty() {
            return Err(errors);
        }
        let settings = Settings { meters: vec!["cpu".to_owned()], ..settings() };
        Ok((Self { currency, prices, totals: BTreeMap::new() }, settings))
    }

    fn transform(&mut self, input: &Batch<'_>) -> Result<Outcome, Refusal> {
        let is_priced =
            |row: &Row<'_>| row.meter().name == "cpu" && row.meter().type_ == MeterType::Delta;
        if !rows(input).any(|row| is_priced(&row)) {
            return Ok(Outcome::Unchanged);
        }
        let mut dropped = Complaint::new(log::Level::Warn, "dropping samples without a cost");
        let mut answer = AnswerBuilder::new(input);
        let unit = self.currency.clone();
        let cost_meter =
            answer.meter(&Meter { name: "cost".to_owned(), unit, type_: MeterType::Gauge });
        for row in rows(input) {
            if !is_priced(&row) {
                answer.pass(&row);
                continue;
            }
            match self.cost(&row) {
                Ok((project, cost)) => {
                    let source = &row.resource().source;
                    self.totals.entry(project).or_insert_with(|| Total::new(source)).add(cost);
                    answer.derive(&row, cost_meter, cost);
                }
                Err(reason) => dropped.add(&row, &reason),
            }
        }
        dropped.write();
        Ok(answer.finish())
    }
}

impl Stateful for Tariff {
    fn flush(
        &mut self,
        dictionary: &Dictionary,
        now: Timestamp,
    ) -> Result<Option<Answer>, Refusal> {
        if self.totals.is_empty() {
            return Ok(None);
        }
        let mut answer = AnswerBuilder::without_input(dictionary);
        let (name, unit) = ("cost.total".to_owned(), self.currency.clone());
        let meter = answer.meter(&Meter { name, unit, type_: MeterType::Cumulative });
        for (project, total) in &self.totals {
            let resource = answer.resource(&Resource {
                id: project.clone(),
                source: total.source.clone(),
                project_id: Some(project.clone()),
                user_id: None,
                metadata: "{}".to_owned(),
            });
            answer.create(meter, resource, now, total.value());
        }
        Ok(answer.finish_flush())
    }

    fn save(&self) -> Result<Vec<u8>, String> {
        Saved::new(&self.currency, &self.totals).to_json()
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        if version != STATE_VERSION {
            return Err(format!(
                "state of version {version}; this component reads {STATE_VERSION}"
            ));
        }
        let saved = Saved::from_json(state)?;
        if saved.currency != self.currency {
            let (saved, configured) = (saved.currency, &self.currency);
            return Err(format!("the totals are in {saved}, the options specify {configured}"));
        }
        self.totals = saved.totals();
        Ok(())
    }
}

export_stateful_transformer!(Tariff);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tariff() -> Tariff {
        let options =
            json!({"currency": "EUR", "prices": {"p": [{"from": 0, "to": 24, "price": 2}]}});
        Tariff::configure(&options).expect("good options").0
    }

    #[test]
    fn damaged_states_and_other_currencies_are_refused() {
        let mut tariff = tariff();
        assert!(tariff.restore(2, b"{}").is_err_and(|reason| reason.contains("version 2")));
        assert!(tariff.restore(1, b"{}").is_err_and(|reason| reason.contains("damaged")));
        let francs = br#"{"currency": "CHF", "totals": []}"#;
        assert!(tariff.restore(1, francs).is_err_and(|reason| reason.contains("CHF")));
        let good = br#"{"currency": "EUR", "totals": [["p", "openstack", 3, 0.5]]}"#;
        assert_eq!(tariff.restore(1, good), Ok(()));
        assert_eq!(tariff.totals["p"].value(), 3.5);
        let saved: serde_json::Value =
            serde_json::from_slice(&tariff.save().expect("a state")).expect("JSON");
        assert_eq!(saved["totals"][0], json!(["p", "openstack", 3.0, 0.5]));
    }
}
