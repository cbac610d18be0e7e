//! Validates the frames that a broker sends, before the AMQP library parses them.
//!
//! A peer at the broker's address can send anything, before any login. The library parses nested
//! field tables by unbounded recursion, and buffers unsolicited methods. This module rejects a
//! frame before its last byte is passed on, so that the library, which parses whole frames only,
//! never sees it. It buffers at most one frame, and never changes the stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::frame_error::FrameError;
use super::tables;
use nephometer_model::Bound;

/// Size of a frame header: type, channel and size.
const HEAD: usize = 7;
/// Size of a frame without its content: the header, and the end byte.
const OVERHEAD: usize = HEAD + 1;
const END: u8 = 0xce;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// First byte of the protocol header, which a broker of another version replies with.
const GREETING: u8 = b'A';

const START: (u16, u16) = (10, 10);
const RETURN: (u16, u16) = (60, 50);

/// Replies to a publisher's methods. Any other method is rejected; most of those contain field
/// tables.
const REPLIES: [(u16, u16); 12] = [
    START,
    (10, 30),  // connection.tune
    (10, 41),  // connection.open-ok
    (10, 51),  // connection.close-ok
    (20, 11),  // channel.open-ok
    (20, 41),  // channel.close-ok
    (40, 11),  // exchange.declare-ok
    (50, 11),  // queue.declare-ok
    (50, 21),  // queue.bind-ok
    (60, 80),  // basic.ack
    (60, 120), // basic.nack
    (85, 11),  // confirm.select-ok
];

/// Methods that a broker may send unsolicited. The library queues a reply to most of them, also
/// while the broker reads nothing.
const UNSOLICITED: [(u16, u16); 6] = [
    (10, 20), // connection.secure
    (10, 50), // connection.close
    (10, 60), // connection.blocked
    (10, 61), // connection.unblocked
    (20, 20), // channel.flow
    (20, 40), // channel.close
];

/// What a broker may return: at most what was sent to it.
#[derive(Debug, Default)]
pub(super) struct Returnable {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Returnable {
    /// Sets the numbers of messages and bytes that are about to be sent. All earlier messages must
    /// be confirmed.
    pub(super) fn set(&self, messages: usize, bytes: usize) {
        self.messages.store(messages, Relaxed);
        self.bytes.store(bytes, Relaxed);
    }

    fn take_message(&self) -> Result<(), FrameError> {
        subtract(&self.messages, 1).ok_or(FrameError::Returned("messages"))
    }

    fn take_bytes(&self, bytes: u64) -> Result<(), FrameError> {
        let subtracted = usize::try_from(bytes).ok().and_then(|bytes| subtract(&self.bytes, bytes));
        subtracted.ok_or(FrameError::Returned("bytes"))
    }
}

fn subtract(from: &AtomicUsize, amount: usize) -> Option<()> {
    from.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(amount)).ok().map(drop)
}

/// The part of a frame that comes next.
enum ParsePosition {
    Head,
    Content,
    End,
}

/// The part of a returned message that comes next on its channel.
#[derive(Clone, Copy)]
enum ReturnedMessage {
    None,
    Header { channel: u16 },
    Body { channel: u16, left: u64 },
}

/// Validates the frames of one connection.
pub(super) struct FrameGuard {
    frame_max: usize,
    returnable: Arc<Returnable>,
    position: ParsePosition,
    head: [u8; HEAD],
    /// Number of bytes in `head`.
    filled: usize,
    /// Bytes of the content that are missing.
    left: usize,
    /// Content of a method or content header. The content of other frames is not buffered.
    content: Vec<u8>,
    returned: ReturnedMessage,
    unsolicited: usize,
    /// Whether nothing was received yet: only then is a protocol header accepted.
    fresh: bool,
    /// Whether a protocol header was received, which ends the connection.
    finished: bool,
}

impl FrameGuard {
    /// A guard for a connection that negotiates frames of at most `frame_max` bytes.
    pub(super) fn new(frame_max: usize, returnable: Arc<Returnable>) -> Self {
        Self {
            frame_max,
            returnable,
            position: ParsePosition::Head,
            head: [0; HEAD],
            filled: 0,
            left: 0,
            content: Vec::new(),
            returned: ReturnedMessage::None,
            unsolicited: 0,
            fresh: true,
            finished: false,
        }
    }

