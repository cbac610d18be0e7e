//! Reads the fields of a message, without knowing its description.

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// An integer, a boolean or an `enum`.
    Number(u64),
    /// A string, a message or bytes.
    Bytes(&'a [u8]),
    /// A field of four or eight bytes.
    Fixed(&'a [u8]),
}

/// Iterates over field numbers and values. Ends at the first byte that is not of a message: what a
/// receiver returns may be cut, or may be something else.
pub fn fields(message: &[u8]) -> impl Iterator<Item = (u64, Field<'_>)> {
    let mut rest = message;
    std::iter::from_fn(move || next(&mut rest))
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => Field::Number(varint(rest)?),
        1 => Field::Fixed(rest.split_off(..8)?),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Field::Bytes(rest.split_off(..length)?)
        }
        5 => Field::Fixed(rest.split_off(..4)?),
        _ => return None,
    };
    Some((key >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    #[test]
    fn fields_are_read_back() {
        let mut message = Message::new();
        message.int64(1, -3);
        message.text(2, "why");
        message.double(3, 0.5);
        let bytes = message.into_bytes();
        let read: Vec<_> = fields(&bytes).collect();
        assert_eq!(read[0], (1, Field::Number((-3i64).cast_unsigned())));
        assert_eq!(read[1], (2, Field::Bytes(b"why")));
        assert_eq!(read[2], (3, Field::Fixed(&0.5f64.to_le_bytes())));
    }

    #[test]
    fn reading_ends_where_the_message_is_damaged() {
        for damaged in [
            &b"\x0a\x05ab"[..],
            b"\x08",
            b"\x0f",
            b"\x09\0",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(fields(damaged).count(), 0, "{damaged:?}");
        }
        assert_eq!(fields(&[0xff; 32]).count(), 0);
    }
}
