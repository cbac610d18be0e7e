//! `statsd`: publishes samples to a StatsD daemon over UDP.
//!
//! `statsd://HOST[:PORT]?options` sends the samples of an envelope in as few datagrams as they fit
//! in. UDP confirms nothing: an envelope is settled when the network has taken it. See the README
//! beside this file.

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

/// The longest that looking up the name, or sending an envelope, may take. The two fit well into
/// the time that a call has unless configured otherwise.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A socket is made anew after this time, so that a name that moved is followed.
const OLDEST: Duration = Duration::from_secs(60);

/// The configured publisher.
#[derive(Debug)]
pub struct Statsd {
    options: Options,
    series: Series,
    sender: Option<UdpSender>,
}

impl Statsd {
    fn send(&mut self, datagrams: &[Vec<u8>]) -> Result<(), SocketError> {
        let young = self.sender.take().filter(|sender| sender.age() < OLDEST);
        let sender = match young {
            Some(sender) => sender,
            None => UdpSender::connect(&self.options.host, self.options.port, TIMEOUT)?,
        };
        sender.send(datagrams, TIMEOUT)?;
        // Only a socket that works is kept.
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
        let (entries, seen) = samples::entries(&self.options, &self.series, &delivery.input);
        let (datagrams, too_long) = pack::packed(&entries);
        if too_long > 0 {
            log::warn(&format!("{too_long} samples have names too long for a datagram"));
        }
        self.send(&datagrams).map_err(|error| match error {
            SocketError::Failed(reason) => later(reason, None),
            SocketError::Refused(reason) => Failure::Broken(reason),
        })?;
        // Only now: an attempt that failed comes again with the same samples.
        self.series.note(seen, &delivery.input.removed);
        Ok(())
    }
}

nephometer_guest_socket::export_socket_publisher!(Statsd);
