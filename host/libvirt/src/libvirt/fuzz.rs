//! What the fuzz targets in `host/fuzz` call; only they see it.

use super::{Builder, Value, describe};

/// Any text as the XML of a domain.
pub fn xml(data: &[u8]) {
    if let Ok(domain) = describe(&String::from_utf8_lossy(data)) {
        assert!(domain.disks.len() + domain.nics.len() <= data.len());
    }
}

/// Any keys and values as statistics: a line each, its last byte says of which kind the value is.
pub fn statistics(data: &[u8]) {
    let mut builder = Builder::new(true);
    for line in data.split(|byte| *byte == b'\n') {
        let Some((kind, line)) = line.split_last() else { continue };
        let text = String::from_utf8_lossy(line);
        let (key, value) = text.split_once('=').unwrap_or((&text, ""));
        let value = match kind % 6 {
            0 => Value::Unsigned(value.len() as u64),
            1 => Value::Signed(-1),
            2 => Value::Float(f64::NAN),
            3 => Value::Bool(true),
            4 => Value::Other,
            _ => Value::Text(value),
        };
        // What is no number is refused, which is all that is asked.
        let _refused = builder.add(key, value);
    }
    drop(builder.finish());
}
