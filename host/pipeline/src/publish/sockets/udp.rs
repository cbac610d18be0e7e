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

/// The largest message that a datagram can carry: over IPv4, which the receiver may be reached by.
pub(in crate::publish) const LARGEST: usize = 65_507;
/// Envelopes at a time.
const WINDOW: usize = 16;
/// What is left between two envelopes. Nobody says when a receiver's buffer is full, so that some
/// 10,000 datagrams a second must do: what a collector in Python keeps up with. An answer that the
/// port is closed has come by then, too.
const PACE: Duration = Duration::from_millis(5);

/// Sends every message as a datagram. Nobody confirms it: what the network took is settled.
pub(crate) struct UdpPublisher {
    target: SocketSpec,
    socket: Option<UdpSocket>,
    /// How often an address was no good: each time the next one has its turn.
    turn: usize,
}

impl UdpPublisher {
    /// A publisher for this receiver. No name is looked up yet.
    pub(crate) fn new(target: &SocketSpec) -> Self {
        Self { target: target.clone(), socket: None, turn: 0 }
    }

    async fn send(&mut self, envelope: &Envelope) -> io::Result<DeliveryResult> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect(&self.target, self.turn).await?,
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
        sleep(PACE).await;
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        self.socket = Some(socket);
        Ok(match too_large {
            0 => DeliveryResult::Acknowledged,
            _ => DeliveryResult::Rejected(format!(
                "{too_large} of {} messages do not fit into a datagram, which holds {LARGEST} bytes",
                sent + too_large
            )),
        })
    }
}

#[async_trait]
impl Publisher for UdpPublisher {
    async fn publish(&mut self, envelopes: &[Envelope]) -> Vec<DeliveryResult> {
        let mut outcomes = Vec::with_capacity(envelopes.len());
        for envelope in envelopes {
            match self.send(envelope).await {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => {
                    self.turn = self.turn.wrapping_add(1);
                    let reason = format!("cannot send to {}: {error}", self.target);
                    outcomes.resize(envelopes.len(), DeliveryResult::pending(reason));
                    break;
                }
            }
        }
        outcomes
    }

    fn window(&self) -> usize {
        WINDOW
    }
}

/// A socket for the first address, from the `turn`th on, that there is a way to.
async fn connect(target: &SocketSpec, turn: usize) -> io::Result<UdpSocket> {
    let mut addresses = resolve(target).await?;
    let first = turn % addresses.len();
    addresses.rotate_left(first);
    let mut failed = None;
    for address in addresses {
        match connect_to(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => _ = failed.get_or_insert(error),
        }
    }
    Err(failed.expect("there is an address"))
}

async fn connect_to(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Only a socket that is connected hears that a port is closed.
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
    async fn what_does_not_fit_holds_up_nothing() {
        let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut publisher = publisher("127.0.0.1", receiver.local_addr().unwrap().port());
        let largest = vec![1; LARGEST];
        let too_large = vec![2; LARGEST + 1];
        let envelopes =
            [envelope(&[b"a", &largest]), envelope(&[b"b", &too_large, b"c"]), envelope(&[b"d"])];
        let outcomes = publisher.publish(&envelopes).await;
        assert_eq!(
            (&outcomes[0], &outcomes[2]),
            (&DeliveryResult::Acknowledged, &DeliveryResult::Acknowledged)
        );
        let DeliveryResult::Rejected(reason) = &outcomes[1] else { panic!("{outcomes:?}") };
        assert!(reason.starts_with("1 of 3 messages do not fit"), "{reason}");
        let mut buffer = vec![0; LARGEST + 1];
        for expected in [b"a", largest.as_slice(), b"b", b"c", b"d"] {
            let length = receiver.recv(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], expected);
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_said_and_the_next_address_has_its_turn() {
        // A port that is free for both families until the second half of the test.
        let free = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut publisher = publisher("localhost", free.port());
        let one = [envelope(&[b"a"])];
        let [DeliveryResult::Pending { reason, .. }] = &publisher.publish(&one).await[..] else {
            panic!()
        };
        assert!(reason.starts_with("cannot send to localhost:"), "{reason}");
        let receiver = UdpSocket::bind(free).await.unwrap();
        // Whether the name has one address or two.
        let mut outcomes = Vec::new();
        for _ in 0..2 {
            outcomes.extend(publisher.publish(&one).await);
        }
        assert!(outcomes.contains(&DeliveryResult::Acknowledged), "{outcomes:?}");
        assert_eq!(receiver.recv(&mut [0; 8]).await.unwrap(), 1);
    }
}
