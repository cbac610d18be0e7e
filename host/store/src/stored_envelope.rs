//! Stored envelopes as commands list and export them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Envelope;

/// An envelope in a spool, pending or rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEnvelope {
    /// The envelope as it is sent.
    pub envelope: Envelope,
    /// Why the receiver has rejected it; `None` if it is pending.
    pub rejected: Option<String>,
}

/// Where the next page of a listing begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageCursor {
    /// Whether the last envelope was a rejected one; they are listed after the pending ones.
    #[serde(rename = "refused")]
    pub rejected: bool,
    /// Sequence number of the last envelope.
    pub sequence: u64,
}

impl StoredEnvelope {
    /// The cursor after this envelope.
    pub fn cursor(&self) -> PageCursor {
        PageCursor { rejected: self.rejected.is_some(), sequence: self.envelope.sequence }
    }

    /// A JSON object with `spool`, `sequence`, `id`, `address`, `samples`, `meters` (samples by
    /// meter), `refused` (the reason, or null), the bytes on the wire (`body`, or `body_hex` if they are
    /// not UTF-8), and `previous` and `digest` if the stream can be verified.
    pub fn json(&self, spool: &str) -> Value {
        let envelope = &self.envelope;
        let mut line = json!({
            "spool": spool,
            "sequence": envelope.sequence,
            "id": envelope.id.to_string(),
            "address": &*envelope.address,
            "samples": envelope.samples,
            "meters": envelope.manifest.by_meter(),
            "refused": self.rejected,
        });
        if let Some(link) = &envelope.link {
            line["previous"] = link.previous.to_string().into();
            line["digest"] = link.digest.to_string().into();
        }
        match std::str::from_utf8(&envelope.body) {
            Ok(text) => line["body"] = text.into(),
            Err(_) => line["body_hex"] = hex::encode(&envelope.body).into(),
        }
        line
    }
}
