//! The stream of a spool: the chain over its envelopes, the numbers that are reserved for them, and
//! what it lacks.
//!
//! A number is never used for two messages. Before the first envelope of a run is sent, a range of
//! numbers is reserved on disk; a run that does not follow a clean end starts behind that range, and
//! declares the numbers that may never have been sent. So no envelope has to be on disk before it is
//! sent.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::envelope::Envelope;
use nephometer_proof::{DeclaredDrop, Digest, Link, Numbers};

/// Numbers that are reserved at once; the next ones are reserved when half of them are used.
const RESERVED: u64 = if cfg!(test) { 1 << 10 } else { 1 << 20 };
/// Drops that a stream keeps until they are declared. Past it, those for one reason are joined.
const MAX_DROPS: usize = 64;

/// Makes the records of a stream, which are envelopes without samples.
pub trait StreamRecords: Sync {
    /// The statement, if it has to precede the next envelopes.
    fn statement(&self) -> Option<Envelope>;
    /// Declares drops.
    fn drops(&self, drops: Vec<DeclaredDrop>) -> Envelope;
    /// Ends a batch: the numbers of its first and its last envelope, and the digest of the stream up to
    /// the last one. Without envelopes the last number is that before the first.
    fn checkpoint(&self, numbers: [u64; 2], digest: Digest) -> Envelope;
}

/// A stream as it is on disk, next to the next sequence number of its spool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredStream {
    id: Uuid,
    /// The digest up to the last envelope.
    digest: [u8; 32],
    /// The first number that is not reserved.
    reserved: u64,
    /// Drops that were not declared yet.
    drops: Vec<DeclaredDrop>,
    /// Declarations that the receiver has not acknowledged.
    declarations: Vec<Declaration>,
}

/// Drops that an envelope declares. If that envelope is dropped, they have to be declared again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Declaration {
    /// The number of the envelope.
    sequence: u64,
    drops: Vec<DeclaredDrop>,
}

impl StoredStream {
    /// The id of the stream.
    pub(super) fn id(&self) -> Uuid {
        self.id
    }
}

/// A stream that is being written.
#[derive(Debug)]
pub(super) struct Stream {
    id: Uuid,
    digest: Digest,
    /// The first number that is not reserved on disk.
    reserved: u64,
    /// The run ends: no number stays reserved.
    released: bool,
    /// Drops that are to be declared.
    drops: Vec<DeclaredDrop>,
    /// Declarations that the receiver has not acknowledged.
    declarations: Vec<Declaration>,
}

impl Stream {
    /// Continues a stream, or begins it. Also returns the number of its next envelope, which is
    /// `next` or later. `pending` shows which numbers are on disk.
    pub(super) fn resume(
        id: Uuid,
        stored: Option<&StoredStream>,
        next: u64,
        pending: impl Fn(u64) -> bool,
    ) -> (Self, u64) {
        let Some(stored) = stored.filter(|stored| stored.id == id) else {
            return (Self::new(id, Digest::start(id), next, Vec::new()), next);
        };
        let (digest, drops) = (Digest::from_bytes(stored.digest), stored.drops.clone());
        let mut stream = Self::new(id, digest, stored.reserved, drops);
        for declaration in &stored.declarations {
            if pending(declaration.sequence) {
                stream.declarations.push(declaration.clone());
            } else {
                // Acknowledged or lost: rather declared twice than not at all.
                declaration.drops.iter().cloned().for_each(|drop| stream.declare(drop));
            }
        }
        if next < stored.reserved {
            // Some of these were sent if the run before was killed. Their samples are sent again.
            let (first, last) = (next, stored.reserved - 1);
            let count = last - first + 1;
            let numbers = Some(Numbers { first, last, count });
            let reason = "unclean_stop".to_owned();
            stream.declare(DeclaredDrop { reason, numbers, ..DeclaredDrop::default() });
        }
        (stream, next.max(stored.reserved))
    }

