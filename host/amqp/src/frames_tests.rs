//! The frame guard: bounds, order of frames, and streams cut at every byte.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_io::AsyncRead;
use proptest::prelude::*;

use crate::allowance::Allowance;
use crate::frame_error::FrameError;
use crate::frames::{FrameGuard, Purpose};
use crate::fuzz::{self, frame};
use crate::stream::{CloseOnDrop, GuardedStream};
use nephometer_model::Bound;

fn guard(messages: usize, bytes: usize) -> FrameGuard {
    guard_for(Purpose::Publishing, messages, bytes).0
}

pub(crate) fn guard_for(
    purpose: Purpose,
    messages: usize,
    bytes: usize,
) -> (FrameGuard, Arc<Allowance>) {
    let allowance = Arc::new(Allowance::default());
    allowance.set(messages, bytes);
    (FrameGuard::new(Bound::FrameBytes.size(), purpose, Arc::clone(&allowance)), allowance)
}

pub(crate) fn method(channel: u16, class: u8, method: u8, arguments: &[u8]) -> Vec<u8> {
    frame(1, channel, &[&[0, class, 0, method], arguments].concat())
}

pub(crate) fn long(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap();
    [&length.to_be_bytes(), content].concat()
}

pub(crate) fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// Content of a table of `depth` levels; all but the outermost are tables (`F`) or arrays (`A`).
pub(crate) fn nested(kind: u8, depth: usize) -> Vec<u8> {
    let mut content = Vec::new();
    for level in (1..depth).rev() {
        let named = kind == b'F' || level == 1;
        content = [if named { &b"\x01a"[..] } else { b"" }, &[kind], &long(&content)].concat();
    }
    content
}

pub(crate) fn start(properties: &[u8], locales: &[u8]) -> Vec<u8> {
    let arguments = [&[0, 9], &*long(properties), &long(b"PLAIN"), &long(locales)].concat();
    method(0, 10, 10, &arguments)
}

fn returned(channel: u16) -> Vec<u8> {
    let texts = [short("NO_ROUTE"), short("ceilometer"), short("metering.sample")].concat();
    method(channel, 60, 50, &[&[1, 56], &*texts].concat())
}

pub(crate) fn header(channel: u16, size: u64, headers: &[u8]) -> Vec<u8> {
    let properties = [&[0x60, 0], &*short("utf-8"), &long(headers)].concat();
    frame(2, channel, &[&[0, 60, 0, 0][..], &size.to_be_bytes(), &properties].concat())
}

/// Checks a stream whole, byte by byte, and cut in two at every byte. Asserts that a rejection
/// comes with the last byte and not before.
fn check_at_every_cut(messages: usize, stream: &[u8]) -> Result<(), FrameError> {
    let whole = guard(messages, 1000).check(stream);
    let mut bytewise = guard(messages, 1000);
    let (last, before) = stream.split_last().unwrap();
    for byte in before {
        assert_eq!(bytewise.check(&[*byte]), Ok(()));
    }
    assert_eq!(bytewise.check(&[*last]), whole);
    for cut in 1..stream.len() {
        let (one, other) = stream.split_at(cut);
        let mut guard = guard(messages, 1000);
        assert_eq!(guard.check(one), Ok(()), "cut at {cut}");
        assert_eq!(guard.check(other), whole, "cut at {cut}");
    }
    whole
}

#[test]
fn tables_and_arrays_deeper_than_the_bound_are_rejected() {
    let most = Bound::TableDepth.size();
    let refused = Err(FrameError::Bound(Bound::TableDepth.check(most + 1).unwrap_err()));
    for kind in [b'F', b'A'] {
        let streams = |depth| {
            let table = nested(kind, depth);
            [start(&table, b"en_US"), [returned(1), header(1, 0, &table)].concat()]
        };
        for (deep, deeper) in streams(most).into_iter().zip(streams(most + 1)) {
            assert_eq!(check_at_every_cut(1, &deep), Ok(()));
            assert_eq!(check_at_every_cut(1, &deeper), refused);
        }
    }
    // As in the attack that overflowed the library's stack, within one frame each.
    for (kind, depth) in [(b'F', 550), (b'F', 2_300), (b'A', 20_000)] {
        assert_eq!(guard(0, 0).check(&start(&nested(kind, depth), b"")), refused);
    }
}

