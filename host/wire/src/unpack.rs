//! Reads MessagePack, as Python's packers of all releases write it, into JSON values.

use nephometer_model::Bound;
use rmp::Marker;
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// Why bytes are not a message in MessagePack.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnpackError {
    /// The bytes end within a value.
    #[error("MessagePack ends within a value")]
    Truncated,
    /// A text or a key of a map is not UTF-8.
    #[error("MessagePack has a text that is not UTF-8")]
    Text,
    /// A value has no counterpart in JSON, such as an extension or infinity.
    #[error("MessagePack has {0}, which no sample has")]
    Kind(&'static str),
    /// Values are nested too deeply.
    #[error("{0}")]
    Depth(String),
}

/// Whether bytes begin as a map or a list in MessagePack, which no JSON text does.
pub fn is_packed(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| {
        matches!(
            Marker::from_u8(*first),
            Marker::FixMap(_)
                | Marker::Map16
                | Marker::Map32
                | Marker::FixArray(_)
                | Marker::Array16
                | Marker::Array32
        )
    })
}

/// Takes the first value off the bytes. Memory is used for what is there only, whatever lengths are
/// claimed.
///
/// # Errors
/// If there is no whole value, or one that JSON cannot hold.
pub fn unpack(bytes: &mut &[u8]) -> Result<Value, UnpackError> {
    value(bytes, 0)
}

fn value(bytes: &mut &[u8], depth: usize) -> Result<Value, UnpackError> {
    Bound::PackedDepth.check(depth).map_err(|error| UnpackError::Depth(error.to_string()))?;
    let [first] = take(bytes)?;
    Ok(match Marker::from_u8(first) {
        Marker::Null => Value::Null,
        Marker::False => Value::Bool(false),
        Marker::True => Value::Bool(true),
        Marker::FixPos(whole) => whole.into(),
        Marker::FixNeg(whole) => whole.into(),
        Marker::U8 => u8::from_be_bytes(take(bytes)?).into(),
        Marker::U16 => u16::from_be_bytes(take(bytes)?).into(),
        Marker::U32 => u32::from_be_bytes(take(bytes)?).into(),
        Marker::U64 => u64::from_be_bytes(take(bytes)?).into(),
        Marker::I8 => i8::from_be_bytes(take(bytes)?).into(),
        Marker::I16 => i16::from_be_bytes(take(bytes)?).into(),
        Marker::I32 => i32::from_be_bytes(take(bytes)?).into(),
        Marker::I64 => i64::from_be_bytes(take(bytes)?).into(),
        Marker::F32 => float(f32::from_be_bytes(take(bytes)?).into())?,
        Marker::F64 => float(f64::from_be_bytes(take(bytes)?))?,
        Marker::FixStr(length) => text(bytes, length.into())?.into(),
        Marker::Str8 | Marker::Bin8 => {
            let length = u8::from_be_bytes(take(bytes)?);
            text(bytes, length.into())?.into()
        }
        Marker::Str16 | Marker::Bin16 => {
            let length = u16::from_be_bytes(take(bytes)?);
            text(bytes, length.into())?.into()
        }
        Marker::Str32 | Marker::Bin32 => {
            let length = u32::from_be_bytes(take(bytes)?);
            text(bytes, length)?.into()
        }
        Marker::FixArray(length) => list(bytes, length.into(), depth)?,
        Marker::Array16 => {
            let length = u16::from_be_bytes(take(bytes)?);
            list(bytes, length.into(), depth)?
        }
        Marker::Array32 => {
            let length = u32::from_be_bytes(take(bytes)?);
            list(bytes, length, depth)?
        }
        Marker::FixMap(length) => map(bytes, length.into(), depth)?,
        Marker::Map16 => {
            let length = u16::from_be_bytes(take(bytes)?);
            map(bytes, length.into(), depth)?
        }
        Marker::Map32 => {
            let length = u32::from_be_bytes(take(bytes)?);
            map(bytes, length, depth)?
        }
        _ => return Err(UnpackError::Kind("an extension")),
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], UnpackError> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(UnpackError::Truncated)?;
    *bytes = rest;
    Ok(*taken)
}

fn float(float: f64) -> Result<Value, UnpackError> {
    let number = Number::from_f64(float).ok_or(UnpackError::Kind("an infinite number"))?;
    Ok(Value::Number(number))
}

fn text<'a>(bytes: &mut &'a [u8], length: u32) -> Result<&'a str, UnpackError> {
    let length = usize::try_from(length).map_err(|_| UnpackError::Truncated)?;
    let (text, rest) = bytes.split_at_checked(length).ok_or(UnpackError::Truncated)?;
    *bytes = rest;
    std::str::from_utf8(text).map_err(|_| UnpackError::Text)
}

fn list(bytes: &mut &[u8], length: u32, depth: usize) -> Result<Value, UnpackError> {
    (0..length).map(|_| value(bytes, depth + 1)).collect()
}

fn map(bytes: &mut &[u8], length: u32, depth: usize) -> Result<Value, UnpackError> {
    let mut map = Map::new();
    for _ in 0..length {
        let Value::String(key) = value(bytes, depth + 1)? else {
            return Err(UnpackError::Kind("a key that is not text"));
        };
        map.insert(key, value(bytes, depth + 1)?);
    }
    Ok(Value::Object(map))
}

#[cfg(test)]
mod tests {
    use nephometer_model::Release;
    use serde_json::json;

    use super::*;
    use crate::msgpack::Strings;

    #[test]
    fn what_the_packers_write_is_read() {
        let long = "x".repeat(100);
        let sample = json!({"a": null, "b": [true, false, -1, -200, 70_000, -70_000, 1_i64 << 40],
            "c": {"é": long, "list": vec![7; 20]}, "d": 1.5, "e": u64::MAX, "f": i64::MIN});
        for release in [Release::Liberty, Release::Zed, Release::Current] {
            let mut bytes = Vec::new();
            Strings::of(release).value(&mut bytes, &sample);
            assert!(is_packed(&bytes));
            bytes.push(0xc0);
            let mut rest = &bytes[..];
            assert_eq!(unpack(&mut rest), Ok(sample.clone()));
            assert_eq!(unpack(&mut rest), Ok(Value::Null));
            assert_eq!(unpack(&mut rest), Err(UnpackError::Truncated));
        }
        assert!(!is_packed(b"{\"a\": 1}") && !is_packed(b" [") && !is_packed(b""));
    }

    #[test]
    fn what_no_sample_has_is_refused() {
        for (bytes, expected) in [
            (&b"\x81"[..], UnpackError::Truncated),
            (b"\xdf\xff\xff\xff\xff", UnpackError::Truncated),
            (b"\xdb\xff\xff\xff\xffx", UnpackError::Truncated),
            (b"\xa1\xff", UnpackError::Text),
            (b"\x81\x01\x01", UnpackError::Kind("a key that is not text")),
            (b"\xd4\x01\x01", UnpackError::Kind("an extension")),
            (b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", UnpackError::Kind("an infinite number")),
        ] {
            assert_eq!(unpack(&mut &bytes[..]), Err(expected));
        }
        let deep = unpack(&mut &[0x91; 100][..]).unwrap_err().to_string();
        assert!(deep.contains("messagepack_depth"), "{deep}");
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                drop(unpack(&mut &[first, second, 0x91, 0xa1, b'x', 0xff][..]));
            }
        }
    }
}