    fn new(id: Uuid, digest: Digest, reserved: u64, drops: Vec<DeclaredDrop>) -> Self {
        Self { id, digest, reserved, released: false, drops, declarations: Vec::new() }
    }

    /// Whether a number is reserved. It is not while the disk fails for long.
    pub(super) fn is_reserved(&self, sequence: u64) -> bool {
        sequence < self.reserved
    }

    /// The link of an envelope, if its number is reserved.
    pub(super) fn link(&mut self, sequence: u64, body: &Digest) -> Option<Link> {
        self.is_reserved(sequence).then(|| {
            let link = self.digest.link(sequence, body);
            self.digest = link.digest;
            link
        })
    }

    /// The digest up to the last envelope.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// Takes the stream back to an earlier digest, to number the same envelopes again.
    pub(super) fn resume_at(&mut self, digest: Digest) {
        self.digest = digest;
    }

    /// Takes the stream back to an earlier digest: the envelopes since then were discarded.
    pub(super) fn rewind(&mut self, digest: Digest, first: u64) {
        self.digest = digest;
        for sequence in self.declared_from(first) {
            self.declare_again(sequence);
        }
    }

    fn declared_from(&self, first: u64) -> Vec<u64> {
        let declarations = self.declarations.iter().map(|one| one.sequence);
        declarations.filter(|sequence| *sequence >= first).collect()
    }

    /// Adds a drop that is to be declared.
    pub(super) fn declare(&mut self, drop: DeclaredDrop) {
        if self.drops.last_mut().is_some_and(|last| last.merge(&drop)) {
            return;
        }
        if self.drops.len() >= MAX_DROPS {
            let same = |other: &&mut DeclaredDrop| {
                other.reason == drop.reason && other.numbers.is_some() == drop.numbers.is_some()
            };
            if let Some(other) = self.drops.iter_mut().rev().find(same) {
                other.absorb(&drop);
                return;
            }
        }
        self.drops.push(drop);
    }

    /// Takes the drops that are not declared, for the envelope with this number, which declares them.
    pub(super) fn take_drops(&mut self, sequence: u64) -> Vec<DeclaredDrop> {
        let drops = std::mem::take(&mut self.drops);
        if !drops.is_empty() {
            self.declarations.push(Declaration { sequence, drops: drops.clone() });
        }
        drops
    }

    /// Records that an envelope was acknowledged.
    pub(super) fn acknowledge(&mut self, sequence: u64) {
        self.declarations.retain(|declaration| declaration.sequence != sequence);
    }

    /// Has the drops declared again that an envelope has declared, if it is a declaration.
    pub(super) fn declare_again(&mut self, sequence: u64) {
        let at = self.declarations.iter().position(|one| one.sequence == sequence);
        if let Some(at) = at {
            let Declaration { drops, .. } = self.declarations.remove(at);
            drops.into_iter().for_each(|drop| self.declare(drop));
        }
    }

    /// Whether numbers have to be reserved: half of them are used.
    pub(super) fn needs_numbers(&self, next: u64) -> bool {
        !self.released && self.reserved.saturating_sub(next) < RESERVED / 2
    }

    /// Reserves all numbers, for a stream that ends with the run.
    pub(super) fn reserve_all(&mut self) {
        self.reserved = u64::MAX;
    }

    /// Gives back the numbers that were not used: the run ends.
    pub(super) fn release_numbers(&mut self) {
        self.released = true;
    }

    /// What to write with the next transaction.
    pub(super) fn to_store(&self, next: u64) -> StoredStream {
        let reserved = if self.released {
            next
        } else if self.needs_numbers(next) {
            next + RESERVED
        } else {
            self.reserved
        };
        StoredStream {
            id: self.id,
            digest: *self.digest.as_bytes(),
            reserved,
            drops: self.drops.clone(),
            declarations: self.declarations.clone(),
        }
    }

    /// Records that a value is on disk, durably.
    pub(super) fn mark_written(&mut self, stored: &StoredStream) {
        self.reserved = stored.reserved;
    }
}
