//! The records in a stream: what the agent states about itself, how far the stream has come, and
//! which messages it has dropped.
//!
//! A record is signed as the very text that is sent, so that no receiver has to normalise JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::{Digest, KeyId, ProjectContent, PublicKey, SigningKey};

/// A record of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// The configuration that the messages after it were made with.
    Statement(Box<Statement>),
    /// The digest of the stream up to one message.
    Checkpoint(Checkpoint),
    /// Messages and samples that the agent has dropped.
    Drops(Drops),
}

/// How far a stream has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The stream.
    pub stream: Uuid,
    /// The number of the message before this record.
    pub sequence: u64,
    /// The digest of the stream up to that message.
    pub digest: Digest,
    /// The start of the polling cycle, ISO 8601, UTC.
    pub time: String,
    /// What the batch before it contains; `None` in records from before it was stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchState>,
}

/// The batch that ends with a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchState {
    /// The number of its first message, also if that is a record. A receiver that has a checkpoint for
    /// every number lacks none.
    pub first: u64,
    /// The statement that it was made with, as [`Record::digest`].
    pub statement: Digest,
    /// What it contains, by project.
    pub contents: Vec<ProjectContent>,
}

/// What a stream lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// The stream.
    pub stream: Uuid,
    /// What was dropped since the last such record.
    pub drops: Vec<DeclaredDrop>,
    /// When it was declared, ISO 8601, UTC.
    pub time: String,
}

/// Something that was dropped, for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredDrop {
    /// Why, such as `spool_full`; `docs/proof.md` lists the reasons.
    pub reason: String,
    /// The numbers of the messages; `None` if the samples were dropped before they had any.
    pub numbers: Option<Numbers>,
    /// Number of samples.
    pub samples: u64,
    /// Number of samples by meter, where it is known.
    pub meters: BTreeMap<String, u64>,
    /// Time of the oldest sample, nanoseconds since the epoch; 0 if it is not known.
    pub begin: u64,
    /// Time of the newest sample, nanoseconds since the epoch; 0 if it is not known.
    pub until: u64,
}

/// Numbers of messages that were dropped: `count` of those from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// The lowest.
    pub first: u64,
    /// The highest.
    pub last: u64,
    /// How many of them were dropped.
    pub count: u64,
}

/// What the messages of a stream are made of and how, from here on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// The stream.
    pub stream: Uuid,
    /// The host id, which names the store of the agent.
    pub host_id: Uuid,
    /// Host ids that the store had before, oldest first.
    pub former_host_ids: Vec<Uuid>,
    /// The host's name.
    pub host: String,
    /// The agent's version.
    pub agent: String,
    /// The Ceilometer release that the meters follow.
    pub release: String,
    /// The sink.
    pub sink: String,
    /// The publisher's URL without secrets.
    pub publisher: String,
    /// The sources that the sink receives.
    pub sources: Vec<SourceState>,
    /// The transformers of the sink, in order.
    pub transformers: Vec<TransformerState>,
    /// All keys of the agent.
    pub keys: Vec<KeyState>,
    /// The clocks when it was made.
    pub clock: ClockState,
}

/// A source of a sink.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceState {
    /// Its name.
    pub name: String,
    /// Seconds from the start of one polling cycle to the start of the next.
    pub interval: f64,
    /// The patterns of its meters.
    pub meters: Vec<String>,
    /// If not empty, a meter has to match one of these lists as well.
    pub only: Vec<Vec<String>>,
    /// A meter that matches one of these lists is left out.
    pub without: Vec<Vec<String>>,
}

/// A transformer of a sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransformerState {
    /// The component's name.
    pub component: String,
    /// SHA-256 of the component's file.
    pub digest: Digest,
    /// SHA-256 of the options as JSON text.
    pub options: Digest,
}

/// A key and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyState {
    /// Its id.
    pub id: KeyId,
    /// The key.
    pub public: PublicKey,
    /// When it was made, ISO 8601, UTC.
    pub created: String,
    /// When another replaced it.
    pub replaced: Option<String>,
    /// Since when its signatures are not to be trusted.
    pub revoked: Option<String>,
}

/// The clocks of the host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClockState {
    /// ISO 8601, UTC.
    pub wall: String,
    /// Nanoseconds of the kernel's monotonic clock.
    pub monotonic: Option<u64>,
    /// The kernel's id of this start of the machine; empty if it has none.
    pub boot: String,
}

/// A record as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRecord {
    /// The record as JSON text.
    pub record: String,
    /// The key.
    pub key: KeyId,
    /// The key's signature of the text, in hexadecimal.
    pub signature: String,
}

/// Why a record cannot be trusted.
#[derive(Debug, Error)]
pub enum RecordError {
    /// It is not a record.
    #[error("not a signed record: {0}")]
    Format(#[from] serde_json::Error),
    /// The key is unknown.
    #[error(
        "signed with the unknown key {0}; add it to the trusted keys if the agent's operator confirms it"
    )]
    UnknownKey(KeyId),
    /// The signature is wrong.
    #[error("the signature of key {0} does not match: the record was altered")]
    Signature(KeyId),
}

