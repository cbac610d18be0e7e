//! Commits the envelopes of one event: to the spools of all publishers of a sink, together with the
//! sink's emitted offset, in one transaction.
//!
//! The envelopes may be many times as large as their batch. Those that exceed one chunk are encoded
//! and written chunk by chunk into the open transaction, and readers see none of them before all are
//! on disk. A kill leaves all of them or none.

use std::sync::Arc;

use super::backend::Backend;
use super::db::Changes;
use super::spool::PreparedAppend;
use super::stream::StreamRecords;
use super::streaming::StreamedAppend;
use super::write_state::Written;
use super::{Envelope, SpoolWriter};

/// Bytes of one chunk of envelopes. About three are in memory at once: one is being encoded, one
/// waits, one is being written.
const CHUNK_BYTES: usize = 4 << 20;

/// Envelopes that are created when they are needed. Every iteration gives the same ones.
pub trait Envelopes: Sync {
    /// Iterates from the first one.
    fn iter(&self) -> Box<dyn Iterator<Item = Envelope> + Send + '_>;
}

impl Envelopes for Vec<Envelope> {
    fn iter(&self) -> Box<dyn Iterator<Item = Envelope> + Send + '_> {
        Box::new(self.as_slice().iter().cloned())
    }
}

/// Envelopes to append to the spool of one publisher.
pub struct SpoolAppend<'a> {
    /// The spool.
    pub writer: &'a SpoolWriter,
    /// The envelopes.
    pub envelopes: &'a dyn Envelopes,
    /// Makes the records around them, if receivers can verify the stream.
    pub records: Option<&'a dyn StreamRecords>,
}

/// When envelopes have to be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// When the commit returns.
    AtOnce,
    /// With the next commit, if publishers keep up: most envelopes are acknowledged before that and
    /// never have to be written.
    Deferred,
}

/// The result of a commit.
#[derive(Debug)]
pub(super) struct CommitReport {
    /// Whether the changes are written, and the envelopes on disk or acknowledged.
    pub(super) written: bool,
    /// Number of envelopes that each spool was given, without records.
    pub(super) envelopes: Vec<u64>,
}

