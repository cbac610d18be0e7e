//! `{{name}}`: multiplies every volume by the option `factor`. It counts rows and emits the count
//! at the end of each polling cycle. The count is the state, which survives reloads.

use std::cell::RefCell;

use nephometer_guest::{
    Answer, AnswerBuilder, Batch, Description, Dictionary, Meter, MeterType, OptionError,
    OptionReader, Outcome, Refusal, Resource, Settings, Stateful, Timestamp, Transformer,
    export_stateful_transformer, rows, settings,
};
use serde_json::{Value, json};

/// The configured transformer with its state.
pub struct Scaler {
    factor: f64,
    rows: u64,
}

impl Transformer for Scaler {
    fn describe() -> Description {
        Description {
            name: "{{name}}".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "scales volumes".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: 1,
            facts: Vec::new(),
        }
    }

    fn configure(options: &Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let errors = RefCell::default();
        let read = OptionReader::new(options, &errors);
        let factor = read.number("factor").unwrap_or(1.0);
        if factor == 0.0 {
            read.refuse("factor", "is 0, which would make all volumes 0");
        }
        let errors = errors.take();
        // All meters; `settings().meters` may name some.
        if errors.is_empty() { Ok((Self { factor, rows: 0 }, settings())) } else { Err(errors) }
    }

    fn transform(&mut self, input: &Batch<'_>) -> Result<Outcome, Refusal> {
        let mut answer = AnswerBuilder::new(input);
        for row in rows(input) {
            answer.derive(&row, row.meter_number, row.volume * self.factor);
            self.rows += 1;
        }
        Ok(answer.finish())
    }
}

impl Stateful for Scaler {
    fn flush(
        &mut self,
        dictionary: &Dictionary,
        now: Timestamp,
    ) -> Result<Option<Answer>, Refusal> {
        let mut answer = AnswerBuilder::without_input(dictionary);
        let meter = answer.meter(&Meter {
            name: "{{name}}.rows".to_owned(),
            unit: "row".to_owned(),
            type_: MeterType::Cumulative,
        });
        let resource = answer.resource(&Resource {
            id: "{{name}}".to_owned(),
            source: "openstack".to_owned(),
            project_id: None,
            user_id: None,
            metadata: "{}".to_owned(),
        });
        answer.create(meter, resource, now, self.rows as f64);
        Ok(answer.finish_flush())
    }

    fn save(&self) -> Result<Vec<u8>, String> {
        Ok(json!({"rows": self.rows}).to_string().into_bytes())
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        let state: Value = serde_json::from_slice(state).map_err(|error| error.to_string())?;
        match (version, state["rows"].as_u64()) {
            (1, Some(rows)) => self.rows = rows,
            (1, None) => return Err("the state has no rows".to_owned()),
            _ => return Err(format!("state of version {version}; this component reads 1")),
        }
        Ok(())
    }
}

export_stateful_transformer!(Scaler);

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_guest::Volume;
    use nephometer_guest::testing::Input;

    #[test]
    fn volumes_are_scaled_and_rows_are_counted() {
        let mut scaler = Scaler { factor: 2.0, rows: 0 };
        let mut input = Input::default();
        input.row("cpu", "instance-1", 1_700_000_000_000_000_000, 1.5);
        let outcome = scaler.transform(&input.batch()).expect("no refusal");
        assert_eq!(input.samples(outcome)[0].volume, Volume::Float(3.0));
        let answer = scaler.flush(input.dictionary(), 1_700_000_000_000_000_000);
        assert_eq!(input.flushed(answer.expect("no refusal"))[0].volume, Volume::Float(1.0));
    }

    #[test]
    fn a_factor_of_zero_is_refused() {
        let refused = Scaler::configure(&json!({"factor": 0}));
        assert!(refused.is_err_and(|errors| errors[0].pointer == "/factor"));
    }

    #[test]
    fn the_count_survives() {
        let (one, mut other) = (Scaler { factor: 1.0, rows: 3 }, Scaler { factor: 1.0, rows: 0 });
        other.restore(1, &one.save().expect("a state")).expect("its own state");
        assert_eq!(other.rows, 3);
        assert!(other.restore(2, b"{}").is_err());
    }
}