impl Record {
    /// The `event_type` of its message: `nephometer.` and the kind.
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::Statement(_) => "nephometer.statement",
            Self::Checkpoint(_) => "nephometer.checkpoint",
            Self::Drops(_) => "nephometer.drops",
        }
    }

    /// The stream that it is about. In another one it proves nothing.
    pub fn stream(&self) -> Uuid {
        match self {
            Self::Statement(statement) => statement.stream,
            Self::Checkpoint(checkpoint) => checkpoint.stream,
            Self::Drops(drops) => drops.stream,
        }
    }

    /// SHA-256 of its text.
    pub fn digest(&self) -> Digest {
        Digest::of(self.text().as_bytes())
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("a record has only text as keys")
    }

    /// Signs the record.
    pub fn sign(&self, key: &SigningKey) -> SignedRecord {
        let record = self.text();
        let signature = key.sign(&record);
        SignedRecord { record, key: key.public().id(), signature }
    }
}

impl SignedRecord {
    /// The record as a JSON object with `record`, `key` and `signature`.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("it has only text")
    }

    /// Reads a record that one of the trusted keys has signed.
    ///
    /// # Errors
    /// If the key is not trusted, the signature is wrong, or the text is no record.
    pub fn verify(&self, trusted: &[PublicKey]) -> Result<Record, RecordError> {
        let key = trusted.iter().find(|key| key.id() == self.key);
        let key = key.ok_or_else(|| RecordError::UnknownKey(self.key.clone()))?;
        if !key.verifies(&self.record, &self.signature) {
            return Err(RecordError::Signature(self.key.clone()));
        }
        Ok(serde_json::from_str(&self.record)?)
    }
}

impl DeclaredDrop {
    /// Adds another drop for the same reason. False if they are not adjacent: then it is unchanged.
    pub fn merge(&mut self, other: &Self) -> bool {
        let adjacent = match (&self.numbers, &other.numbers) {
            (Some(one), Some(two)) => one.last + 1 == two.first,
            (None, None) => true,
            _ => false,
        };
        let merges = adjacent && self.reason == other.reason;
        if merges {
            self.absorb(other);
        }
        merges
    }

    /// Adds another drop, whatever lies between the two.
    pub fn absorb(&mut self, other: &Self) {
        if let (Some(one), Some(two)) = (&mut self.numbers, &other.numbers) {
            one.first = one.first.min(two.first);
            one.last = one.last.max(two.last);
            one.count += two.count;
        }
        self.samples += other.samples;
        for (meter, count) in &other.meters {
            *self.meters.entry(meter.clone()).or_default() += count;
        }
        let known = |time: &u64| *time > 0;
        self.begin = [self.begin, other.begin].into_iter().filter(known).min().unwrap_or(0);
        self.until = self.until.max(other.until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap()
    }

    #[test]
    fn only_the_signed_text_and_a_trusted_key_verify() {
        let (key, other) = (key(), key());
        let stream = Uuid::from_u128(1);
        let record = Record::Checkpoint(Checkpoint {
            stream,
            sequence: 7,
            digest: Digest::start(stream),
            time: "2026-11-29T12:00:00".into(),
            batch: None,
        });
        let signed = record.sign(&key);
        assert_eq!(signed.verify(&[other.public(), key.public()]).unwrap(), record);
        let sent: SignedRecord = serde_json::from_str(&signed.json()).unwrap();
        assert_eq!(sent.verify(&[key.public()]).unwrap(), record);
        let altered = SignedRecord { record: sent.record.replace('7', "8"), ..sent.clone() };
        assert!(matches!(altered.verify(&[key.public()]), Err(RecordError::Signature(_))));
        assert!(matches!(sent.verify(&[other.public()]), Err(RecordError::UnknownKey(_))));
        let forged = SignedRecord { key: other.public().id(), ..sent };
        assert!(matches!(forged.verify(&[other.public()]), Err(RecordError::Signature(_))));
    }

    fn dropped(first: u64, last: u64, reason: &str) -> DeclaredDrop {
        DeclaredDrop {
            reason: reason.into(),
            numbers: Some(Numbers { first, last, count: last - first + 1 }),
            samples: 10,
            meters: BTreeMap::from([("cpu".to_owned(), 10)]),
            begin: first,
            until: last,
        }
    }

    #[test]
    fn adjacent_drops_of_one_reason_are_one() {
        let mut drop = dropped(3, 4, "spool_full");
        assert!(drop.merge(&dropped(5, 9, "spool_full")));
        assert!(!drop.merge(&dropped(11, 11, "spool_full")));
        assert!(!drop.merge(&dropped(10, 10, "too_old")));
        assert_eq!(drop.numbers, Some(Numbers { first: 3, last: 9, count: 7 }));
        assert_eq!((drop.samples, drop.meters["cpu"], drop.begin, drop.until), (20, 20, 3, 9));
        // Past a bound, drops are joined whatever lies between them.
        drop.absorb(&dropped(21, 21, "spool_full"));
        assert_eq!(drop.numbers, Some(Numbers { first: 3, last: 21, count: 8 }));
    }
}
