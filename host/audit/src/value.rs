//! Values in JSON: numbers and null.

use std::fmt;

use nephometer_proof::ProvedValue;
use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

pub(crate) fn write_value<S: Serializer>(
    value: &ProvedValue,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        ProvedValue::Null => serializer.serialize_unit(),
        ProvedValue::Double(value) => serializer.serialize_f64(*value),
        ProvedValue::Integer(value) => match i64::try_from(*value) {
            Ok(value) => serializer.serialize_i64(value),
            Err(_) => serializer.serialize_i128(*value),
        },
    }
}

pub(crate) fn read_value<'de, D: Deserializer<'de>>(input: D) -> Result<ProvedValue, D::Error> {
    struct Number;
    impl Visitor<'_> for Number {
        type Value = ProvedValue;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number or null")
        }

        fn visit_unit<E: Error>(self) -> Result<ProvedValue, E> {
            Ok(ProvedValue::Null)
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<ProvedValue, E> {
            Ok(ProvedValue::Double(value))
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<ProvedValue, E> {
            Ok(ProvedValue::integer(value.into()))
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<ProvedValue, E> {
            Ok(ProvedValue::integer(value.into()))
        }
    }
    input.deserialize_any(Number)
}
