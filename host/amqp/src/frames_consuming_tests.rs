//! The frame guard of a consumer: what may be delivered, and what is refused.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_io::AsyncRead as _;

use crate::allowance::{Allowance, UnreadableMessage};
use crate::frame_error::FrameError;
use crate::frames::{FrameGuard, Purpose};
use crate::frames_tests::{guard_for, header, long, method, nested, short};
use crate::fuzz::frame;
use crate::stream::{CloseOnDrop, GuardedStream};
use nephometer_model::Bound;

fn consuming(messages: usize, bytes: usize) -> (FrameGuard, Arc<Allowance>) {
    guard_for(Purpose::Consuming, messages, bytes)
}

pub(crate) fn delivered(channel: u16, tag: u64) -> Vec<u8> {
    let texts = [short("ceilometer"), short("metering.sample")].concat();
    method(channel, 60, 60, &[&*short("consumer"), &tag.to_be_bytes(), &[0], &*texts].concat())
}

fn body(channel: u16, size: usize) -> Vec<u8> {
    frame(3, channel, &vec![0; size])
}

pub(crate) fn message(channel: u16, tag: u64, size: usize) -> Vec<u8> {
    let frames = [delivered(channel, tag), header(channel, size as u64, &[])].concat();
    if size == 0 { frames } else { [frames, body(channel, size)].concat() }
}

#[test]
fn messages_of_several_queues_may_overlap() {
    let (mut guard, _) = consuming(3, 1000);
    let overlapping = [
        delivered(1, 1),
        delivered(2, 1),
        header(2, 300, &[]),
        header(1, 400, &[]),
        body(1, 100),
        body(2, 300),
        message(3, 1, 0),
        body(1, 300),
    ];
    assert_eq!(guard.check(&overlapping.concat()), Ok(()));
    let (mut guard, _) = consuming(3, 1000);
    let wrong = [delivered(1, 1), delivered(1, 2)].concat();
    assert!(matches!(guard.check(&wrong), Err(FrameError::Malformed(_))));
}

#[test]
fn no_more_is_delivered_than_may_be_unacknowledged() {
    let more = |what| Err(FrameError::Delivered(what));
    // Nothing before a queue is consumed.
    assert_eq!(consuming(0, 1000).0.check(&message(1, 1, 0)), more("messages"));
    let (mut guard, allowance) = consuming(2, 1000);
    assert_eq!(guard.check(&[message(1, 1, 600), message(2, 1, 400)].concat()), Ok(()));
    allowance.add(1, 600);
    assert_eq!(guard.check(&message(1, 2, 600)), Ok(()));
    assert!(!allowance.is_exceeded());
    assert_eq!(guard.check(&message(1, 3, 0)), more("messages"));
    let (mut guard, allowance) = consuming(9, 1000);
    assert_eq!(guard.check(&[message(1, 1, 600), message(2, 1, 401)].concat()), more("bytes"));
    // It is not the message's fault: the next connection delivers fewer at once.
    assert!(allowance.is_exceeded());
    assert_eq!(allowance.unreadable(), None);
}

#[test]
fn a_message_with_an_invalid_header_is_reported() {
    let most = Bound::DeliveryHeader.size();
    let large = |size: usize| {
        let small = header(7, 0, &[&b"\x01aS"[..], &long(b"")].concat()).len() - 8;
        header(7, 0, &[&b"\x01aS"[..], &long(&vec![b'x'; size - small])].concat())
    };
    assert_eq!(consuming(1, 0).0.check(&[delivered(7, 9), large(most)].concat()), Ok(()));
    let vast = u64::try_from(Bound::Unacknowledged.size() + 1).unwrap();
    for invalid in [
        large(most + 1),
        large(Bound::FrameBytes.size() + 1)[..7].to_vec(),
        header(7, 0, &nested(b'F', 1_200)),
        header(7, vast, &[]),
    ] {
        let (mut guard, allowance) = consuming(1, 1000);
        let reason = guard.check(&[delivered(7, 9), invalid].concat()).unwrap_err();
        assert!(matches!(reason, FrameError::Bound(_)), "{reason:?}");
        let expected = UnreadableMessage { channel: 7, tag: 9, reason };
        assert_eq!(allowance.unreadable(), Some(expected));
    }
    // Nothing is reported of other frames.
    for other in [frame(9, 7, &[]), message(8, 1, 0), header(8, 0, &nested(b'F', 40))] {
        let (mut guard, allowance) = consuming(1, 1000);
        assert!(guard.check(&[delivered(7, 9), other].concat()).is_err());
        assert_eq!(allowance.unreadable(), None);
    }
}

