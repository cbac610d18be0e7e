//! `influx`: publishes samples to InfluxDB as line protocol over HTTP.
//!
//! `influx://HOST[:PORT]/DATABASE?options` writes each envelope with one `POST /write`. The README
//! describes the options and the handling of responses.

mod line;
mod options;

use nephometer_guest::{
    Delivery, Description, Failure, OptionError, Publisher, Settings, log, settings,
};
use nephometer_guest_http::{Request, outcome, send};

pub use line::Lines;
pub use options::Options;

/// Response bodies are cut after this many bytes: enough for an error message.
const READ_AT_MOST: usize = 2048;

/// The configured publisher. It keeps nothing between envelopes.
#[derive(Debug)]
pub struct Influx {
    options: Options,
}

impl Publisher for Influx {
    fn describe() -> Description {
        Description {
            name: "influx".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "publishes samples to InfluxDB as line protocol over HTTP".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: 0,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let options = Options::read(options)?;
        let metadata = options.lines.tags.iter().map(|(_, path)| path.clone()).collect();
        Ok((Self { options }, Settings { metadata, ..settings() }))
    }

    fn publish(&mut self, delivery: Delivery) -> Result<(), Failure> {
        let (body, dropped) = self.options.lines.write(&delivery.input);
        if dropped > 0 {
            log::warn(&format!("dropping {dropped} samples whose value is not finite"));
        }
        if body.is_empty() {
            return Ok(());
        }
        let authorization = self.options.authorization.as_deref();
        let headers: Vec<(&str, &str)> = [("content-type", "text/plain; charset=utf-8")]
            .into_iter()
            .chain(authorization.map(|value| ("authorization", value)))
            .collect();
        let response = send(&Request {
            method: "POST",
            tls: self.options.tls,
            authority: &self.options.authority,
            path_with_query: &self.options.path_with_query,
            headers: &headers,
            body: body.as_bytes(),
            timeout: self.options.timeout,
            read_at_most: READ_AT_MOST,
        });
        outcome("InfluxDB", response).map(drop)
    }
}

nephometer_guest_http::export_http_publisher!(Influx);