/// Appends envelopes to spools and writes them together with other changes. Waits for room only in
/// spools with [`super::WhenFull::Wait`].
pub(super) async fn commit(
    backend: &Arc<Backend>,
    appends: &[SpoolAppend<'_>],
    changes: Changes,
    persistence: Persistence,
) -> CommitReport {
    let mut chunks = Chunks::of(appends);
    let first = chunks.next().unwrap_or_else(|| vec![Vec::new(); appends.len()]);
    if !backend.is_durable() {
        let mut chunk = Some(first);
        while let Some(envelopes) = chunk {
            let nonempty = appends.iter().zip(envelopes).filter(|(_, some)| !some.is_empty());
            for (append, envelopes) in nonempty {
                append.writer.shared.wait_for_room(&envelopes).await;
                append.append_in_memory(envelopes).await;
            }
            chunk = chunks.next();
        }
        return CommitReport { written: false, envelopes: chunks.counts };
    }
    // Before any lock is taken that a driver needs.
    for (append, envelopes) in appends.iter().zip(&first) {
        append.writer.shared.wait_for_room(envelopes).await;
    }
    let keep_up = |append: &SpoolAppend<'_>| append.writer.shared.keeps_up();
    let written = if !chunks.is_empty() {
        commit_in_chunks(backend, appends, first, &mut chunks, changes).await
    } else if persistence == Persistence::Deferred && appends.iter().all(keep_up) {
        for (append, envelopes) in appends.iter().zip(first) {
            append.append_in_memory(envelopes).await;
        }
        false
    } else {
        commit_at_once(backend, appends, first, changes).await
    };
    CommitReport { written, envelopes: chunks.counts }
}

/// Commits a single chunk. Drivers may send its envelopes before they are on disk. Without envelopes
/// to be written it is lazy: the next durable transaction includes it, or `JournalReader::sync`.
async fn commit_at_once(
    backend: &Arc<Backend>,
    appends: &[SpoolAppend<'_>],
    envelopes: Vec<Vec<Envelope>>,
    mut changes: Changes,
) -> bool {
    let mut prepared = Vec::with_capacity(appends.len());
    // Locks are always taken in the order of the sink, and a driver takes only its own: no deadlock.
    for (append, envelopes) in appends.iter().zip(envelopes) {
        prepared.push(append.writer.shared.prepare(envelopes, append.records).await);
    }
    changes.lazy = prepared.iter().all(PreparedAppend::is_light);
    let lazy = changes.lazy;
    for append in &mut prepared {
        changes.spools.push(std::mem::take(&mut append.change));
    }
    let written = backend.write(changes).await.is_ok();
    for append in prepared {
        append.finish(Written::of(written, lazy));
    }
    written
}

/// Commits several chunks. Only the first one waits for room: the rest of the event follows it.
async fn commit_in_chunks(
    backend: &Arc<Backend>,
    appends: &[SpoolAppend<'_>],
    first: Vec<Vec<Envelope>>,
    chunks: &mut Chunks<'_>,
    mut changes: Changes,
) -> bool {
    let mut spools = Vec::with_capacity(appends.len());
    for append in appends {
        spools.push(StreamedAppend::begin(&append.writer.shared, append.records).await);
    }
    let mut transaction = backend.begin();
    let mut leading = Changes::default();
    for spool in &mut spools {
        leading.spools.push(spool.add_leading().await);
    }
    transaction.write(leading).await;
    let mut chunk = Some(first);
    while let Some(envelopes) = chunk {
        let mut added = Changes::default();
        for (spool, envelopes) in spools.iter_mut().zip(envelopes) {
            if !envelopes.is_empty() {
                added.spools.push(spool.add(envelopes).await);
            }
        }
        transaction.write(added).await;
        chunk = chunks.next();
    }
    let mut checkpoints = Changes::default();
    for spool in &mut spools {
        checkpoints.spools.push(spool.add_checkpoint().await);
    }
    transaction.write(checkpoints).await;
    let (rest, attempts): (Vec<_>, Vec<_>) =
        spools.iter_mut().map(StreamedAppend::take_change).unzip();
    changes.spools = rest;
    transaction.write(changes).await;
    // From here on the commit happens or fails even if this future is dropped.
    spools.iter_mut().for_each(StreamedAppend::commit);
    let written = backend.commit(transaction).await.is_ok();
    for ((spool, append), attempt) in spools.into_iter().zip(appends).zip(attempts) {
        if written {
            spool.finish(attempt);
        } else {
            spool.keep_in_memory(append.envelopes.iter(), attempt).await;
        }
    }
    written
}

/// Divides envelopes for several spools into chunks, one spool after the other.
struct Chunks<'a> {
    spools: Vec<Box<dyn Iterator<Item = Envelope> + Send + 'a>>,
    /// Number of envelopes given out, by spool.
    counts: Vec<u64>,
    /// Index of the spool that is being read.
    current: usize,
    /// The first envelope of the next chunk.
    next: Option<Envelope>,
}

impl<'a> Chunks<'a> {
    fn of(appends: &[SpoolAppend<'a>]) -> Self {
        let spools: Vec<_> = appends.iter().map(|append| append.envelopes.iter()).collect();
        let counts = vec![0; spools.len()];
        let mut chunks = Self { spools, counts, current: 0, next: None };
        chunks.fetch_next();
        chunks
    }

    fn is_empty(&self) -> bool {
        self.next.is_none()
    }

    fn fetch_next(&mut self) {
        while let Some(spool) = self.spools.get_mut(self.current) {
            self.next = spool.next();
            if self.next.is_some() {
                return;
            }
            self.current += 1;
        }
    }

    /// The envelopes of the next chunk, by spool.
    fn next(&mut self) -> Option<Vec<Vec<Envelope>>> {
        let mut chunk = vec![Vec::new(); self.spools.len()];
        let mut bytes = 0;
        while bytes < CHUNK_BYTES
            && let Some(envelope) = self.next.take()
        {
            bytes += envelope.body.len() + envelope.address.len();
            chunk[self.current].push(envelope);
            self.counts[self.current] += 1;
            self.fetch_next();
        }
        (bytes > 0 || chunk.iter().any(|some| !some.is_empty())).then_some(chunk)
    }
}

impl SpoolAppend<'_> {
    async fn append_in_memory(&self, envelopes: Vec<Envelope>) {
        let shared = &self.writer.shared;
        let mut state = shared.write_state.lock().await;
        shared.append(&mut state, envelopes, self.records).await;
    }
}

impl SpoolWriter {
    /// Appends envelopes in order. Waits for room only with [`super::WhenFull::Wait`].
    pub async fn push(&self, envelopes: Vec<Envelope>) {
        let append = [SpoolAppend { writer: self, envelopes: &envelopes, records: None }];
        commit(&self.shared.backend, &append, Changes::default(), Persistence::AtOnce).await;
    }
}
