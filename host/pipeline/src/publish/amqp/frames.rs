//! Follows the frames that a broker sends, before the AMQP library parses them.
//!
//! Whoever answers at the broker's address can send anything, before any login. The library parses
//! nested field tables by recursion without a bound, and keeps what a broker sends unasked. This
//! module refuses a frame before its last byte has been handed on, so that the library, which parses
//! whole frames only, never sees it. It holds at most one frame, and never changes what it follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::refusal::Refusal;
use super::tables;
use nephometer_model::Bound;

/// Type, channel and size.
const HEAD: usize = 7;
/// What a frame has besides its content: the head, and the byte at the end.
const OVERHEAD: usize = HEAD + 1;
const END: u8 = 0xce;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// The first byte of the protocol header, with which a broker answers that speaks another version.
const GREETING: u8 = b'A';

const START: (u16, u16) = (10, 10);
const RETURN: (u16, u16) = (60, 50);

/// Answers to what a publisher asks for. All others have no business on its connection, and most of
/// them hold field tables.
const ANSWERS: [(u16, u16); 12] = [
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

/// What a broker may send by itself. The library queues an answer to most of them, also while the
/// broker reads nothing.
const UNASKED: [(u16, u16); 6] = [
    (10, 20), // connection.secure
    (10, 50), // connection.close
    (10, 60), // connection.blocked
    (10, 61), // connection.unblocked
    (20, 20), // channel.flow
    (20, 40), // channel.close
];

/// How much a broker may return: not more than was sent to it.
#[derive(Debug, Default)]
pub(super) struct Returnable {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Returnable {
    /// So many messages with so many bytes in all are about to be sent, and none before them is
    /// unconfirmed.
    pub(super) fn set(&self, messages: usize, bytes: usize) {
        self.messages.store(messages, Relaxed);
        self.bytes.store(bytes, Relaxed);
    }

    fn take_message(&self) -> Result<(), Refusal> {
        taken(&self.messages, 1).ok_or(Refusal::Returned("messages"))
    }

    fn take_bytes(&self, bytes: u64) -> Result<(), Refusal> {
        let taken = usize::try_from(bytes).ok().and_then(|bytes| taken(&self.bytes, bytes));
        taken.ok_or(Refusal::Returned("bytes"))
    }
}

fn taken(from: &AtomicUsize, amount: usize) -> Option<()> {
    from.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(amount)).ok().map(drop)
}

enum Place {
    Head,
    Content,
    End,
}

/// Where a returned message is.
#[derive(Clone, Copy)]
enum Returned {
    Nowhere,
    Header { channel: u16 },
    Body { channel: u16, left: u64 },
}

/// Follows the frames of one connection.
pub(super) struct FrameGuard {
    frame_max: usize,
    returnable: Arc<Returnable>,
    place: Place,
    head: [u8; HEAD],
    /// How much of the head there is.
    filled: usize,
    /// Bytes of the content that are still to come.
    left: usize,
    /// The content of a method or header; that of other frames is not kept.
    content: Vec<u8>,
    returned: Returned,
    unasked: usize,
    /// Whether nothing has come yet: only then may a protocol header.
    fresh: bool,
    /// After a protocol header there is nothing more to say.
    over: bool,
}

impl FrameGuard {
    /// For a connection that asked for frames of at most `frame_max` bytes.
    pub(super) fn new(frame_max: usize, returnable: Arc<Returnable>) -> Self {
        Self {
            frame_max,
            returnable,
            place: Place::Head,
            head: [0; HEAD],
            filled: 0,
            left: 0,
            content: Vec::new(),
            returned: Returned::Nowhere,
            unasked: 0,
            fresh: true,
            over: false,
        }
    }

    /// Follows the next bytes. None of them may be handed on if this is an error, and nothing may be
    /// read after it.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while let Some(&first) = bytes.first() {
            let used = match self.place {
                Place::Head => {
                    let used = bytes.len().min(HEAD - self.filled);
                    self.head[self.filled..][..used].copy_from_slice(&bytes[..used]);
                    self.filled += used;
                    if self.filled == HEAD {
                        self.begin()?;
                    }
                    used
                }
                Place::Content => {
                    let used = bytes.len().min(self.left);
                    if matches!(self.kind(), METHOD | HEADER) {
                        self.content.extend_from_slice(&bytes[..used]);
                    }
                    self.left -= used;
                    if self.left == 0 {
                        self.place = Place::End;
                    }
                    used
                }
                Place::End => {
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

    /// The head is there: the size is checked before anything is kept.
    fn begin(&mut self) -> Result<(), Refusal> {
        let fresh = std::mem::replace(&mut self.fresh, false);
        if self.over {
            return Err(Refusal::Malformed("a frame after the protocol header"));
        }
        if self.kind() == GREETING && fresh && self.head.starts_with(b"AMQP\0") {
            self.place = Place::End;
            return Ok(());
        }
        if !matches!(self.kind(), METHOD | HEADER | BODY | HEARTBEAT) {
            return Err(Refusal::Kind(self.kind()));
        }
        let [.., a, b, c, d] = self.head;
        let size = u32::from_be_bytes([a, b, c, d]);
        // No machine that this runs on has addresses of less than 32 bits.
        self.left = usize::try_from(size).unwrap_or(usize::MAX);
        let whole = self.left.saturating_add(OVERHEAD);
        Bound::FrameBytes.check(whole)?;
        if whole > self.frame_max {
            return Err(Refusal::FrameMax { size: whole, most: self.frame_max });
        }
        if self.kind() == BODY {
            self.body(u64::from(size))?;
        }
        self.place = if self.left == 0 { Place::End } else { Place::Content };
        Ok(())
    }

    /// A part of a returned message.
    fn body(&mut self, size: u64) -> Result<(), Refusal> {
        let unexpected = Refusal::Malformed("a body that nothing announced");
        let Returned::Body { channel, left } = self.returned else { return Err(unexpected) };
        if channel != self.channel() || size == 0 {
            return Err(unexpected);
        }
        let left = left.checked_sub(size).ok_or(unexpected)?;
        self.returned =
            if left == 0 { Returned::Nowhere } else { Returned::Body { channel, left } };
        Ok(())
    }

    /// The last byte of a frame: the library parses it as soon as it has this.
    fn end(&mut self, byte: u8) -> Result<(), Refusal> {
        if self.kind() == GREETING {
            self.over = true;
        } else if byte != END {
            return Err(Refusal::Malformed("no frame end at its announced size"));
        }
        let content = std::mem::take(&mut self.content);
        match self.kind() {
            METHOD => self.method(&content)?,
            HEADER => self.header(&content)?,
            _ => {}
        }
        self.filled = 0;
        self.place = Place::Head;
        Ok(())
    }

    fn method(&mut self, content: &[u8]) -> Result<(), Refusal> {
        let &[a, b, c, d, ref arguments @ ..] = content else {
            return Err(Refusal::Malformed("a method without its number"));
        };
        let method = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        match self.returned {
            Returned::Header { channel } | Returned::Body { channel, .. }
                if channel == self.channel() || method == RETURN =>
            {
                return Err(Refusal::Malformed("a method within a returned message"));
            }
            _ => {}
        }
        if method == RETURN {
            self.returnable.take_message()?;
            self.returned = Returned::Header { channel: self.channel() };
        } else if UNASKED.contains(&method) {
            self.unasked += 1;
            Bound::Unasked.check(self.unasked)?;
        } else if !ANSWERS.contains(&method) {
            return Err(Refusal::Method(method.0, method.1));
        }
        if method == START { tables::start(arguments) } else { Ok(()) }
    }

    fn header(&mut self, content: &[u8]) -> Result<(), Refusal> {
        let Returned::Header { channel } = self.returned else {
            return Err(Refusal::Malformed("a content header that nothing announced"));
        };
        if channel != self.channel() {
            return Err(Refusal::Malformed("a content header on another channel"));
        }
        let left = tables::content_header(content)?;
        Bound::ReturnHeader.check(content.len())?;
        self.returnable.take_bytes(left)?;
        self.returned =
            if left == 0 { Returned::Nowhere } else { Returned::Body { channel, left } };
        Ok(())
    }
}
