//! The headers of a message.

use lapin::types::{AMQPValue, FieldTable};

/// The headers of a message that is published or delivered.
#[derive(Debug, Clone, Default)]
pub struct MessageHeaders(FieldTable);

impl MessageHeaders {
    /// Sets a header that is a text.
    pub fn set_text(&mut self, name: &str, text: &str) {
        self.0.insert(name.into(), AMQPValue::LongString(text.into()));
    }

    /// Sets a header that is a number.
    pub fn set_number(&mut self, name: &str, number: i64) {
        self.0.insert(name.into(), AMQPValue::LongLongInt(number));
    }

    /// A header that is a text; `None` without it, or if it is something else.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.inner().get(name)? {
            AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
            _ => None,
        }
    }

    /// A header that is a number of eight bytes; `None` without it, or if it is something else.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.0.inner().get(name)? {
            AMQPValue::LongLongInt(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn of(table: &FieldTable) -> Self {
        Self(table.clone())
    }

    pub(crate) fn into_table(self) -> FieldTable {
        self.0
    }
}
