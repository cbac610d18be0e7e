//! Field tables and arrays of AMQP 0-9-1, as far as it takes to see how deep they are.
//!
//! The types and sizes are those of the AMQP library, which follows RabbitMQ's and not the
//! specification's where they differ. What it would read in another way than this module is refused:
//! a table passes only if it has been read to its very end.

use super::refusal::Refusal;
use nephometer_model::Bound;

/// The arguments of `connection.start`: two bytes of version, and the broker's properties.
pub(super) fn start(arguments: &[u8]) -> Result<(), Refusal> {
    let mut rest = Bytes(arguments);
    rest.take(2)?;
    values(rest.long()?, true, 1)
}

/// A content header. Gives the size of the body that follows.
pub(super) fn content_header(content: &[u8]) -> Result<u64, Refusal> {
    let mut rest = Bytes(content);
    // Class and weight.
    rest.take(4)?;
    let size = u64::from_be_bytes(rest.array()?);
    let flags = u16::from_be_bytes(rest.array()?);
    // In this order: the type of the content, its encoding, and the headers.
    for flag in [1 << 15, 1 << 14] {
        if flags & flag != 0 {
            rest.short()?;
        }
    }
    if flags & 1 << 13 != 0 {
        values(rest.long()?, true, 1)?;
    }
    Ok(size)
}

/// What is in a table, where values have names, or in an array.
fn values(content: &[u8], named: bool, depth: usize) -> Result<(), Refusal> {
    Bound::TableDepth.check(depth)?;
    let mut rest = Bytes(content);
    while !rest.0.is_empty() {
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
            b'F' => values(rest.long()?, true, depth + 1)?,
            b'A' => values(rest.long()?, false, depth + 1)?,
            _ => return Err(Refusal::Malformed("a value of an unknown type")),
        }
    }
    Ok(())
}

/// What has not been read yet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or(Refusal::Malformed("a value that is cut"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (taken, rest) =
            self.0.split_first_chunk().ok_or(Refusal::Malformed("a value that is cut"))?;
        self.0 = rest;
        Ok(*taken)
    }

    /// What has its length in a byte before it.
    fn short(&mut self) -> Result<&'a [u8], Refusal> {
        let [length] = self.array()?;
        self.take(usize::from(length))
    }

    /// What has its length in four bytes before it.
    fn long(&mut self) -> Result<&'a [u8], Refusal> {
        let length = u32::from_be_bytes(self.array()?);
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }
}