    /// Validates the next bytes.
    ///
    /// # Errors
    /// If they are rejected: then none of them may be passed on, and nothing may be read any more.
    pub(super) fn check(&mut self, mut bytes: &[u8]) -> Result<(), FrameError> {
        while let Some(&first) = bytes.first() {
            let used = match self.position {
                ParsePosition::Head => {
                    let used = bytes.len().min(HEAD - self.filled);
                    self.head[self.filled..][..used].copy_from_slice(&bytes[..used]);
                    self.filled += used;
                    if self.filled == HEAD {
                        self.begin()?;
                    }
                    used
                }
                ParsePosition::Content => {
                    let used = bytes.len().min(self.left);
                    if matches!(self.kind(), METHOD | HEADER) {
                        self.content.extend_from_slice(&bytes[..used]);
                    }
                    self.left -= used;
                    if self.left == 0 {
                        self.position = ParsePosition::End;
                    }
                    used
                }
                ParsePosition::End => {
                    self.end(first)?;
                    1
                }
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    fn kind(&self) -> u8 {
        self.head[0]
    }

    fn channel(&self) -> u16 {
        u16::from_be_bytes([self.head[1], self.head[2]])
    }

    /// The header is complete. The size is checked before any content is buffered.
    fn begin(&mut self) -> Result<(), FrameError> {
        let fresh = std::mem::replace(&mut self.fresh, false);
        if self.finished {
            return Err(FrameError::Malformed("frame after the protocol header"));
        }
        if self.kind() == GREETING && fresh && self.head.starts_with(b"AMQP\0") {
            self.position = ParsePosition::End;
            return Ok(());
        }
        if !matches!(self.kind(), METHOD | HEADER | BODY | HEARTBEAT) {
            return Err(FrameError::Kind(self.kind()));
        }
        let [.., a, b, c, d] = self.head;
        let size = u32::from_be_bytes([a, b, c, d]);
        // All supported targets have at least 32 bits.
        self.left = usize::try_from(size).unwrap_or(usize::MAX);
        let total = self.left.saturating_add(OVERHEAD);
        Bound::FrameBytes.check(total)?;
        if total > self.frame_max {
            return Err(FrameError::FrameMax { size: total, most: self.frame_max });
        }
        if self.kind() == BODY {
            self.body(u64::from(size))?;
        }
        self.position = if self.left == 0 { ParsePosition::End } else { ParsePosition::Content };
        Ok(())
    }

    /// A body frame of a returned message.
    fn body(&mut self, size: u64) -> Result<(), FrameError> {
        let unexpected = FrameError::Malformed("unexpected body");
        let ReturnedMessage::Body { channel, left } = self.returned else { return Err(unexpected) };
        if channel != self.channel() || size == 0 {
            return Err(unexpected);
        }
        let left = left.checked_sub(size).ok_or(unexpected)?;
        self.returned =
            if left == 0 { ReturnedMessage::None } else { ReturnedMessage::Body { channel, left } };
        Ok(())
    }

    /// The last byte of a frame: with it the library parses the frame.
    fn end(&mut self, byte: u8) -> Result<(), FrameError> {
        if self.kind() == GREETING {
            self.finished = true;
        } else if byte != END {
            return Err(FrameError::Malformed("no end byte at the announced size"));
        }
        let content = std::mem::take(&mut self.content);
        match self.kind() {
            METHOD => self.method(&content)?,
            HEADER => self.header(&content)?,
            _ => {}
        }
        self.filled = 0;
        self.position = ParsePosition::Head;
        Ok(())
    }

    fn method(&mut self, content: &[u8]) -> Result<(), FrameError> {
        let &[a, b, c, d, ref arguments @ ..] = content else {
            return Err(FrameError::Malformed("method without its number"));
        };
        let method = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        match self.returned {
            ReturnedMessage::Header { channel } | ReturnedMessage::Body { channel, .. }
                if channel == self.channel() || method == RETURN =>
            {
                return Err(FrameError::Malformed("method within a returned message"));
            }
            _ => {}
        }
        if method == RETURN {
            self.returnable.take_message()?;
            self.returned = ReturnedMessage::Header { channel: self.channel() };
        } else if UNSOLICITED.contains(&method) {
            self.unsolicited += 1;
            Bound::Unasked.check(self.unsolicited)?;
        } else if !REPLIES.contains(&method) {
            return Err(FrameError::Method(method.0, method.1));
        }
        if method == START { tables::start(arguments) } else { Ok(()) }
    }

    fn header(&mut self, content: &[u8]) -> Result<(), FrameError> {
        let ReturnedMessage::Header { channel } = self.returned else {
            return Err(FrameError::Malformed("unexpected content header"));
        };
        if channel != self.channel() {
            return Err(FrameError::Malformed("content header on another channel"));
        }
        let left = tables::content_header(content)?;
        Bound::ReturnHeader.check(content.len())?;
        self.returnable.take_bytes(left)?;
        self.returned =
            if left == 0 { ReturnedMessage::None } else { ReturnedMessage::Body { channel, left } };
        Ok(())
    }
}
