//! Validates the frames that a broker sends, before the AMQP library parses them.
//!
//! A peer at the broker's address can send anything, before any login. The library parses nested
//! field tables by unbounded recursion, and buffers unsolicited methods and messages. This module
//! rejects a frame before its last byte is passed on, so that the library, which parses whole frames
//! only, never sees it. It buffers at most one frame, and never changes the stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::allowance::{Allowance, UnreadableMessage};
use crate::frame_error::FrameError;
use crate::tables;
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
const DELIVER: (u16, u16) = (60, 60);

/// Replies to the methods with which every client connects. Any other method is rejected; most of
/// those contain field tables.
const REPLIES: [(u16, u16); 9] = [
    START,
    (10, 30), // connection.tune
    (10, 41), // connection.open-ok
    (10, 51), // connection.close-ok
    (20, 11), // channel.open-ok
    (20, 41), // channel.close-ok
    (40, 11), // exchange.declare-ok
    (50, 11), // queue.declare-ok
    (50, 21), // queue.bind-ok
];

/// Replies to a publisher's further methods.
const PUBLISHER_REPLIES: [(u16, u16); 3] = [
    (60, 80),  // basic.ack
    (60, 120), // basic.nack
    (85, 11),  // confirm.select-ok
];

/// Replies to a consumer's further methods.
const CONSUMER_REPLIES: [(u16, u16); 2] = [
    (60, 11), // basic.qos-ok
    (60, 21), // basic.consume-ok
];

/// Sent to a consumer whose queue was deleted.
const CANCEL: (u16, u16) = (60, 30);

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

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The broker may return messages.
    Publishing,
    /// The broker may deliver messages.
    Consuming,
}

/// The part of a frame that comes next.
enum ParsePosition {
    Head,
    Content,
    End,
}

/// The part of a returned or delivered message that comes next on its channel.
#[derive(Clone, Copy)]
enum MessagePart {
    Header {
        /// The tag of a delivery.
        tag: Option<u64>,
    },
    Body {
        left: u64,
    },
}

/// Validates the frames of one connection.
pub(crate) struct FrameGuard {
    frame_max: usize,
    purpose: Purpose,
    allowance: Arc<Allowance>,
    position: ParsePosition,
    head: [u8; HEAD],
    /// Number of bytes in `head`.
    filled: usize,
    /// Bytes of the content that are missing.
    left: usize,
    /// Content of a method or content header. The content of other frames is not buffered.
    content: Vec<u8>,
    /// Incomplete messages by channel: a publisher has one channel, a consumer one for each queue.
    messages: BTreeMap<u16, MessagePart>,
    unsolicited: usize,
    /// Bytes of complete frames at the start of those that were checked last.
    complete: usize,
    /// Whether nothing was received yet: only then is a protocol header accepted.
    fresh: bool,
    /// Whether a protocol header was received, which ends the connection.
    finished: bool,
}

impl FrameGuard {
    /// A guard for a connection that negotiates frames of at most `frame_max` bytes.
    pub(crate) fn new(frame_max: usize, purpose: Purpose, allowance: Arc<Allowance>) -> Self {
        Self {
            frame_max,
            purpose,
            allowance,
            position: ParsePosition::Head,
            head: [0; HEAD],
            filled: 0,
            left: 0,
            content: Vec::new(),
            messages: BTreeMap::new(),
            unsolicited: 0,
            complete: 0,
            fresh: true,
            finished: false,
        }
    }

    /// Validates the next bytes.
    ///
    /// # Errors
    /// If they are rejected: then nothing of the rejected frame may be passed on, and nothing may be
    /// read any more.
    pub(crate) fn check(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        self.scan(bytes).inspect_err(|error| self.report(*error))
    }

    /// Reports the reason. A delivery with an invalid content header can be refused: the broker would
    /// deliver it again on the next connection.
    fn report(&self, reason: FrameError) {
        match self.refusable(reason) {
            Some(message) => self.allowance.report(message),
            None => self.allowance.reject(reason),
        }
    }

