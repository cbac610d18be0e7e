//! Streams that can be verified: the chain of digests over the messages of one publisher, the signed
//! records in it, and the keys that sign them. And the keys that sign components.
//!
//! It owns the formats, which an auditor reads with nothing but the public keys. It does no IO, and
//! knows nothing of spools or brokers.

mod code;
mod content;
mod digest;
mod key;
mod record;

pub use code::{CodeKey, CodeKeyError, CodeSigner};
pub use content::{ProjectContent, ProvedSample, ProvedValue, digest_samples};
pub use digest::{Digest, InvalidHex, Link};
pub use key::{KeyError, KeyId, PublicKey, SigningKey};
pub use record::{
    BatchState, Checkpoint, ClockState, DeclaredDrop, Drops, KeyState, Numbers, Record,
    RecordError, SignedRecord, SourceState, Statement, TransformerState,
};