/// The stream stays open until the peer closes it, so that the message can be refused. Frames before
/// it are passed on, and what follows is discarded.
#[test]
fn a_stream_is_discarded_after_an_invalid_header() {
    let (guard, allowance) = consuming(1, 1000);
    let head = [delivered(7, 9), header(7, 0, &nested(b'F', 40))].concat();
    let bytes = [head, vec![b'x'; 600_000]].concat();
    let close_on_drop = CloseOnDrop::new();
    let mut stream = GuardedStream::new(&bytes[..], guard, &close_on_drop);
    let mut context = Context::from_waker(Waker::noop());
    let mut read = || Pin::new(&mut stream).poll_read(&mut context, &mut [0; 4096]);
    let before = delivered(7, 9).len();
    assert!(matches!(read(), Poll::Ready(Ok(passed)) if passed == before));
    assert!(allowance.unreadable().is_some());
    // Not all at once: the library has to write.
    assert!(read().is_pending());
    assert!(read().is_pending());
    assert!(matches!(read(), Poll::Ready(Ok(0))));
    drop(close_on_drop);
    assert!(matches!(read(), Poll::Ready(Err(_))));
}

/// Once, three brokers that sent without end after a refusal kept two processors busy for ever, because the
/// collector read all of it until it closed the connection, and connected again.
#[test]
fn a_stream_that_is_discarded_without_end_is_cut_off() {
    let (guard, _) = consuming(1, 1000);
    let head = [delivered(7, 9), header(7, 0, &nested(b'F', 40))].concat();
    let bytes = [head, vec![b'x'; 40 << 20]].concat();
    let close_on_drop = CloseOnDrop::new();
    let mut stream = GuardedStream::new(&bytes[..], guard, &close_on_drop);
    let mut context = Context::from_waker(Waker::noop());
    let mut buffer = vec![0; 64 << 10];
    let mut reads = 0;
    let ended = loop {
        match Pin::new(&mut stream).poll_read(&mut context, &mut buffer) {
            Poll::Ready(Ok(0)) => break "all was read".to_owned(),
            Poll::Ready(Err(error)) => break error.to_string(),
            _ => reads += 1,
        }
    };
    assert!(ended.contains("(amqp_discarded_bytes)"), "{ended}");
    assert!(reads < 10, "{reads}");
}

#[test]
fn methods_of_the_other_purpose_are_rejected() {
    let refused = |class, method| Err(FrameError::Method(class, method));
    let of = |bytes: &[u8]| consuming(1, 1000).0.check(bytes);
    assert_eq!(of(&method(1, 60, 11, &[])), Ok(()));
    assert_eq!(of(&method(1, 60, 21, &short("consumer"))), Ok(()));
    assert_eq!(of(&method(1, 60, 80, &[0; 9])), refused(60, 80));
    assert_eq!(of(&method(1, 85, 11, &[])), refused(85, 11));
    assert_eq!(of(&method(1, 60, 50, &[0; 20])), refused(60, 50));
    // basic.get-ok: the collector never asks for one message.
    assert_eq!(of(&method(1, 60, 71, &[0; 20])), refused(60, 71));
    let publishing = |bytes: &[u8]| guard_for(Purpose::Publishing, 1, 1000).0.check(bytes);
    assert_eq!(publishing(&method(1, 60, 21, &short("consumer"))), refused(60, 21));
    assert_eq!(publishing(&method(1, 60, 30, &[0, 1])), refused(60, 30));
}

#[test]
fn cancellations_are_bounded() {
    let most = Bound::Unasked.size();
    let cancel = method(1, 60, 30, &[&*short("consumer"), &[0]].concat());
    let (mut guard, _) = consuming(0, 0);
    assert_eq!(guard.check(&cancel.repeat(most)), Ok(()));
    let refused = Err(FrameError::Bound(Bound::Unasked.check(most + 1).unwrap_err()));
    assert_eq!(guard.check(&cancel), refused);
}
