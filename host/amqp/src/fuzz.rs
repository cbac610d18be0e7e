//! The body of the fuzz target `amqp`: whatever a broker sends, the library parses nothing that is
//! nested deeper than the bound. The unit tests call it, too.

use std::sync::Arc;

use amq_protocol::frame::{AMQPFrame, parse_frame};
use amq_protocol::protocol::{AMQPClass, basic, connection, exchange, queue};
use amq_protocol::types::{AMQPValue, FieldTable};

use crate::allowance::Allowance;
use crate::frames::{FrameGuard, Purpose};
use nephometer_model::Bound;

/// Checks a stream of any bytes, cut anywhere. The first byte selects what the others are: a
/// stream, the arguments of `connection.start`, or the content header of a message that is returned
/// or delivered. The second byte is the size of the pieces.
pub fn amqp(data: &[u8]) {
    let [form, cut, data @ ..] = data else { return };
    let purpose = if form % 5 < 3 { Purpose::Publishing } else { Purpose::Consuming };
    let stream = match form % 5 {
        0 | 3 => data.to_vec(),
        1 => frame(1, 0, &[&[0, 10, 0, 10], data].concat()),
        2 => {
            let returned = frame(1, 1, &[0, 60, 0, 50, 1, 56, 0, 0, 0]);
            [returned, frame(2, 1, data)].concat()
        }
        _ => {
            let delivered = [&[0, 60, 0, 60, 0][..], &[0; 8], &[0, 0, 0]].concat();
            [frame(1, 1, &delivered), frame(2, 1, data)].concat()
        }
    };
    let passed = passed(purpose, &stream, usize::from(*cut).max(1));
    assert!(stream.starts_with(&passed));
    parse(&passed);
}

/// A frame of AMQP 0-9-1.
pub(crate) fn frame(kind: u8, channel: u16, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend(channel.to_be_bytes());
    frame.extend(u32::try_from(content.len()).expect("a small frame").to_be_bytes());
    frame.extend(content);
    frame.push(0xce);
    frame
}

/// The part of a stream, received in pieces, that is passed to the library.
fn passed(purpose: Purpose, stream: &[u8], piece: usize) -> Vec<u8> {
    let allowance = Arc::new(Allowance::default());
    allowance.set(100, 1 << 20);
    let mut guard = FrameGuard::new(Bound::FrameBytes.size(), purpose, allowance);
    let mut passed = Vec::new();
    for piece in stream.chunks(piece) {
        if guard.check(piece).is_err() {
            break;
        }
        passed.extend_from_slice(piece);
    }
    passed
}

/// Parses frames as the library does. Returns their number.
pub(crate) fn parse(mut bytes: &[u8]) -> usize {
    let mut frames = 0;
    // The library ends the connection at the first frame that it cannot parse.
    while let Ok((rest, frame)) = parse_frame(bytes) {
        check(&frame);
        frames += 1;
        bytes = rest;
    }
    frames
}

fn check(frame: &AMQPFrame) {
    let table = match frame {
        AMQPFrame::Method(_, AMQPClass::Connection(connection::AMQPMethod::Start(start))) => {
            Some(&start.server_properties)
        }
        AMQPFrame::Header(_, header) => header.properties.headers().as_ref(),
        AMQPFrame::Method(_, method) => {
            assert!(!holds_tables(method), "{method:?}");
            None
        }
        _ => None,
    };
    if let Some(table) = table {
        assert!(depth_of_table(table) <= Bound::TableDepth.size(), "{table:?}");
    }
}

/// Other methods with field tables. No broker sends them to a client.
fn holds_tables(method: &AMQPClass) -> bool {
    matches!(
        method,
        AMQPClass::Connection(connection::AMQPMethod::StartOk(_))
            | AMQPClass::Exchange(
                exchange::AMQPMethod::Declare(_)
                    | exchange::AMQPMethod::Bind(_)
                    | exchange::AMQPMethod::Unbind(_)
            )
            | AMQPClass::Queue(
                queue::AMQPMethod::Declare(_)
                    | queue::AMQPMethod::Bind(_)
                    | queue::AMQPMethod::Unbind(_)
            )
            | AMQPClass::Basic(basic::AMQPMethod::Consume(_))
    )
}

fn depth_of_table(table: &FieldTable) -> usize {
    1 + table.inner().values().map(depth).max().unwrap_or(0)
}

fn depth(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::FieldTable(table) => depth_of_table(table),
        AMQPValue::FieldArray(array) => 1 + array.as_slice().iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
