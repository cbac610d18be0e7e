//! Envelopes as people see them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Envelope;

/// An envelope that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEnvelope {
    /// As it goes to its receiver.
    pub envelope: Envelope,
    /// Why the receiver has refused it for good; `None` if it only waits.
    pub refused: Option<String>,
}

/// Where a list of what is kept goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Whether it was one that was refused: they stand behind those that wait.
    pub refused: bool,
    /// Its number.
    pub sequence: u64,
}

impl StoredEnvelope {
    /// Behind this one.
    pub fn place(&self) -> Place {
        Place { refused: self.refused.is_some(), sequence: self.envelope.sequence }
    }

    /// All of it: `spool`, `sequence`, `id`, `address`, `samples`, `meters` (samples by meter),
    /// `refused` (why, or null), and what goes on the wire as `body`, or as `body_hex` if it is no text.
    pub fn json(&self, spool: &str) -> Value {
        let envelope = &self.envelope;
        let mut line = json!({
            "spool": spool,
            "sequence": envelope.sequence,
            "id": envelope.id.to_string(),
            "address": &*envelope.address,
            "samples": envelope.samples,
            "meters": envelope.manifest.by_meter(),
            "refused": self.refused,
        });
        match std::str::from_utf8(&envelope.body) {
            Ok(text) => line["body"] = text.into(),
            Err(_) => line["body_hex"] = hex::encode(&envelope.body).into(),
        }
        line
    }
}
