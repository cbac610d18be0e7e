//! `statsd`: publishes samples to a StatsD daemon over UDP.
//!
//! `statsd://HOST[:PORT]?options` sends the samples of an envelope in as few datagrams as possible.
//! UDP confirms nothing: an envelope is acknowledged once its datagrams are sent. The README
//! describes the options.

mod name;
mod options;
mod pack;
mod samples;

use std::time::Duration;

use nephometer_guest::{
    Delivery, Description, Failure, OptionError, Publisher, Settings, later, log, settings,
};
use nephometer_guest_socket::{SocketError, UdpSender};

pub use options::{Cumulative, Options};
pub use samples::Series;

/// The time limit of resolving the name, and of sending an envelope. Together they are well below
/// the default of the host's `limits.wall`.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The socket is replaced after this time, to follow DNS changes.
const MAX_SOCKET_AGE: Duration = Duration::from_secs(60);

/// The configured publisher.
#[derive(Debug)]
pub struct Statsd {
    options: Options,
    series: Series,
    sender: Option<UdpSender>,
}

impl Statsd {
    fn send(&mut self, datagrams: &[Vec<u8>]) -> Result<(), SocketError> {
        let reusable = self.sender.take().filter(|sender| sender.age() < MAX_SOCKET_AGE);
        let sender = match reusable {
            Some(sender) => sender,
            None => UdpSender::connect(&self.options.host, self.options.port, TIMEOUT)?,
        };
        sender.send(datagrams, TIMEOUT)?;
        // Keep the socket only if it works.
        self.sender = Some(sender);
        Ok(())
    }
}

impl Publisher for Statsd {
    fn describe() -> Description {
        Description {
            name: "statsd".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "publishes samples to a StatsD daemon over UDP".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: 0,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let options = Options::read(options)?;
        Ok((Self { options, series: Series::default(), sender: None }, settings()))
    }

    fn publish(&mut self, delivery: Delivery) -> Result<(), Failure> {
        let (entries, readings) = samples::entries(&self.options, &self.series, &delivery.input);
        let (datagrams, too_long) = pack::packed(&entries);
        if too_long > 0 {
            log::warn(&format!("dropping {too_long} samples whose names exceed a datagram"));
        }
        self.send(&datagrams).map_err(|error| match error {
            SocketError::Failed(reason) => later(reason, None),
            SocketError::Refused(reason) => Failure::Broken(reason),
        })?;
        // After success only: a failed attempt is repeated with the same samples.
        self.series.commit(readings, &delivery.input.removed);
        Ok(())
    }
}

nephometer_guest_socket::export_socket_publisher!(Statsd);
