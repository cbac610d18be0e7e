//! `prometheus_remote_write`: publishes samples with the remote write protocol of Prometheus, version
//! 1 (`X-Prometheus-Remote-Write-Version: 0.1.0`), which most time series databases accept.
//!
//! `prometheus_remote_write://HOST[:PORT]/api/v1/write?options` writes the samples of each envelope.
//! The README describes the options and the handling of responses.

mod options;
mod progress;
mod request;
mod series;
mod stale;

use nephometer_guest::{
    Delivery, Description, Failure, OptionError, Publisher, Settings, log, settings,
};
use nephometer_guest_http::outcome;
use posting::{CallTime, Post, Receiver};

pub use options::Options;
pub use progress::{Progress, Sent};
pub use request::{body, headers};
pub use series::{Family, Series, Written};
pub use stale::KnownSeries;

/// The configured publisher.
#[derive(Debug)]
pub struct RemoteWrite {
    receiver: Receiver,
    options: Options,
    progress: Progress,
    known: KnownSeries,
}

impl Publisher for RemoteWrite {
    fn describe() -> Description {
        Description {
            name: "prometheus_remote_write".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "publishes samples with the remote write protocol of Prometheus".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: 0,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let (read, receiver) = (Options::read(options), Receiver::read(options, &Options::KEYS));
        let (options, receiver) = match (read, receiver) {
            (Ok(options), Ok(receiver)) => (options, receiver),
            (options, receiver) => {
                let mut errors = options.err().unwrap_or_default();
                errors.extend(receiver.err().unwrap_or_default());
                return Err(errors);
            }
        };
        let metadata = options.labels.iter().map(|(_, path)| path.clone()).collect();
        let (progress, known) = (Progress::default(), KnownSeries::default());
        let publisher = Self { receiver, options, progress, known };
        Ok((publisher, Settings { metadata, ..settings() }))
    }

    fn publish(&mut self, delivery: Delivery) -> Result<(), Failure> {
        let mut written = Written::of(&delivery.input, &self.options);
        if self.options.stale_markers {
            self.known.mark_stale(&mut written, &delivery.input.removed);
        }
        let (receiver, time) = (&self.receiver, CallTime::start(self.receiver.timeout));
        let send = |series: &[Series]| {
            let post = Post::new(body(series, &written.families));
            let answer = receiver.send(&post, headers());
            // One sample that is out of order, or a request that is too large, costs all others of
            // its request, so these are halved. Every other refusal holds for each of them.
            let may_be_halved =
                answer.as_ref().is_ok_and(|response| matches!(response.status, 400 | 413));
            match outcome(&receiver.authority, answer) {
                Ok(_) => Ok(Sent::Accepted),
                Err(Failure::Permanent(reason)) => Ok(Sent::Refused { reason, may_be_halved }),
                Err(failure) => Err(failure),
            }
        };
        let result = self.progress.resume(&delivery.id, &written.series, send, || time.is_enough());
        if !matches!(result, Ok(()) | Err(Failure::Permanent(_))) {
            return result;
        }
        if self.options.stale_markers && !self.known.remember(&written, &delivery.input.removed) {
            log::warn("too many series; those of removed resources end without a stale marker");
        }
        result
    }
}

nephometer_guest_http::export_http_publisher!(RemoteWrite);
