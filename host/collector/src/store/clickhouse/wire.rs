//! ClickHouse's format RowBinary: values one after the other, without separators. All versions have it.

use hyper::body::Bytes;
use nephometer_model::Volume;

use crate::sample::SampleId;
use crate::store::StoreError;

/// Rows to insert.
#[derive(Default)]
pub(super) struct RowWriter(Vec<u8>);

impl RowWriter {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.fixed(&value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.fixed(&value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.fixed(&value.to_le_bytes())
    }

    pub(super) fn i64(&mut self, value: i64) -> &mut Self {
        self.fixed(&value.to_le_bytes())
    }

    /// A value of a type with a fixed length.
    pub(super) fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.blob(text.as_bytes())
    }

    pub(super) fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        let mut length = bytes.len();
        while length >= 0x80 {
            self.0.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        self.0.push(u8::try_from(length).unwrap_or(0));
        self.fixed(bytes)
    }

    /// A text that may be null.
    pub(super) fn optional(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            None => self.u8(1),
            Some(text) => self.u8(0).text(text),
        }
    }

    /// The columns `id` and `text`.
    pub(super) fn id(&mut self, id: &SampleId) -> &mut Self {
        let (bytes, text) = id_columns(id);
        self.fixed(&bytes).text(text)
    }

    /// The columns `form`, `whole` and `number`.
    pub(super) fn volume(&mut self, volume: Option<Volume>) -> &mut Self {
        let (form, whole, number) = match volume {
            None => (0, 0, 0.0),
            Some(Volume::Float(float)) => (2, 0, float),
            Some(Volume::Integer(whole)) => match i64::try_from(whole) {
                Ok(whole) => (1, whole, 0.0),
                // As with SQLite, more than 64 bits are kept as the nearest double.
                Err(_) => (2, 0, Volume::Integer(whole).as_f64()),
            },
        };
        self.u8(form).i64(whole).fixed(&number.to_le_bytes())
    }
}

/// The columns `id` and `text`: text that is no UUID has a part of its digest in `id`.
pub(super) fn id_columns(id: &SampleId) -> ([u8; 16], &str) {
    match id {
        SampleId::Uuid(uuid) => (*uuid.as_bytes(), ""),
        SampleId::Text(text) => {
            let digest = nephometer_proof::Digest::of(text.as_bytes());
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&digest.as_bytes()[..16]);
            (bytes, text)
        }
    }
}

/// The rows of an answer.
pub(super) struct RowReader<'s> {
    /// The URL of the server.
    server: &'s str,
    bytes: Bytes,
    at: usize,
}

impl<'s> RowReader<'s> {
    pub(super) fn new(server: &'s str, bytes: Bytes) -> Self {
        Self { server, bytes, at: 0 }
    }

    /// Whether there is another row.
    pub(super) fn has_row(&self) -> bool {
        self.at < self.bytes.len()
    }

    /// Something that this program has not asked for.
    fn damaged(&self, what: &str) -> StoreError {
        let what = format!("an answer cannot be read: {what}; check the version of the server");
        StoreError::Server { server: self.server.to_owned(), what }
    }

    fn take(&mut self, length: usize) -> Result<&[u8], StoreError> {
        let end = self.at.saturating_add(length);
        if end > self.bytes.len() {
            return Err(self.damaged("it ends within a row"));
        }
        let found = &self.bytes[self.at..end];
        self.at = end;
        Ok(found)
    }

    /// A value of a type with a fixed length.
    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let mut value = [0; N];
        value.copy_from_slice(self.take(N)?);
        Ok(value)
    }

    pub(super) fn u8(&mut self) -> Result<u8, StoreError> {
        Ok(self.fixed::<1>()?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, StoreError> {
        self.fixed().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, StoreError> {
        self.fixed().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, StoreError> {
        self.fixed().map(i64::from_le_bytes)
    }

    pub(super) fn f64(&mut self) -> Result<f64, StoreError> {
        self.fixed().map(f64::from_le_bytes)
    }

    pub(super) fn blob(&mut self) -> Result<&[u8], StoreError> {
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.u8()?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 56 {
                return Err(self.damaged("a length is too large"));
            }
        }
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        let text = String::from_utf8(self.blob()?.to_vec());
        text.map_err(|_| self.damaged("a text is not UTF-8"))
    }

    pub(super) fn boxed(&mut self) -> Result<Box<str>, StoreError> {
        self.text().map(String::into_boxed_str)
    }

    /// A text that may be null.
    pub(super) fn optional(&mut self) -> Result<Option<Box<str>>, StoreError> {
        if self.u8()? == 1 { Ok(None) } else { self.boxed().map(Some) }
    }

    /// The columns `id` and `text`.
    pub(super) fn id(&mut self) -> Result<SampleId, StoreError> {
        let bytes = self.fixed()?;
        let text = self.boxed()?;
        Ok(if text.is_empty() {
            SampleId::Uuid(uuid::Uuid::from_bytes(bytes))
        } else {
            SampleId::Text(text)
        })
    }

    /// The columns `form`, `whole` and `number`.
    pub(super) fn volume(&mut self) -> Result<Option<Volume>, StoreError> {
        let (form, whole, number) = (self.u8()?, self.i64()?, self.f64()?);
        Ok(match form {
            0 => None,
            1 => Some(Volume::Integer(whole.into())),
            _ => Some(Volume::Float(number)),
        })
    }
}

/// A text as a literal.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' | '\\' => quoted.extend(['\\', c]),
            '\0' => quoted.push_str("\\0"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// Bytes as an expression.
pub(super) fn hexed(bytes: &[u8]) -> String {
    format!("unhex('{}')", hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_lengths_are_varints() {
        assert_eq!(quoted(r"a'b\c"), r"'a\'b\\c'");
        let mut rows = RowWriter::default();
        rows.text(&"x".repeat(300)).optional(None).optional(Some("y"));
        assert_eq!(rows.bytes()[..3], [0xac, 0x02, b'x']);
        assert_eq!(rows.bytes()[302..], [1, 0, 1, b'y']);
        assert_eq!(id_columns(&SampleId::new("no uuid")).1, "no uuid");
    }
}