    fn refusable(&self, reason: FrameError) -> Option<UnreadableMessage> {
        let excess = matches!(reason, FrameError::Delivered(_));
        if excess || self.kind() != HEADER || self.filled < HEAD {
            return None;
        }
        let channel = self.channel();
        match self.messages.get(&channel).copied() {
            Some(MessagePart::Header { tag: Some(tag) }) => {
                Some(UnreadableMessage { channel, tag, reason })
            }
            _ => None,
        }
    }

    /// Whether the rejected frame belongs to a delivery that can be refused.
    pub(crate) fn has_reported(&self) -> bool {
        self.allowance.unreadable().is_some()
    }

    /// Of the bytes that were checked last, those of the frames before a rejected one.
    pub(crate) fn complete(&self) -> usize {
        self.complete
    }

    fn scan(&mut self, mut bytes: &[u8]) -> Result<(), FrameError> {
        let total = bytes.len();
        self.complete = 0;
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
                    self.complete = total - bytes.len() + 1;
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

    /// A body frame.
    fn body(&mut self, size: u64) -> Result<(), FrameError> {
        let unexpected = FrameError::Malformed("unexpected body");
        let channel = self.channel();
        let Some(MessagePart::Body { left }) = self.messages.get(&channel).copied() else {
            return Err(unexpected);
        };
        if size == 0 {
            return Err(unexpected);
        }
        self.expect_body(channel, left.checked_sub(size).ok_or(unexpected)?);
        Ok(())
    }

    /// Sets how many bytes of a message's body are missing.
    fn expect_body(&mut self, channel: u16, left: u64) {
        if left == 0 {
            self.messages.remove(&channel);
        } else {
            self.messages.insert(channel, MessagePart::Body { left });
        }
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
        // A publisher has one channel, so that its messages never overlap.
        let overlaps = method == RETURN && !self.messages.is_empty();
        if overlaps || self.messages.contains_key(&self.channel()) {
            return Err(FrameError::Malformed("method within a message"));
        }
        let (message, replies): (_, &[_]) = match self.purpose {
            Purpose::Publishing => (RETURN, &PUBLISHER_REPLIES),
            Purpose::Consuming => (DELIVER, &CONSUMER_REPLIES),
        };
        let cancel = self.purpose == Purpose::Consuming && method == CANCEL;
        if method == message {
            let tag = if method == DELIVER { Some(tables::delivery_tag(arguments)?) } else { None };
            self.allowance.take_message().ok_or(self.too_much("messages"))?;
            self.messages.insert(self.channel(), MessagePart::Header { tag });
        } else if UNSOLICITED.contains(&method) || cancel {
            self.unsolicited += 1;
            Bound::Unasked.check(self.unsolicited)?;
        } else if !REPLIES.contains(&method) && !replies.contains(&method) {
            return Err(FrameError::Method(method.0, method.1));
        }
        if method == START { tables::start(arguments) } else { Ok(()) }
    }

    fn header(&mut self, content: &[u8]) -> Result<(), FrameError> {
        let channel = self.channel();
        let Some(MessagePart::Header { .. }) = self.messages.get(&channel) else {
            return Err(FrameError::Malformed("unexpected content header"));
        };
        let left = tables::content_header(content)?;
        match self.purpose {
            Purpose::Publishing => Bound::ReturnHeader.check(content.len())?,
            Purpose::Consuming => {
                Bound::DeliveryHeader.check(content.len())?;
                Bound::Unacknowledged.check(usize::try_from(left).unwrap_or(usize::MAX))?;
            }
        }
        self.allowance.take_bytes(left).ok_or(self.too_much("bytes"))?;
        self.expect_body(channel, left);
        Ok(())
    }

    fn too_much(&self, what: &'static str) -> FrameError {
        match self.purpose {
            Purpose::Publishing => FrameError::Returned(what),
            Purpose::Consuming => FrameError::Delivered(what),
        }
    }
}
