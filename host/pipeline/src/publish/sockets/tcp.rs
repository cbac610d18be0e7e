use std::io;
use std::time::Duration;

use async_trait::async_trait;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{LIMIT, late, resolve};
use crate::publish::{Envelope, Publisher};
use nephometer_config::SocketSpec;
use nephometer_model::DeliveryResult;

/// Envelopes that are written before it is seen whether the receiver is still there.
const WINDOW: usize = 32;
/// How long the receiver's system has to say that nobody reads what was just written.
const SETTLE: Duration = Duration::from_millis(100);
/// How often a connection is tried on which nothing is written.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Writes messages into a stream, each with its length in front.
///
/// The receiver never answers. What is settled is what was written whole, if the connection was not
/// broken a moment later: a system whose program has gone breaks it off at once. Otherwise all of
/// it is written again into the next connection, from the beginning.
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
        // It is put back after whole messages only, so that nothing ever follows half of one.
        let mut stream = match self.stream.take() {
            Some(stream) if is_open(&stream) => stream,
            _ => connect(&self.target).await?,
        };
        for envelope in envelopes {
            write(&mut stream, &envelope.body).await?;
        }
        if settle(&mut stream).await? {
            self.stream = Some(stream);
        }
        Ok(())
    }
}

#[async_trait]
impl Publisher for TcpPublisher {
    async fn publish(&mut self, envelopes: &[Envelope]) -> Vec<DeliveryResult> {
        let outcome = match self.send(envelopes).await {
            Ok(()) => DeliveryResult::Acknowledged,
            // How much of it has been read nobody knows.
            Err(error) => {
                DeliveryResult::pending(format!("cannot write to {}: {error}", self.target))
            }
        };
        vec![outcome; envelopes.len()]
    }

    fn window(&self) -> usize {
        WINDOW
    }
}

async fn connect(target: &SocketSpec) -> io::Result<TcpStream> {
    let mut failed = None;
    for address in resolve(target).await? {
        let connecting = timeout(LIMIT, TcpStream::connect(address)).await;
        match connecting.unwrap_or_else(|_| Err(late("there is no connection"))) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let socket = SockRef::from(&stream);
                // A host that is gone without a word is noticed, where the system waits for hours.
                let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
                socket.set_tcp_keepalive(&keepalive)?;
                socket.set_tcp_user_timeout(Some(LIMIT))?;
                return Ok(stream);
            }
            Err(error) => _ = failed.get_or_insert(error),
        }
    }
    Err(failed.expect("there is an address"))
}

/// Writes all of it. A receiver that takes nothing at all for a while is given up.
async fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let writing = timeout(LIMIT, stream.write(rest)).await;
        match writing.map_err(|_| late("the receiver takes nothing"))?? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => rest = &rest[written..],
        }
    }
    Ok(())
}

/// Whether a connection that was left alone can be written to: a receiver that has closed its end
/// would not say so before the first bytes are lost.
fn is_open(stream: &TcpStream) -> bool {
    let mut said = [0; 512];
    loop {
        match stream.try_read(&mut said) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// Waits until what was written can be taken for read. `false` if the receiver has closed its end
/// in good order: it has read everything then, or it never says anything but still reads.
async fn settle(stream: &mut TcpStream) -> io::Result<bool> {
    let end = Instant::now() + SETTLE;
    let closed = timeout_at(end, closed(stream)).await;
    // Had it left anything unread, its system would break the connection off as well.
    sleep_until(end).await;
    match (stream.take_error()?, closed) {
        (Some(error), _) | (None, Ok(Err(error))) => Err(error),
        (None, Ok(Ok(()))) => Ok(false),
        (None, Err(_)) => Ok(true),
    }
}

/// Reads, for nothing, to the end.
async fn closed(stream: &mut TcpStream) -> io::Result<()> {
    let mut said = [0; 512];
    while stream.read(&mut said).await? > 0 {}
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

    /// More than the systems buffer on both ends: written in many parts.
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
    async fn what_is_not_read_is_written_again_from_the_beginning() {
        let (listener, mut publisher) = pair().await;
        let envelopes = [envelope(1, 10), envelope(2, 10)];
        let receiving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Half of it, and then it goes.
            read(&mut stream, 15).await
        };
        let (outcomes, _) = tokio::join!(publisher.publish(&envelopes), receiving);
        let [DeliveryResult::Pending { reason, .. }, DeliveryResult::Pending { .. }] =
            &outcomes[..]
        else {
            panic!("{outcomes:?}")
        };
        assert!(reason.starts_with("cannot write to 127.0.0.1:"), "{reason}");
        let receiving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            (read(&mut stream, 20).await, stream)
        };
        let (outcomes, (bytes, stream)) = tokio::join!(publisher.publish(&envelopes), receiving);
        assert_eq!(outcomes, [const { DeliveryResult::Acknowledged }; 2]);
        assert_eq!(bytes, [[1; 10], [2; 10]].concat());

        // The connection is kept; a receiver that went in between costs nothing.
        assert!(publisher.stream.is_some());
        drop(stream);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let receiving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            (read(&mut stream, 20).await, stream)
        };
        let (outcomes, _) = tokio::join!(publisher.publish(&envelopes), receiving);
        assert_eq!(outcomes, [const { DeliveryResult::Acknowledged }; 2]);
    }

    #[tokio::test]
    async fn a_receiver_that_only_reads_is_taken_for_one() {
        let (listener, mut publisher) = pair().await;
        for _ in 0..2 {
            let receiving = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.shutdown().await.unwrap();
                (read(&mut stream, 10).await, stream)
            };
            let one = [envelope(1, 10)];
            let (outcomes, _) = tokio::join!(publisher.publish(&one), receiving);
            assert_eq!(outcomes, [DeliveryResult::Acknowledged]);
        }
    }

    #[tokio::test]
    async fn a_closed_port_and_an_unknown_name_are_said() {
        let (listener, mut publisher) = pair().await;
        drop(listener);
        let [DeliveryResult::Pending { reason, .. }] =
            &publisher.publish(&[envelope(1, 1)]).await[..]
        else {
            panic!()
        };
        assert!(reason.contains("refused"), "{reason}");
        let nowhere = SocketSpec { host: "nowhere.invalid".into(), port: 1 };
        let outcomes = TcpPublisher::new(&nowhere).publish(&[envelope(1, 1)]).await;
        let DeliveryResult::Pending { reason, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
        assert!(reason.starts_with("cannot write to nowhere.invalid:1"), "{reason}");
    }
}
