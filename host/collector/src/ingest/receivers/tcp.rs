//! `tcp://`: messages in a stream, each behind its length as eight bytes, little-endian.

use std::io::ErrorKind;
use std::time::Duration;

use nephometer_model::Bound;
use nephometer_telemetry::events::collector as events;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::Inlet;
use super::batch::PackedBatch;

/// Size of the length before each message, in bytes.
const HEAD: usize = size_of::<u64>();
/// Bytes that are read at once.
const PART: usize = 64 << 10;
/// A connection whose messages are not committed for this long is reset, so that its sender keeps
/// the next ones.
const STALL: Duration = Duration::from_secs(10);
/// Bytes that are read when a connection is ended: more than the system holds.
const LAST: usize = 4 << 20;
/// Pause after a failure to accept.
const PAUSE: Duration = Duration::from_millis(200);

/// Accepts connections until the collector ends, and waits for their commits.
pub(super) async fn run(listener: TcpListener, inlet: Inlet) {
    let mut ending = inlet.ending.clone();
    let mut connections = JoinSet::new();
    let mut reported = false;
    loop {
        let accepted = tokio::select! {
            _ = ending.wait_for(|ending| *ending) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Such as too many open files: it passes.
                events::receiver_failed(&inlet.origin, &error.to_string());
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let full = Bound::ReceiverConnections.check(connections.len() + 1).is_err();
        if full && !reported {
            events::receiver_full(&inlet.origin, connections.len());
        }
        reported = full;
        // Whoever is accepted and not read would take its messages for received.
        if full || inlet.health.failure().is_some() {
            reset(stream);
            continue;
        }
        let inlet = inlet.clone();
        connections.spawn(async move {
            let origin = inlet.origin.clone();
            if let Err(reason) = connection(stream, inlet).await {
                events::receiver_connection_failed(&origin, &peer.to_string(), &reason);
            }
        });
    }
    while connections.join_next().await.is_some() {}
}

/// Ends a connection in a way that its sender does not take for an orderly end.
fn reset(stream: TcpStream) {
    // Without it the connection ends in order, which is no worse than not to end it.
    drop(stream.set_zero_linger());
    drop(stream);
}

/// Reads a connection to its end. What was read is committed before more is read.
async fn connection(stream: TcpStream, inlet: Inlet) -> Result<(), String> {
    let mut ending = inlet.ending.clone();
    let mut frames = Frames::default();
    let mut until = Instant::now() + time(Bound::ReceiverIdle);
    loop {
        let readable = tokio::select! {
            _ = ending.wait_for(|ending| *ending) => None,
            readable = timeout_at(until, stream.readable()) => Some(readable),
        };
        match readable {
            None => {
                last(stream, frames, inlet).await;
                return Ok(());
            }
            Some(Ok(readable)) => readable.map_err(|error| error.to_string())?,
            Some(Err(_)) if frames.is_between() => return Ok(()),
            Some(Err(_)) => return Err(Bound::ReceiverTime.refusal()),
        }
        let began = !frames.is_between();
        let Filled { batch, state } = fill(&stream, &mut frames, Bound::ReceiverBatch.size());
        let moved = !batch.is_empty();
        if moved {
            let mut commit = Box::pin(batch.commit(inlet.clone()));
            if timeout(STALL, &mut commit).await.is_err() {
                last(stream, frames, inlet).await;
                commit.await;
                return Err("the store takes no samples".to_owned());
            }
        }
        match (state, frames.is_between()) {
            (StreamState::Failed(reason), _) => return Err(reason),
            (StreamState::Closed, true) => return Ok(()),
            (StreamState::Closed, false) => {
                return Err("the connection ended within a message".to_owned());
            }
            (StreamState::Open, true) => until = Instant::now() + time(Bound::ReceiverIdle),
            (StreamState::Open, false) if began && !moved => {}
            (StreamState::Open, false) => until = Instant::now() + time(Bound::ReceiverTime),
        }
    }
}

/// Takes what the system has of a connection, which its sender may take for received, and ends it.
/// Waits for the commit.
async fn last(stream: TcpStream, mut frames: Frames, inlet: Inlet) {
    let Filled { batch, .. } = fill(&stream, &mut frames, LAST);
    // At once: whatever arrives from now on is answered with a reset, and sent again.
    reset(stream);
    batch.commit(inlet).await;
}

/// What was read at once.
struct Filled {
    batch: PackedBatch,
    state: StreamState,
}

/// How a connection is.
enum StreamState {
    Open,
    Closed,
    Failed(String),
}

/// Reads what has arrived, up to this many bytes of messages.
fn fill(stream: &TcpStream, frames: &mut Frames, most: usize) -> Filled {
    let mut batch = PackedBatch::default();
    let mut part = vec![0; PART];
    while batch.bytes() < most {
        let state = match stream.try_read(&mut part) {
            Ok(0) => StreamState::Closed,
            Ok(length) => match frames.push(&part[..length], &mut batch) {
                Ok(()) => continue,
                Err(reason) => StreamState::Failed(reason),
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => StreamState::Failed(error.to_string()),
        };
        return Filled { batch, state };
    }
    Filled { batch, state: StreamState::Open }
}

fn time(bound: Bound) -> Duration {
    Duration::from_millis(bound.most())
}

/// The part of a stream that is no whole message yet.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
    /// Bytes of a message that is skipped and has not arrived yet.
    skip: u64,
}

impl Frames {
    /// Whether no message has begun.
    fn is_between(&self) -> bool {
        self.bytes.is_empty() && self.skip == 0
    }

    /// Adds bytes, and puts whole messages into the batch.
    fn push(&mut self, part: &[u8], batch: &mut PackedBatch) -> Result<(), String> {
        self.bytes.extend_from_slice(self.behind_skipped(part));
        self.skip = self.skip.saturating_sub(part.len() as u64);
        let mut start = 0;
        while let Some(head) = self.bytes[start..].first_chunk::<HEAD>() {
            let length = u64::from_le_bytes(*head);
            let rest = &self.bytes[start + HEAD..];
            let here = usize::try_from(length).unwrap_or(usize::MAX);
            if Bound::ReceiverMessage.check(here).is_err() {
                let skipped = Bound::ReceiverSkip.check(here);
                skipped.map_err(|error| error.to_string())?;
                batch.skip(length);
                self.skip = length.saturating_sub(rest.len() as u64);
                start += HEAD + here.min(rest.len());
                continue;
            }
            let Some(message) = rest.get(..here) else { break };
            batch.add(message);
            start += HEAD + here;
        }
        self.bytes.drain(..start);
        Ok(())
    }

    fn behind_skipped<'a>(&self, part: &'a [u8]) -> &'a [u8] {
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX).min(part.len());
        &part[skip..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(message: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        nephometer_wire::frames::append(&mut frame, |out| out.extend_from_slice(message));
        frame
    }

    /// However the stream is cut, the same messages come out.
    #[test]
    fn frames_are_found_in_any_parts() {
        let long = vec![0xc1; Bound::ReceiverMessage.size() + 1];
        let stream = [frame(b"\x81\xa1a\x01"), frame(b""), frame(&long), frame(b"\x80")].concat();
        for size in [1, 7, 8, 9, 4_096, stream.len()] {
            let (mut frames, mut batch) = (Frames::default(), PackedBatch::default());
            for part in stream.chunks(size) {
                frames.push(part, &mut batch).unwrap();
            }
            assert!(frames.is_between(), "{size}");
            // 4 bytes, an empty one, a skipped one, 1 byte.
            assert_eq!(batch.bytes(), 4 + 1 + 1 + 1, "{size}");
        }
    }

    #[test]
    fn a_length_that_no_sender_has_ends_the_connection() {
        let (mut frames, mut batch) = (Frames::default(), PackedBatch::default());
        let error = frames.push(b"GET / HTTP/1.1\r\n", &mut batch).unwrap_err();
        assert!(error.contains("receiver_skipped_bytes"), "{error}");
    }
}