#[test]
fn a_table_with_more_values_than_the_bound_is_rejected() {
    let most = Bound::TableValues.size();
    // The array itself is a value.
    let array = |values: usize| [&b"\x01aA"[..], &long(&vec![b'V'; values - 1])].concat();
    assert_eq!(guard(0, 0).check(&start(&array(most), b"")), Ok(()));
    let refused = Err(FrameError::Bound(Bound::TableValues.check(most + 1).unwrap_err()));
    assert_eq!(guard(0, 0).check(&start(&array(most + 1), b"")), refused);
    assert_eq!(guard(0, 0).check(&start(&b"\x01aV".repeat(most + 1), b"")), refused);
}

#[test]
fn a_frame_larger_than_the_bound_or_frame_max_is_rejected() {
    let most = Bound::FrameBytes.size();
    let of = |size: usize| {
        let small = start(&[], b"").len();
        start(&[], &vec![b'x'; size - small])
    };
    assert_eq!((of(most).len(), guard(0, 0).check(&of(most))), (most, Ok(())));
    let refused = Err(FrameError::Bound(Bound::FrameBytes.check(most + 1).unwrap_err()));
    // Before any of it is buffered.
    assert_eq!(guard(0, 0).check(&of(most + 1)[..7]), refused);
    assert!(guard(0, 0).check(&[1, 0, 0, 0xff, 0xff, 0xff, 0xff]).is_err());
    let mut asked = FrameGuard::new(4096, Purpose::Publishing, Arc::default());
    assert_eq!(asked.check(&of(4096)), Ok(()));
    assert_eq!(asked.check(&of(4097)), Err(FrameError::FrameMax { size: 4097, most: 4096 }));
}

#[test]
fn unsolicited_methods_are_bounded() {
    let most = Bound::Unasked.size();
    for unsolicited in [
        method(1, 20, 20, &[1]),
        method(1, 20, 40, &[&[1, 0x96], &*short("why"), &[0, 0, 0, 0]].concat()),
        method(0, 10, 61, &[]),
    ] {
        let mut guard = guard(0, 0);
        assert_eq!(guard.check(&unsolicited.repeat(most)), Ok(()));
        // Confirms are not counted, however many there are.
        assert_eq!(guard.check(&method(1, 60, 80, &[0; 9]).repeat(2 * most)), Ok(()));
        let refused = Err(FrameError::Bound(Bound::Unasked.check(most + 1).unwrap_err()));
        assert_eq!(guard.check(&unsolicited), refused);
    }
}

#[test]
fn a_broker_cannot_return_more_than_was_sent() {
    let message = |size: u64| [returned(3), header(3, size, &[])].concat();
    let body = |size: usize| frame(3, 3, &vec![0; size]);
    let whole = [message(700), body(300), frame(8, 0, &[]), body(400), message(0)].concat();
    assert_eq!(check_at_every_cut(2, &whole), Ok(()));
    let more = |what| Err(FrameError::Returned(what));
    assert_eq!(check_at_every_cut(2, &message(1001)), more("bytes"));
    assert_eq!(check_at_every_cut(2, &message(u64::MAX)), more("bytes"));
    let again = [whole, returned(3)].concat();
    assert_eq!(guard(2, 1000).check(&again), more("messages"));
    // Each window sets a new allowance.
    let returnable = Arc::new(Allowance::default());
    let mut guard = FrameGuard::new(4096, Purpose::Publishing, Arc::clone(&returnable));
    for _ in 0..10 {
        returnable.set(1, 5);
        assert_eq!(guard.check(&[message(5), body(5)].concat()), Ok(()));
    }
    assert_eq!(guard.check(&message(0)), more("messages"));
}

