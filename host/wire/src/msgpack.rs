//! MessagePack in the encoding of Python's packer: integers in their shortest form, floats as
//! doubles.

use rmp::Marker;
use rmp::encode::{
    RmpWrite as _, write_array_len, write_bool, write_f64, write_map_len, write_nil, write_sint,
    write_str_len, write_uint,
};
use serde_json::{Map, Value};

use nephometer_model::{Release, Volume};

const WRITING: &str = "a vector takes every write";

/// The encoding of strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strings {
    /// With the type for strings of up to 255 bytes, which was added together with binary data.
    Current,
    /// Without that type, which readers from before its introduction reject.
    Old,
}

impl Strings {
    /// The encoding of a release.
    pub(crate) fn of(release: Release) -> Self {
        if release == Release::Liberty { Self::Old } else { Self::Current }
    }

    /// Appends any value.
    pub(crate) fn value(self, out: &mut Vec<u8>, value: &Value) {
        match value {
            Value::Null => none(out),
            Value::Bool(truth) => write_bool(out, *truth).expect(WRITING),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(whole), ..) => volume(out, Volume::Integer(whole.into())),
                (_, Some(whole), _) => volume(out, Volume::Integer(whole.into())),
                (.., float) => self::float(out, float.unwrap_or(f64::NAN)),
            },
            Value::String(text) => self.string(out, text),
            Value::Array(items) => {
                write_array_len(out, length(items.len())).expect(WRITING);
                for item in items {
                    self.value(out, item);
                }
            }
            Value::Object(map) => self.map(out, map),
        }
    }

    /// Appends a dictionary.
    pub(crate) fn map(self, out: &mut Vec<u8>, map: &Map<String, Value>) {
        write_map_len(out, length(map.len())).expect(WRITING);
        for (key, value) in map {
            self.string(out, key);
            self.value(out, value);
        }
    }

    /// Appends a string.
    pub(crate) fn string(self, out: &mut Vec<u8>, text: &str) {
        match u16::try_from(text.len()) {
            Ok(short @ 32..256) if self == Self::Old => {
                out.push(Marker::Str16.to_u8());
                out.extend_from_slice(&short.to_be_bytes());
            }
            _ => _ = write_str_len(out, length(text.len())).expect(WRITING),
        }
        out.write_bytes(text.as_bytes()).expect(WRITING);
    }
}

/// Appends `nil`.
pub(crate) fn none(out: &mut Vec<u8>) {
    write_nil(out).expect(WRITING);
}

/// Appends a float, always as a double.
pub(crate) fn float(out: &mut Vec<u8>, value: f64) {
    write_f64(out, value).expect(WRITING);
}

/// Appends a volume, converted by [`fitting`].
pub(crate) fn volume(out: &mut Vec<u8>, volume: Volume) {
    match fitting(volume) {
        Volume::Float(value) => float(out, value),
        Volume::Integer(whole) => match (u64::try_from(whole), i64::try_from(whole)) {
            (Ok(whole), _) => _ = write_uint(out, whole).expect(WRITING),
            (_, Ok(whole)) => _ = write_sint(out, whole).expect(WRITING),
            _ => unreachable!("what fits has at most 64 bits"),
        },
    }
}

/// Converts an integer of more than 64 bits, which MessagePack cannot represent, to the nearest
/// double. The signature must be computed over the converted value. Python's packer rejects such
/// integers.
pub(crate) fn fitting(volume: Volume) -> Volume {
    match volume {
        Volume::Integer(whole)
            if i64::try_from(whole).is_err() && u64::try_from(whole).is_err() =>
        {
            Volume::Float(volume.as_f64())
        }
        fits => fits,
    }
}

/// Inserts the header of a map whose entries begin at `start`.
pub(crate) fn close_map(out: &mut Vec<u8>, start: usize, entries: u32) {
    let mut header = Vec::with_capacity(3);
    write_map_len(&mut header, entries).expect(WRITING);
    out.splice(start..start, header);
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("nothing in a sample has gigabytes")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hex(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        out.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn numbers_take_pythons_shortest_form() {
        for (whole, expected) in [
            (0, "00"),
            (127, "7f"),
            (128, "cc80"),
            (255, "ccff"),
            (256, "cd0100"),
            (65_535, "cdffff"),
            (65_536, "ce00010000"),
            (i128::from(u32::MAX), "ceffffffff"),
            (i128::from(u32::MAX) + 1, "cf0000000100000000"),
            (i128::from(u64::MAX), "cfffffffffffffffff"),
            (-1, "ff"),
            (-32, "e0"),
            (-33, "d0df"),
            (-128, "d080"),
            (-129, "d1ff7f"),
            (-32_768, "d18000"),
            (-32_769, "d2ffff7fff"),
            (i128::from(i32::MIN), "d280000000"),
            (i128::from(i32::MIN) - 1, "d3ffffffff7fffffff"),
            (i128::from(i64::MIN), "d38000000000000000"),
            // More than 64 bits: a double.
            (i128::from(u64::MAX) + 1, "cb43f0000000000000"),
            (i128::from(i64::MIN) - 1, "cbc3e0000000000000"),
        ] {
            assert_eq!(hex(|out| volume(out, Volume::Integer(whole))), expected, "{whole}");
        }
        assert_eq!(hex(|out| volume(out, Volume::Float(1.0))), "cb3ff0000000000000");
    }

    #[test]
    fn values_within_metadata_keep_their_kinds() {
        let value = json!({"a": [1, 1.0, -1, null, true, false], "é": {}, "u": u64::MAX});
        let expected = "83a1619601cb3ff0000000000000ffc0c3c2a2c3a980a175cfffffffffffffffff";
        assert_eq!(hex(|out| Strings::Current.value(out, &value)), expected);
    }

    #[test]
    fn strings_are_those_of_the_release() {
        for (length, current, old) in [
            (0, "a0", "a0"),
            (31, "bf", "bf"),
            (32, "d920", "da0020"),
            (255, "d9ff", "da00ff"),
            (256, "da0100", "da0100"),
            (65_535, "daffff", "daffff"),
            (65_536, "db00010000", "db00010000"),
        ] {
            let text = "x".repeat(length);
            for (strings, header) in [(Strings::Current, current), (Strings::Old, old)] {
                let expected = format!("{header}{}", "78".repeat(length));
                assert_eq!(hex(|out| strings.string(out, &text)), expected, "{length}");
            }
        }
        assert_eq!(Strings::of(Release::Liberty), Strings::Old);
        assert_eq!(Strings::of(Release::Zed), Strings::Current);
    }
}
