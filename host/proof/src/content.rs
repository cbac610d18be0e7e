//! What a batch contains of each project: a number of samples and a digest over them.
//!
//! A checkpoint has these, so that the samples of one project can be proved without the messages, and
//! without the samples of others.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::Digest;

/// What one batch contains of one project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectContent {
    /// The project, as [`Digest::of_project`].
    pub project: Digest,
    /// Number of samples.
    pub samples: u64,
    /// SHA-256 over all of them; see [`digest_samples`].
    pub digest: Digest,
}

/// What is proved of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProvedSample<'a> {
    /// `message_id`, in the form in which it is sent.
    pub id: &'a str,
    /// The meter's name.
    pub meter: &'a str,
    /// The meter's unit.
    pub unit: &'a str,
    /// `gauge`, `delta` or `cumulative`.
    pub kind: &'a str,
    /// The resource's id.
    pub resource: &'a str,
    /// Microseconds since the epoch.
    pub time: i64,
    /// The value.
    pub value: ProvedValue,
}

/// A value, so that 1 and 1.0 are the same one: receivers may store either.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ProvedValue {
    /// JSON's `null`.
    Null,
    /// A double, or an integer that a double can represent.
    Double(f64),
    /// Any other integer.
    Integer(i128),
}

impl ProvedValue {
    /// The value of an integer.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the conversion back decides whether a double can represent it"
    )]
    pub fn integer(value: i128) -> Self {
        let double = value as f64;
        if double as i128 == value && value != i128::MAX {
            Self::Double(double)
        } else {
            Self::Integer(value)
        }
    }

    fn append(self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0),
            Self::Double(value) => {
                out.push(1);
                out.extend_from_slice(&value.to_be_bytes());
            }
            Self::Integer(value) => {
                out.push(2);
                append_text(out, &value.to_string());
            }
        }
    }
}

impl ProvedSample<'_> {
    fn append(&self, out: &mut Vec<u8>) {
        for text in [self.id, self.meter, self.unit, self.kind, self.resource] {
            append_text(out, text);
        }
        out.extend_from_slice(&self.time.to_be_bytes());
        self.value.append(out);
    }
}

/// A text: the number of its bytes as 4 bytes (big-endian), and the bytes of its UTF-8.
fn append_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

impl Digest {
    /// A project under another name: SHA-256 over `nephometer project` and its id, which is empty for
    /// samples without one. Who knows the id finds it; others learn nothing of it.
    pub fn of_project(id: &str) -> Self {
        Self::hash(&[b"nephometer project", id.as_bytes()])
    }
}

/// The digest of some samples, in the order of their ids: SHA-256 over id, meter, unit, kind and
/// resource (each a length of 4 bytes and UTF-8), the time (8 bytes) and the value (a byte 1 and the
/// 8 bytes of the double; a byte 2 and the decimal digits, as a text, of an integer that a double
/// cannot represent; a byte 0 for `null`). Numbers are big-endian.
///
/// ```
/// # use nephometer_proof::{ProvedSample, ProvedValue, digest_samples};
/// let sample = |id, value| ProvedSample {
///     id,
///     meter: "cpu",
///     unit: "ns",
///     kind: "cumulative",
///     resource: "a",
///     time: 1_764_000_000_000_000,
///     value: ProvedValue::integer(value),
/// };
/// let mut samples = [sample("2", 7), sample("1", 6)];
/// let digest = digest_samples(&mut samples);
/// assert_eq!(digest, digest_samples(&mut [sample("1", 6), sample("2", 7)]));
/// assert_ne!(digest, digest_samples(&mut [sample("1", 6), sample("2", 8)]));
/// ```
pub fn digest_samples(samples: &mut [ProvedSample<'_>]) -> Digest {
    // Equal ids come from other senders only; their order must not depend on the order of arrival.
    samples.sort_by(|one, other| one.id.cmp(other.id).then_with(|| tie(one, other)));
    let mut bytes = Vec::with_capacity(samples.len() * 160);
    samples.iter().for_each(|sample| sample.append(&mut bytes));
    Digest::of(&bytes)
}

fn tie(one: &ProvedSample<'_>, other: &ProvedSample<'_>) -> Ordering {
    let bytes = |sample: &ProvedSample<'_>| {
        let mut bytes = Vec::new();
        sample.append(&mut bytes);
        bytes
    };
    bytes(one).cmp(&bytes(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: ProvedValue) -> ProvedSample<'static> {
        ProvedSample {
            id: "8b0c1d3e-0000-4000-8000-000000000001",
            meter: "cpu",
            unit: "ns",
            kind: "cumulative",
            resource: "é",
            time: 1_764_000_000_123_456,
            value,
        }
    }

    // Auditors compute these with other programs: a change of the form breaks every proof.
    #[test]
    fn the_form_is_fixed() {
        let digest = |value| digest_samples(&mut [sample(value)]).to_string();
        assert_eq!(
            [
                digest(ProvedValue::Double(1.5)),
                digest(ProvedValue::Null),
                digest(ProvedValue::integer((1 << 53) + 1)),
                Digest::of_project("p").to_string(),
            ],
            [
                "3b0c5169975cdad11e9ab2c8f604f1c5c2c501e429f6dbe98d54df3a60a73b51",
                "ee1e27958bfffb6cd1d762c4a6a11d98ce1c095f29567bf2dd797d20912c9393",
                "917f5b042872c6f4ef12681072e292a15f543477a1d705a8442b66ee1d4f6873",
                "26b66f5fe34f88a1d8999a1c27912c508fae5e7dc5868349ddfb5cd31fe56a5a",
            ]
        );
    }

    #[test]
    fn an_integer_is_the_double_that_represents_it() {
        assert_eq!(ProvedValue::integer(1 << 60), ProvedValue::Double(2f64.powi(60)));
        for inexact in [(1 << 53) + 1, i128::from(u64::MAX), i128::MAX, i128::MIN + 1] {
            assert_eq!(ProvedValue::integer(inexact), ProvedValue::Integer(inexact));
        }
    }
}