#[test]
fn a_returned_message_needs_a_small_header_and_its_frames_in_order() {
    let most = Bound::ReturnHeader.size();
    let of = |size: usize| {
        let small = header(1, 0, &[&b"\x01aS"[..], &long(b"")].concat()).len() - 8;
        let text = long(&vec![b'x'; size - small]);
        [returned(1), header(1, 0, &[&b"\x01aS"[..], &text].concat())].concat()
    };
    assert_eq!(guard(1, 0).check(&of(most)), Ok(()));
    let refused = Err(FrameError::Bound(Bound::ReturnHeader.check(most + 1).unwrap_err()));
    assert_eq!(guard(1, 0).check(&of(most + 1)), refused);

    let body = frame(3, 1, &[0; 5]);
    let ack = method(1, 60, 80, &[0; 9]);
    for wrong in [
        body.clone(),
        header(1, 5, &[]),
        [returned(1), body.clone()].concat(),
        [returned(1), returned(1)].concat(),
        [returned(1), ack.clone()].concat(),
        [returned(1), header(2, 5, &[])].concat(),
        [returned(1), header(1, 5, &[]), ack].concat(),
        [returned(1), header(1, 4, &[]), body.clone()].concat(),
        [returned(1), header(1, 5, &[]), frame(3, 1, &[])].concat(),
        [returned(1), header(1, 5, &[]), frame(3, 2, &[0; 5])].concat(),
        [returned(1), header(1, 5, &[]), body.clone(), body].concat(),
    ] {
        let refused = guard(9, 99).check(&wrong);
        assert!(matches!(refused, Err(FrameError::Malformed(_))), "{refused:?}: {wrong:?}");
    }
}

#[test]
fn other_protocols_and_methods_are_rejected() {
    let of = |bytes: &[u8]| guard(1, 1000).check(bytes);
    assert_eq!(of(b"HTTP/1.1 400 Bad Request\r\n"), Err(FrameError::Kind(b'H')));
    assert_eq!(of(b"AMQP\0\0\x09\x01"), Ok(()));
    assert!(of(b"AMQP\0\0\x09\x01AMQP\0\0\x09\x01").is_err());
    assert!(of(b"AMQP\x03\x01\0\0").is_err(), "of AMQP 1.0");
    assert!(of(&[frame(8, 0, &[]), b"AMQP\0\0\x09\x01".to_vec()].concat()).is_err());
    assert_eq!(of(&frame(8, 0, &[])), Ok(()));
    // queue.declare, which holds a table, and basic.deliver, which only a consumer gets.
    assert_eq!(of(&method(1, 50, 10, &[0; 20])), Err(FrameError::Method(50, 10)));
    assert_eq!(of(&method(1, 60, 60, &[0; 20])), Err(FrameError::Method(60, 60)));
    for wrong in [frame(1, 0, &[0, 10, 0]), method(0, 10, 10, &[0, 9, 0, 0, 0, 9]), {
        let mut unended = frame(8, 0, &[]);
        *unended.last_mut().unwrap() = 0;
        unended
    }] {
        assert!(matches!(of(&wrong), Err(FrameError::Malformed(_))), "{wrong:?}");
    }
    for properties in [&b"\x01a"[..], b"\x01a?", b"\x01aI\0\0", b"\x01aS\0\0\0\x09x"] {
        let refused = of(&start(properties, b""));
        assert!(matches!(refused, Err(FrameError::Malformed(_))), "{refused:?}: {properties:?}");
    }
}

/// An encoded value of a table or an array.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let fixed = |kinds: &'static [u8], size: usize| {
        let bytes = prop::collection::vec(any::<u8>(), size);
        (prop::sample::select(kinds), bytes).prop_map(|(kind, bytes)| [&[kind], &*bytes].concat())
    };
    let text = prop::collection::vec(any::<u8>(), 0..20)
        .prop_map(|bytes| [&b"S"[..], &*long(&bytes)].concat());
    let leaf = prop_oneof![
        fixed(b"V", 0),
        fixed(b"tbB", 1),
        fixed(b"sUu", 2),
        fixed(b"Iif", 4),
        fixed(b"D", 5),
        fixed(b"LldT", 8),
        text,
    ];
    leaf.prop_recursive(31, 64, 4, |inner| {
        let array = prop::collection::vec(inner.clone(), 0..4)
            .prop_map(|values| [&b"A"[..], &*long(&values.concat())].concat());
        prop_oneof![array, fields(inner).prop_map(|table| [&b"F"[..], &*long(&table)].concat())]
    })
}

fn fields(value: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let field = ("[a-z-]{0,8}", value).prop_map(|(name, value)| [short(&name), value].concat());
    prop::collection::vec(field, 0..4).prop_map(|fields| fields.concat())
}

