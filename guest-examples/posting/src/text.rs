//! Samples as the host writes them.

use nephometer_guest::Failure;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What is needed of a sample's text (`text-form.samples`) beside its columns.
#[derive(Debug, Deserialize)]
pub struct SampleText<'a> {
    /// The value, digit by digit: columns have floats, and counters outgrow these.
    #[serde(borrow)]
    volume: &'a RawValue,
}

impl<'a> SampleText<'a> {
    /// The volume of a text, as it is written there.
    ///
    /// # Errors
    /// If the text is no sample: the envelope cannot be delivered.
    pub fn volume(text: &'a str) -> Result<&'a RawValue, Failure> {
        let sample = serde_json::from_str::<Self>(text);
        let wrong = |error| Failure::Permanent(format!("the text of a sample is none: {error}"));
        sample.map(|sample| sample.volume).map_err(wrong)
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
