//! Entry points of the fuzz targets in `host/fuzz`; tests compile them, too.

use super::{ReadingBuilder, StatValue, describe};

/// Parses any text as domain XML.
pub fn xml(data: &[u8]) {
    if let Ok(domain) = describe(&String::from_utf8_lossy(data)) {
        assert!(domain.disks.len() + domain.nics.len() <= data.len());
    }
}

/// Builds a reading from any keys and values: one pair per line, whose last byte selects the kind
/// of value.
pub fn statistics(data: &[u8]) {
    let mut builder = ReadingBuilder::new(true);
    for line in data.split(|byte| *byte == b'\n') {
        let Some((kind, line)) = line.split_last() else { continue };
        let text = String::from_utf8_lossy(line);
        let (key, value) = text.split_once('=').unwrap_or((&text, ""));
        let value = match kind % 6 {
            0 => StatValue::Unsigned(value.len() as u64),
            1 => StatValue::Signed(-1),
            2 => StatValue::Float(f64::NAN),
            3 => StatValue::Bool(true),
            4 => StatValue::Other,
            _ => StatValue::Text(value),
        };
        // Errors are expected; a panic is not.
        let _rejected = builder.add(key, value);
    }
    drop(builder.finish());
}