/// Frames that a broker may send together.
fn part() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let message =
        (fields(value()), prop::collection::vec(1..50usize, 0..3)).prop_map(|(headers, bodies)| {
            let size = bodies.iter().sum::<usize>() as u64;
            let mut frames = vec![returned(1), header(1, size, &headers)];
            frames.extend(bodies.into_iter().map(|size| frame(3, 1, &vec![7; size])));
            frames
        });
    prop_oneof![
        fields(value()).prop_map(|properties| vec![start(&properties, b"en_US")]),
        any::<[u8; 8]>().prop_map(|tune| vec![method(0, 10, 30, &tune)]),
        Just(vec![method(0, 10, 41, &short(""))]),
        Just(vec![frame(8, 0, &[])]),
        any::<u64>().prop_map(|tag| vec![method(
            1,
            60,
            80,
            &[&tag.to_be_bytes()[..], &[1]].concat()
        )]),
        "[ -~]{0,99}".prop_map(|why| vec![method(0, 10, 60, &short(&why))]),
        message,
    ]
}

/// A stream that is received in pieces of these sizes.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    sizes: VecDeque<usize>,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let requested = self.sizes.pop_front().unwrap_or(usize::MAX);
        let size = requested.min(buffer.len()).min(self.bytes.len() - self.at);
        buffer[..size].copy_from_slice(&self.bytes[self.at..][..size]);
        self.at += size;
        Poll::Ready(Ok(size))
    }
}

fn read(bytes: Vec<u8>, sizes: Vec<usize>) -> Result<Vec<u8>, String> {
    let close_on_drop = CloseOnDrop::new();
    let pieces = Pieces { bytes, at: 0, sizes: sizes.into() };
    let mut stream = GuardedStream::new(pieces, guard(1_000, 1 << 20), &close_on_drop);
    let mut context = Context::from_waker(Waker::noop());
    let (mut out, mut buffer) = (Vec::new(), [0; 333]);
    loop {
        match Pin::new(&mut stream).poll_read(&mut context, &mut buffer) {
            Poll::Ready(Ok(0)) => return Ok(out),
            Poll::Ready(Ok(size)) => out.extend_from_slice(&buffer[..size]),
            Poll::Ready(Err(error)) => return Err(error.to_string()),
            Poll::Pending => panic!("the stream never blocks"),
        }
    }
}

#[test]
fn a_stream_ends_when_its_close_on_drop_is_dropped() {
    let close_on_drop = CloseOnDrop::new();
    let pieces = Pieces { bytes: frame(8, 0, &[]), at: 0, sizes: VecDeque::new() };
    let mut stream = GuardedStream::new(pieces, guard(0, 0), &close_on_drop);
    let mut context = Context::from_waker(Waker::noop());
    let mut read = || Pin::new(&mut stream).poll_read(&mut context, &mut [0; 4]);
    assert!(matches!(read(), Poll::Ready(Ok(4))));
    drop(close_on_drop);
    for _ in 0..2 {
        assert!(matches!(read(), Poll::Ready(Err(_))));
    }
}

proptest! {
    #[test]
    fn valid_streams_pass_unchanged(
        parts in prop::collection::vec(part(), 0..12),
        sizes in prop::collection::vec(1..64usize, 0..64),
    ) {
        let frames = parts.concat();
        prop_assume!(frames.iter().all(|frame| frame[0] != 2 || frame.len() < 4096));
        let stream = frames.concat();
        prop_assert_eq!(read(stream.clone(), sizes), Ok(stream.clone()));
        prop_assert_eq!(fuzz::parse(&stream), frames.len(), "the library parses it, too");
    }

    #[test]
    fn random_bytes_that_pass_are_within_the_depth_bound(
        data in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        fuzz::amqp(&data);
    }

    #[test]
    fn almost_valid_streams_that_pass_are_within_the_depth_bound(
        kinds in prop::collection::vec(prop::sample::select(&b"FA"[..]), 20..60),
        form in prop::sample::select(&[1_u8, 2, 4][..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut table = Vec::new();
        // The outermost is a table.
        let kinds = [&*kinds, b"F"].concat();
        for pair in kinds.windows(2) {
            let name = if pair[1] == b'F' { &b"\x01a"[..] } else { b"" };
            table = [name, &pair[..1], &long(&table)].concat();
        }
        // Without what `fuzz::amqp` adds: the header, the number of the method, and the end byte.
        let (whole, before) =
            if form == 1 { (start(&table, b""), 11) } else { (header(1, 0, &table), 7) };
        let mut content = whole[before..whole.len() - 1].to_vec();
        for (index, byte) in changes {
            *index.get_mut(&mut content) = byte;
        }
        fuzz::amqp(&[&[form, 7], &*content].concat());
    }
}
