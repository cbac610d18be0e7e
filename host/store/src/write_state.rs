//! What has to be written of a spool next: its numbers, its stream, removals and gaps.
//!
//! Plain values; the spool locks them, and writes them.

use super::envelope::Envelope;
use super::stream::{StoredStream, Stream, StreamRecords};
use nephometer_model::Gap;
use nephometer_proof::{DeclaredDrop, Digest, Numbers};

/// Changes that are not on disk yet, besides envelopes in the queue.
#[derive(Debug, Default)]
pub(super) struct PendingWrites {
    /// Envelopes that have left the queue but are still on disk.
    pub(super) removed: Vec<u64>,
    /// Gaps of dropped envelopes.
    pub(super) gaps: Vec<Gap>,
}

/// A copy of what a change contains, for when it is known whether it was written.
#[derive(Debug)]
pub(super) struct WriteAttempt {
    pub(super) pending: PendingWrites,
    pub(super) stream: Option<StoredStream>,
    /// Whether the change contains all envelopes that were not on disk.
    pub(super) complete: bool,
}

/// What has to be written next.
#[derive(Debug)]
pub(super) struct WriteState {
    pub(super) next_sequence: u64,
    /// The stream, if receivers can verify it.
    pub(super) stream: Option<Stream>,
    /// The last append evicted envelopes.
    pub(super) evicting: bool,
    pub(super) pending: PendingWrites,
    /// Writes in a row that a crash would undo.
    pub(super) lazy_writes: u32,
}

impl WriteState {
    /// Assigns the next number to an envelope, and its place in the chain.
    pub(super) fn number(&mut self, envelope: &mut Envelope) {
        let sequence = self.next_sequence;
        envelope.sequence = sequence;
        let stream = self.stream.as_mut();
        envelope.link = stream.and_then(|one| one.link(sequence, &Digest::of(&envelope.body)));
        self.next_sequence += 1;
    }

    /// The records that precede the next envelopes. Drops are declared once the spool has room again:
    /// until then they grow, and a declaration would only take room from samples.
    pub(super) fn leading_records(&mut self, records: &dyn StreamRecords) -> Vec<Envelope> {
        let (evicting, next) = (self.evicting, self.next_sequence);
        let Some(stream) = self.stream.as_mut().filter(|one| one.is_reserved(next)) else {
            return Vec::new();
        };
        let mut leading: Vec<Envelope> = records.statement().into_iter().collect();
        let number = next + leading.len() as u64;
        let drops = if evicting { Vec::new() } else { stream.take_drops(number) };
        if !drops.is_empty() {
            leading.push(records.drops(drops));
        }
        leading
    }

    /// The record that follows the envelopes, of which this is the first number.
    pub(super) fn checkpoint(&self, records: &dyn StreamRecords, first: u64) -> Option<Envelope> {
        let next = self.next_sequence;
        let stream = self.stream.as_ref().filter(|one| one.is_reserved(next))?;
        Some(records.checkpoint([first, next - 1], stream.digest()))
    }

    /// Has a drop declared in the stream.
    pub(super) fn declare(&mut self, drop: DeclaredDrop) {
        if let Some(stream) = &mut self.stream {
            stream.declare(drop);
        }
    }

    /// Has the drop of an envelope declared, and what it had declared itself. Without the envelope only
    /// its number is known.
    pub(super) fn declare_dropped(
        &mut self,
        reason: &str,
        sequence: u64,
        envelope: Option<&Envelope>,
    ) {
        if let Some(stream) = &mut self.stream {
            stream.declare_again(sequence);
            stream.declare(declared(reason, sequence, envelope));
        }
    }

    /// Records that an envelope was acknowledged.
    pub(super) fn acknowledge(&mut self, sequence: u64) {
        if let Some(stream) = &mut self.stream {
            stream.acknowledge(sequence);
        }
    }
}

fn declared(reason: &str, sequence: u64, envelope: Option<&Envelope>) -> DeclaredDrop {
    let numbers = Some(Numbers { first: sequence, last: sequence, count: 1 });
    let reason = reason.to_owned();
    let Some(envelope) = envelope else {
        return DeclaredDrop { reason, numbers, ..DeclaredDrop::default() };
    };
    let meters = envelope.manifest.by_meter().into_iter();
    let times = || envelope.manifest.samples().map(|(_, _, time)| time);
    DeclaredDrop {
        reason,
        numbers,
        samples: envelope.samples,
        meters: meters.map(|(meter, count)| (meter.to_owned(), count)).collect(),
        begin: times().min().unwrap_or(0),
        until: times().max().unwrap_or(0),
    }
}

/// The outcome of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing was written.
    Failed,
    /// A crash undoes it, unless a durable write follows.
    Lazily,
    /// It is on disk.
    Durably,
}

impl Written {
    pub(super) fn of(written: bool, lazy: bool) -> Self {
        match (written, lazy) {
            (false, _) => Self::Failed,
            (true, true) => Self::Lazily,
            (true, false) => Self::Durably,
        }
    }
}
