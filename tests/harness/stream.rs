//! Verifies a stream as an auditor would: from the messages and the public keys alone.

use std::collections::{BTreeMap, BTreeSet};

use nephometer_proof::{Digest, PublicKey, Record, SignedRecord};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Agent, Arrival};

/// One message of a stream: what its headers state, and its bytes.
#[derive(Debug, Clone)]
pub(crate) struct StreamMessage {
    pub(crate) stream: String,
    pub(crate) sequence: u64,
    pub(crate) previous: String,
    pub(crate) digest: String,
    pub(crate) body: Vec<u8>,
    /// The signed record, if the message is one.
    pub(crate) record: Option<SignedRecord>,
}

impl StreamMessage {
    fn of(arrival: &Arrival) -> Self {
        let (stream, sequence) = arrival.number();
        let record = arrival.notification().get("nephometer").cloned();
        Self {
            stream,
            sequence: u64::try_from(sequence).unwrap(),
            previous: arrival.header("nephometer-previous"),
            digest: arrival.header("nephometer-digest"),
            body: arrival.bytes.clone(),
            record: record.map(|record| serde_json::from_value(record).unwrap()),
        }
    }
}

/// What a verified stream contains.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    pub(crate) records: Vec<Record>,
    /// The last number of the stream.
    pub(crate) last: u64,
}

impl Verified {
    /// The declared drops: reason, samples.
    pub(crate) fn drops(&self) -> Vec<(String, u64)> {
        let drops = self.records.iter().filter_map(|record| match record {
            Record::Drops(drops) => Some(&drops.drops),
            _ => None,
        });
        drops.flatten().map(|drop| (drop.reason.clone(), drop.samples)).collect()
    }

    pub(crate) fn count(&self, kind: fn(&Record) -> bool) -> usize {
        self.records.iter().filter(|record| kind(record)).count()
    }
}

/// The public keys of an agent, which runs or not.
pub(crate) fn public_keys(agent: &Agent) -> Vec<PublicKey> {
    let listed = agent.execute(&["keys", "ls", "--json"]).code(0).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let keys = listed.as_array().unwrap().iter();
    keys.map(|key| key["public"].as_str().unwrap().parse().unwrap()).collect()
}

/// Verifies the one stream of these messages.
pub(crate) fn verify_arrivals(arrivals: &[Arrival], trusted: &[PublicKey]) -> Verified {
    let messages: Vec<StreamMessage> = arrivals.iter().map(StreamMessage::of).collect();
    verify_stream(&messages, trusted)
}

/// Checks that no number has two messages, that the digests are right and follow each other, that
/// checkpoints are signed and state the digest before them, and that each missing number is declared.
pub(crate) fn verify_stream(messages: &[StreamMessage], trusted: &[PublicKey]) -> Verified {
    let mut digests: BTreeMap<u64, &str> = BTreeMap::new();
    let mut bodies: BTreeMap<u64, &[u8]> = BTreeMap::new();
    let (mut verified, mut declared) = (Verified::default(), Vec::new());
    let mut records: BTreeMap<u64, Record> = BTreeMap::new();
    for message in messages {
        assert_eq!(message.stream, messages[0].stream, "one publisher, one stream");
        let number = message.sequence;
        let same = bodies.insert(number, &message.body).is_none_or(|body| body == message.body);
        assert!(same, "two messages have the number {number}");
        digests.insert(number, &message.digest);
        assert_eq!(message.digest, digest(&message.previous, number, &message.body), "{number}");
        let Some(signed) = &message.record else { continue };
        let record = signed.verify(trusted).unwrap();
        assert_eq!(record.stream().to_string(), message.stream);
        match &record {
            Record::Checkpoint(checkpoint) => {
                assert_eq!(checkpoint.sequence, number - 1);
                assert_eq!(checkpoint.digest.to_string(), message.previous);
            }
            Record::Drops(drops) => {
                declared.extend(drops.drops.iter().filter_map(|drop| drop.numbers));
            }
            Record::Statement(_) => {}
        }
        records.insert(number, record);
    }
    for message in messages {
        if let Some(before) = digests.get(&(message.sequence - 1)) {
            assert_eq!(*before, message.previous, "message {}", message.sequence);
        }
    }
    let received: BTreeSet<u64> = bodies.keys().copied().collect();
    verified.last = received.last().copied().unwrap_or(0);
    let mut before = 0;
    for number in &received {
        let missing = number - before - 1;
        let covering =
            declared.iter().filter(|drop| drop.first <= before + 1 && number - 1 <= drop.last);
        let covered: u64 = covering.map(|drop| drop.count).sum();
        // A range may have ended before the kill, or be several drops.
        let inside = declared.iter().filter(|drop| drop.first > before && drop.last < *number);
        let inside: u64 = inside.map(|drop| drop.count).sum();
        assert!(
            missing <= covered.max(inside),
            "{missing} numbers before {number} are missing without a declaration: {declared:?}"
        );
        before = *number;
    }
    verified.records = records.into_values().collect();
    verified
}

/// The digest of a message, with another implementation than the agent's.
fn digest(previous: &str, sequence: u64, body: &[u8]) -> String {
    let previous: Digest = previous.parse().unwrap();
    let mut hash = Sha256::new();
    hash.update(previous.as_bytes());
    hash.update(sequence.to_be_bytes());
    hash.update(Sha256::digest(body));
    let digest: [u8; 32] = hash.finalize().into();
    Digest::from_bytes(digest).to_string()
}
