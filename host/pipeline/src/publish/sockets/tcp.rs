//! `tcp://`: messages in a stream.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{TIMEOUT, resolve, timed_out};
use crate::publish::{Envelope, Publisher};
use nephometer_config::SocketSpec;
use nephometer_model::DeliveryResult;

/// Envelopes written before the connection is checked.
const WINDOW: usize = 32;
/// How long after a write the receiver's system may still reset the connection.
const RESET_WINDOW: Duration = Duration::from_millis(100);
/// Interval of keepalive probes on an idle connection.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Writes messages into a stream, each preceded by its length.
///
/// The receiver never replies. An envelope counts as acknowledged if it was written completely and
/// the connection is not reset a moment later: the system of a terminated receiver resets it at
/// once. Otherwise all envelopes are written again into the next connection.
pub(crate) struct TcpPublisher {
    target: SocketSpec,
    stream: Option<TcpStream>,
}

impl TcpPublisher {
    /// A publisher for this receiver. Nothing is connected yet.
    pub(crate) fn new(target: &SocketSpec) -> Self {
        Self { target: target.clone(), stream: None }
    }

    async fn send(&mut self, envelopes: &[Envelope]) -> io::Result<()> {
        // It is put back after complete messages only: nothing may follow a truncated one.
        let mut stream = match self.stream.take() {
            Some(stream) if is_open(&stream) => stream,
            _ => connect(&self.target).await?,
        };
        for envelope in envelopes {
            write(&mut stream, &envelope.body).await?;
        }
        if wait_for_reset(&mut stream).await? {
            self.stream = Some(stream);
        }
        Ok(())
    }
}

#[async_trait]
impl Publisher for TcpPublisher {
    async fn publish(&mut self, envelopes: &[Envelope]) -> Vec<DeliveryResult> {
        let result = match self.send(envelopes).await {
            Ok(()) => DeliveryResult::Acknowledged,
            // It is unknown how much was read.
            Err(error) => {
                DeliveryResult::pending(format!("cannot write to {}: {error}", self.target))
            }
        };
        vec![result; envelopes.len()]
    }

    fn window(&self) -> usize {
        WINDOW
    }
}

async fn connect(target: &SocketSpec) -> io::Result<TcpStream> {
    let mut first_error = None;
    for address in resolve(target).await? {
        let connecting = timeout(TIMEOUT, TcpStream::connect(address)).await;
        match connecting.unwrap_or_else(|_| Err(timed_out("not connected"))) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let socket = SockRef::from(&stream);
                // A host that crashed is noticed in seconds; by default the system waits for hours.
                let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
                socket.set_tcp_keepalive(&keepalive)?;
                socket.set_tcp_user_timeout(Some(TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => _ = first_error.get_or_insert(error),
        }
    }
    Err(first_error.expect("there is an address"))
}

/// Writes all bytes.
///
/// # Errors
/// If nothing could be written for [`TIMEOUT`].
async fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let writing = timeout(TIMEOUT, stream.write(rest)).await;
        match writing.map_err(|_| timed_out("the receiver does not read"))?? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => rest = &rest[written..],
        }
    }
    Ok(())
}

