//! Measures the depth and the number of values of field tables and arrays of AMQP 0-9-1.
//!
//! The types and sizes are those of the AMQP library, which follows RabbitMQ where it differs from
//! the specification. A table that does not end exactly at its length is rejected, because the
//! library might read it differently.

use crate::frame_error::FrameError;
use nephometer_model::Bound;

/// Checks the arguments of `connection.start`: two bytes of version, then the broker's properties.
pub(crate) fn start(arguments: &[u8]) -> Result<(), FrameError> {
    let mut rest = Bytes(arguments);
    rest.take(2)?;
    values(rest.long()?, true, 1, &mut 0)
}

/// The delivery tag in the arguments of `basic.deliver`, which are behind the consumer's tag.
pub(crate) fn delivery_tag(arguments: &[u8]) -> Result<u64, FrameError> {
    let mut rest = Bytes(arguments);
    rest.short()?;
    rest.array().map(u64::from_be_bytes)
}

/// Checks a content header. Returns the size of the body that follows, in bytes.
pub(crate) fn content_header(content: &[u8]) -> Result<u64, FrameError> {
    let mut rest = Bytes(content);
    // Class and weight.
    rest.take(4)?;
    let size = u64::from_be_bytes(rest.array()?);
    let flags = u16::from_be_bytes(rest.array()?);
    // In this order: content type, content encoding, headers.
    for flag in [1 << 15, 1 << 14] {
        if flags & flag != 0 {
            rest.short()?;
        }
    }
    if flags & 1 << 13 != 0 {
        values(rest.long()?, true, 1, &mut 0)?;
    }
    Ok(size)
}

/// Checks the content of a table, where values are `named`, or of an array. A value of one byte
/// takes many in memory, so that they are counted, with those of the tables around it.
fn values(content: &[u8], named: bool, depth: usize, count: &mut usize) -> Result<(), FrameError> {
    Bound::TableDepth.check(depth)?;
    let mut rest = Bytes(content);
    while !rest.0.is_empty() {
        *count += 1;
        Bound::TableValues.check(*count)?;
        if named {
            rest.short()?;
        }
        let [kind] = rest.array()?;
        match kind {
            b'V' => {}
            b't' | b'b' | b'B' => _ = rest.take(1)?,
            b's' | b'U' | b'u' => _ = rest.take(2)?,
            b'I' | b'i' | b'f' => _ = rest.take(4)?,
            b'D' => _ = rest.take(5)?,
            b'L' | b'l' | b'd' | b'T' => _ = rest.take(8)?,
            b'S' | b'x' => _ = rest.long()?,
            b'F' => values(rest.long()?, true, depth + 1, count)?,
            b'A' => values(rest.long()?, false, depth + 1, count)?,
            _ => return Err(FrameError::Malformed("value of an unknown type")),
        }
    }
    Ok(())
}

/// The bytes that are not read yet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], FrameError> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or(FrameError::Malformed("truncated value"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (taken, rest) =
            self.0.split_first_chunk().ok_or(FrameError::Malformed("truncated value"))?;
        self.0 = rest;
        Ok(*taken)
    }

    /// Content preceded by its length in one byte.
    fn short(&mut self) -> Result<&'a [u8], FrameError> {
        let [length] = self.array()?;
        self.take(usize::from(length))
    }

    /// Content preceded by its length in four bytes.
    fn long(&mut self) -> Result<&'a [u8], FrameError> {
        let length = u32::from_be_bytes(self.array()?);
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }
}
