//! Messages of Protocol Buffers, for publishers that send a handful of them: [`Message`] writes,
//! [`fields`] reads the small ones that receivers return.
//!
//! Field numbers come from the description of each protocol. As in proto3, a field with its default
//! value is left out, except in `oneof` groups, where the presence of a field has a meaning: their
//! methods end in `_always`.

mod read;

pub use read::{Field, fields};

/// How a field is stored, the last three bits of its key.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;

/// A message that is being written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Its bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Whether it has no fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A `string`.
    pub fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    /// A `string` of a `oneof`, or an empty one in a repeated field.
    pub fn text_always(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    /// A message within the message, which may be empty.
    pub fn message(&mut self, field: u32, message: &Self) {
        self.bytes(field, &message.0);
    }

    /// A `double`. Minus zero is not the default.
    pub fn double(&mut self, field: u32, value: f64) {
        if value.to_bits() != 0 {
            self.double_always(field, value);
        }
    }

    /// A `double` of a `oneof`.
    pub fn double_always(&mut self, field: u32, value: f64) {
        self.fixed(field, value.to_bits());
    }

    /// A `fixed64`.
    pub fn fixed64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.fixed(field, value);
        }
    }

    /// An `sfixed64` of a `oneof`.
    pub fn sfixed64_always(&mut self, field: u32, value: i64) {
        self.fixed(field, value.cast_unsigned());
    }

    /// An `int64`: negative numbers take ten bytes.
    pub fn int64(&mut self, field: u32, value: i64) {
        if value != 0 {
            self.key(field, VARINT);
            self.varint(value.cast_unsigned());
        }
    }

    /// An `enum`.
    pub fn choice(&mut self, field: u32, value: u8) {
        self.int64(field, i64::from(value));
    }

    /// A `bool`.
    pub fn flag(&mut self, field: u32, value: bool) {
        self.int64(field, i64::from(value));
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn fixed(&mut self, field: u32, bits: u64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&bits.to_le_bytes());
    }

    fn key(&mut self, field: u32, stored: u8) {
        self.varint(u64::from(field) << 3 | u64::from(stored));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The first and the second are the examples of the documentation of the encoding.
    #[test]
    fn fields_are_encoded_as_documented() {
        let of = |write: &dyn Fn(&mut Message)| {
            let mut message = Message::new();
            write(&mut message);
            message.into_bytes()
        };
        assert_eq!(of(&|one| one.int64(1, 150)), [0x08, 0x96, 0x01]);
        assert_eq!(of(&|one| one.text(2, "testing")), *b"\x12\x07testing");
        assert_eq!(of(&|one| one.double(1, 1.5)), *b"\x09\0\0\0\0\0\0\xf8\x3f");
        assert_eq!(of(&|one| one.fixed64(3, 258)), *b"\x19\x02\x01\0\0\0\0\0\0");
        assert_eq!(of(&|one| one.flag(3, true)), [0x18, 1]);
        assert_eq!(
            of(&|one| one.int64(16, -1)),
            *b"\x80\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
        );
        let nested = of(&|one| {
            let mut inner = Message::new();
            inner.choice(1, 2);
            one.message(3, &inner);
        });
        assert_eq!(nested, [0x1a, 2, 8, 2]);
    }

    #[test]
    fn defaults_are_left_out_unless_they_mean_something() {
        let mut message = Message::new();
        message.text(1, "");
        message.double(2, 0.0);
        message.fixed64(3, 0);
        message.int64(4, 0);
        message.flag(5, false);
        assert!(message.is_empty());
        message.text_always(1, "");
        message.double(2, -0.0);
        message.double_always(3, 0.0);
        message.sfixed64_always(4, 0);
        assert_eq!(message.into_bytes().len(), 2 + 9 + 9 + 9);
    }
}
