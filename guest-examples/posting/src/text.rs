//! Samples in the text form that the host writes (`text-form.samples`).

use nephometer_guest::Failure;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The part of a sample's text that its columns do not have.
#[derive(Debug, Deserialize)]
pub struct SampleText<'a> {
    /// The value with all digits: the column has floats, and counters may exceed their precision.
    #[serde(borrow)]
    volume: &'a RawValue,
}

impl<'a> SampleText<'a> {
    /// The volume of a sample as it is written.
    ///
    /// # Errors
    /// Permanent if the text is not a sample.
    pub fn volume(text: &'a str) -> Result<&'a RawValue, Failure> {
        let sample = serde_json::from_str::<Self>(text);
        let malformed = |error| Failure::Permanent(format!("malformed sample text: {error}"));
        sample.map(|sample| sample.volume).map_err(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_keeps_every_digit() {
        for volume in ["9007199254740993", "0.1", "1e+16", "-0.0"] {
            let text =
                format!("{{\"name\": \"\\\"volume\\\": 5\", \"volume\": {volume}, \"a\": {{}}}}");
            assert_eq!(SampleText::volume(&text).map(RawValue::get), Ok(volume));
        }
        assert!(matches!(SampleText::volume("[]"), Err(Failure::Permanent(_))));
    }
}