/// Whether an idle connection is still open. Otherwise the first bytes after the receiver has
/// closed it would be lost without an error.
fn is_open(stream: &TcpStream) -> bool {
    let mut ignored = [0; 512];
    loop {
        match stream.try_read(&mut ignored) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// Waits whether the receiver's system resets the connection. Returns `false` if the receiver has
/// closed its end in order: then it has read everything, or only reads.
///
/// # Errors
/// If the connection was reset.
async fn wait_for_reset(stream: &mut TcpStream) -> io::Result<bool> {
    let end = Instant::now() + RESET_WINDOW;
    let closed = timeout_at(end, closed(stream)).await;
    // Closing with unread bytes resets the connection, too.
    sleep_until(end).await;
    match (stream.take_error()?, closed) {
        (Some(error), _) | (None, Ok(Err(error))) => Err(error),
        (None, Ok(Ok(()))) => Ok(false),
        (None, Err(_)) => Ok(true),
    }
}

/// Reads and ignores everything, to the end.
async fn closed(stream: &mut TcpStream) -> io::Result<()> {
    let mut ignored = [0; 512];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::TcpListener;
    use uuid::Uuid;

    use super::*;

    fn envelope(id: u8, length: usize) -> Envelope {
        Envelope {
            id: Uuid::from_u128(id.into()),
            address: Arc::from(""),
            body: vec![id; length].into(),
            samples: 1,
            ..Envelope::default()
        }
    }

    async fn pair() -> (TcpListener, TcpPublisher) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let publisher = TcpPublisher::new(&SocketSpec { host: "127.0.0.1".into(), port });
        (listener, publisher)
    }

    async fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    /// More than the systems buffer at both ends: it is written in many parts.
    #[tokio::test]
    async fn a_slow_receiver_gets_every_byte() {
        const LENGTH: usize = 32 << 20;
        let (listener, mut publisher) = pair().await;
        let reading = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            read(&mut stream, LENGTH + 3).await
        });
        let envelopes = [envelope(1, LENGTH), envelope(2, 3)];
        assert_eq!(
            publisher.publish(&envelopes).await,
            [const { DeliveryResult::Acknowledged }; 2]
        );
        let bytes = reading.await.unwrap();
        assert!(bytes[..LENGTH].iter().all(|byte| *byte == 1));
        assert_eq!(bytes[LENGTH..], [2; 3]);
    }

    #[tokio::test]
    async fn envelopes_that_are_not_read_are_written_again_from_the_beginning() {
        let (listener, mut publisher) = pair().await;
        let envelopes = [envelope(1, 10), envelope(2, 10)];
        let receiving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // It reads half of the bytes and closes.
            read(&mut stream, 15).await
        };
        let (results, _) = tokio::join!(publisher.publish(&envelopes), receiving);
        let [DeliveryResult::Pending { reason, .. }, DeliveryResult::Pending { .. }] = &results[..]
        else {
            panic!("{results:?}")
        };
        assert!(reason.starts_with("cannot write to 127.0.0.1:"), "{reason}");
        let receiving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            (read(&mut stream, 20).await, stream)
        };
        let (results, (bytes, stream)) = tokio::join!(publisher.publish(&envelopes), receiving);
        assert_eq!(results, [const { DeliveryResult::Acknowledged }; 2]);
        assert_eq!(bytes, [[1; 10], [2; 10]].concat());

        // The connection is kept. A receiver that closes it in between loses nothing.
        assert!(publisher.stream.is_some());
        drop(stream);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let receiving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            (read(&mut stream, 20).await, stream)
        };
        let (results, _) = tokio::join!(publisher.publish(&envelopes), receiving);
        assert_eq!(results, [const { DeliveryResult::Acknowledged }; 2]);
    }

    #[tokio::test]
    async fn a_receiver_that_has_closed_its_sending_end_still_receives() {
        let (listener, mut publisher) = pair().await;
        for _ in 0..2 {
            let receiving = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.shutdown().await.unwrap();
                (read(&mut stream, 10).await, stream)
            };
            let one = [envelope(1, 10)];
            let (results, _) = tokio::join!(publisher.publish(&one), receiving);
            assert_eq!(results, [DeliveryResult::Acknowledged]);
        }
    }

    #[tokio::test]
    async fn a_closed_port_and_an_unknown_name_are_reported() {
        let (listener, mut publisher) = pair().await;
        drop(listener);
        let [DeliveryResult::Pending { reason, .. }] =
            &publisher.publish(&[envelope(1, 1)]).await[..]
        else {
            panic!()
        };
        assert!(reason.contains("refused"), "{reason}");
        let nowhere = SocketSpec { host: "nowhere.invalid".into(), port: 1 };
        let results = TcpPublisher::new(&nowhere).publish(&[envelope(1, 1)]).await;
        let DeliveryResult::Pending { reason, .. } = &results[0] else { panic!("{results:?}") };
        assert!(reason.starts_with("cannot write to nowhere.invalid:1"), "{reason}");
    }
}
