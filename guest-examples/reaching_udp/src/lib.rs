//! `reaching_udp`: sends one datagram, the id of the envelope, to the `HOST:PORT` of the option
//! `reach`, for tests of the host's grants.
//!
//! A datagram that was sent acknowledges the envelope. Every error is a permanent failure whose
//! reason contains it.

use std::cell::RefCell;
use std::time::Duration;

use nephometer_guest::{
    Delivery, Description, Failure, OptionError, Publisher, Settings, UrlOptions, settings,
};
use nephometer_guest_socket::{SocketError, UdpSender};

const TIMEOUT: Duration = Duration::from_secs(3);

/// The parsed address.
#[derive(Debug, PartialEq, Eq)]
pub struct ReachingUdp {
    host: String,
    port: u16,
}

impl Publisher for ReachingUdp {
    fn describe() -> Description {
        Description {
            name: "reaching_udp".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "sends a datagram".to_owned(),
            options_schema: r#"{"type": "object", "properties": {"reach": {"type": "string"}}}"#
                .to_owned(),
            state_version: 0,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let errors = RefCell::default();
        let read = UrlOptions::new(options, &errors);
        let publisher = read.text("reach").and_then(parse_address);
        if publisher.is_none() {
            read.refuse("reach", "expected HOST:PORT");
        }
        let errors = errors.take();
        let publisher = publisher.filter(|_| errors.is_empty());
        publisher.map(|publisher| (publisher, settings())).ok_or(errors)
    }

    fn publish(&mut self, delivery: Delivery) -> Result<(), Failure> {
        UdpSender::connect(&self.host, self.port, TIMEOUT)
            .and_then(|sender| sender.send(&[delivery.id.into_bytes()], TIMEOUT))
            .map_err(|error| match error {
                SocketError::Refused(reason) => Failure::Permanent(format!("refused: {reason}")),
                SocketError::Failed(reason) => Failure::Permanent(format!("failed: {reason}")),
            })
    }
}

fn parse_address(text: &str) -> Option<ReachingUdp> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok()?;
    (!host.is_empty()).then(|| ReachingUdp { host: host.to_owned(), port })
}

nephometer_guest_socket::export_socket_publisher!(ReachingUdp);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_parsed() {
        let of = |host: &str, port| Some(ReachingUdp { host: host.to_owned(), port });
        assert_eq!(parse_address("127.0.0.1:8125"), of("127.0.0.1", 8125));
        assert_eq!(parse_address("[::ffff:127.0.0.1]:8125"), of("::ffff:127.0.0.1", 8125));
        assert_eq!(
            (parse_address("h"), parse_address(":1"), parse_address("h:x")),
            (None, None, None)
        );
    }
}
