//! `udp://`: one datagram per message.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use rustix::io::Errno;
use tokio::net::UdpSocket;
use tokio::time::sleep;

use super::resolve;
use crate::publish::{Envelope, Publisher};
use nephometer_config::SocketSpec;
use nephometer_model::DeliveryResult;
use nephometer_wire::frames;

/// The largest message that a datagram can carry, in bytes, over IPv4.
pub(in crate::publish) const MAX_DATAGRAM_BYTES: usize = 65_507;
/// Envelopes at a time.
const WINDOW: usize = 16;
/// Delay between two envelopes. A full buffer of the receiver is not reported, so that the rate is
/// limited to about 10,000 datagrams a second, which a collector in Python keeps up with. The delay
/// also lets an ICMP reply arrive if the port is closed.
const ENVELOPE_DELAY: Duration = Duration::from_millis(5);

/// Sends every message as a datagram. An envelope counts as acknowledged once its datagrams are
/// sent.
pub(crate) struct UdpPublisher {
    target: SocketSpec,
    socket: Option<UdpSocket>,
    /// Number of failures. Each one moves on to the next address.
    failures: usize,
}

impl UdpPublisher {
    /// A publisher for this receiver. No name is looked up yet.
    pub(crate) fn new(target: &SocketSpec) -> Self {
        Self { target: target.clone(), socket: None, failures: 0 }
    }

    async fn send(&mut self, envelope: &Envelope) -> io::Result<DeliveryResult> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect(&self.target, self.failures).await?,
        };
        let (mut sent, mut too_large) = (0, 0);
        for message in frames::messages(&envelope.body) {
            match socket.send(message).await {
                Ok(_) => sent += 1,
                Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
                    too_large += 1;
                }
                Err(error) => return Err(error),
            }
        }
        sleep(ENVELOPE_DELAY).await;
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        self.socket = Some(socket);
        Ok(match too_large {
            0 => DeliveryResult::Acknowledged,
            _ => DeliveryResult::Rejected(format!(
                "{too_large} of {} messages do not fit into a datagram, which holds {MAX_DATAGRAM_BYTES} bytes",
                sent + too_large
            )),
        })
    }
}

#[async_trait]
impl Publisher for UdpPublisher {
    async fn publish(&mut self, envelopes: &[Envelope]) -> Vec<DeliveryResult> {
        let mut results = Vec::with_capacity(envelopes.len());
        for envelope in envelopes {
            match self.send(envelope).await {
                Ok(result) => results.push(result),
                Err(error) => {
                    self.failures = self.failures.wrapping_add(1);
                    let reason = format!("cannot send to {}: {error}", self.target);
                    results.resize(envelopes.len(), DeliveryResult::pending(reason));
                    break;
                }
            }
        }
        results
    }

    fn window(&self) -> usize {
        WINDOW
    }
}

/// Connects a socket to the first reachable address, starting with number `failures`.
async fn connect(target: &SocketSpec, failures: usize) -> io::Result<UdpSocket> {
    let mut addresses = resolve(target).await?;
    let first = failures % addresses.len();
    addresses.rotate_left(first);
    let mut first_error = None;
    for address in addresses {
        match connect_to(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => _ = first_error.get_or_insert(error),
        }
    }
    Err(first_error.expect("there is an address"))
}

async fn connect_to(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Only a connected socket reports that a port is closed.
    socket.connect(address).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;

    fn envelope(messages: &[&[u8]]) -> Envelope {
        let mut body = Vec::new();
        for message in messages {
            frames::append(&mut body, |out| out.extend_from_slice(message));
        }
        Envelope {
            id: Uuid::from_u128(1),
            address: Arc::from(""),
            body: body.into(),
            samples: messages.len() as u64,
            ..Envelope::default()
        }
    }

    fn publisher(host: &str, port: u16) -> UdpPublisher {
        UdpPublisher::new(&SocketSpec { host: host.into(), port })
    }

    #[tokio::test]
    async fn a_message_that_is_too_large_does_not_stop_the_others() {
        let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut publisher = publisher("127.0.0.1", receiver.local_addr().unwrap().port());
        let largest = vec![1; MAX_DATAGRAM_BYTES];
        let too_large = vec![2; MAX_DATAGRAM_BYTES + 1];
        let envelopes =
            [envelope(&[b"a", &largest]), envelope(&[b"b", &too_large, b"c"]), envelope(&[b"d"])];
        let results = publisher.publish(&envelopes).await;
        assert_eq!(
            (&results[0], &results[2]),
            (&DeliveryResult::Acknowledged, &DeliveryResult::Acknowledged)
        );
        let DeliveryResult::Rejected(reason) = &results[1] else { panic!("{results:?}") };
        assert!(reason.starts_with("1 of 3 messages do not fit"), "{reason}");
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES + 1];
        for expected in [b"a", largest.as_slice(), b"b", b"c", b"d"] {
            let length = receiver.recv(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], expected);
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_reported_and_the_next_address_is_tried() {
        // A port that is free for both families until the second half of the test.
        let free = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut publisher = publisher("localhost", free.port());
        let one = [envelope(&[b"a"])];
        let [DeliveryResult::Pending { reason, .. }] = &publisher.publish(&one).await[..] else {
            panic!()
        };
        assert!(reason.starts_with("cannot send to localhost:"), "{reason}");
        let receiver = UdpSocket::bind(free).await.unwrap();
        // The name may have one address or two.
        let mut results = Vec::new();
        for _ in 0..2 {
            results.extend(publisher.publish(&one).await);
        }
        assert!(results.contains(&DeliveryResult::Acknowledged), "{results:?}");
        assert_eq!(receiver.recv(&mut [0; 8]).await.unwrap(), 1);
    }
}
