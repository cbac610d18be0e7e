//! What one event of a sink makes goes into the spools of all its publishers in one transaction,
//! together with how far the sink is.
//!
//! What a batch stands for may be many times its size: more than a piece is encoded and written piece
//! by piece into the open transaction, and readers see none of it before all of it is on disk. After
//! a kill there is all of it or nothing.

use std::sync::Arc;

use super::backend::Backend;
use super::db::Changes;
use super::spool::PendingWrites;
use super::streaming::Streaming;
use super::{Envelope, SpoolWriter};

/// Bytes of envelopes that are in memory at once on their way to the disk, about: one piece is being
/// encoded, one waits, one is written.
const PIECE: usize = 4 << 20;

/// Envelopes that are made when they are asked for, and the same ones however often.
pub trait Envelopes: Sync {
    /// From the first one on.
    fn iter(&self) -> Box<dyn Iterator<Item = Envelope> + Send + '_>;
}

impl Envelopes for Vec<Envelope> {
    fn iter(&self) -> Box<dyn Iterator<Item = Envelope> + Send + '_> {
        Box::new(self.as_slice().iter().cloned())
    }
}

/// Envelopes for the spool of one publisher.
pub struct SpoolInput<'a> {
    /// Its spool.
    pub writer: &'a SpoolWriter,
    /// What goes into it.
    pub envelopes: &'a dyn Envelopes,
}

/// What became of an emission.
#[derive(Debug)]
pub(super) struct CommitOutcome {
    /// Whether it is on disk now, with the other changes.
    pub(super) written: bool,
    /// How many envelopes each spool was given.
    pub(super) counts: Vec<u64>,
}

/// Puts them in, and writes them with the other changes. Waits for room only if a spool was made so.
pub(super) async fn put(
    backend: &Arc<Backend>,
    puts: &[SpoolInput<'_>],
    changes: Changes,
) -> CommitOutcome {
    let mut pieces = Pieces::of(puts);
    let first = pieces.next().unwrap_or_else(|| vec![Vec::new(); puts.len()]);
    if !backend.is_durable() {
        let mut piece = Some(first);
        while let Some(envelopes) = piece {
            for (put, envelopes) in puts.iter().zip(envelopes).filter(|(_, some)| !some.is_empty())
            {
                put.writer.shared.room(&envelopes).await;
                drop(put.writer.shared.prepare(envelopes).await);
            }
            piece = pieces.next();
        }
        return CommitOutcome { written: false, counts: pieces.counts };
    }
    // Before anything is held that a driver needs.
    for (put, envelopes) in puts.iter().zip(&first) {
        put.writer.shared.room(envelopes).await;
    }
    let written = if pieces.is_over() {
        at_once(backend, puts, first, changes).await
    } else {
        piece_by_piece(backend, puts, first, &mut pieces, changes).await
    };
    CommitOutcome { written, counts: pieces.counts }
}

/// Drivers may send what is in memory before it is on disk.
async fn at_once(
    backend: &Arc<Backend>,
    puts: &[SpoolInput<'_>],
    envelopes: Vec<Vec<Envelope>>,
    mut changes: Changes,
) -> bool {
    let mut prepared = Vec::with_capacity(puts.len());
    // Always in the order of the sink, and a driver holds but its own: nobody waits in a circle.
    for (put, envelopes) in puts.iter().zip(envelopes) {
        prepared.push(put.writer.shared.prepare(envelopes).await);
    }
    for one in &mut prepared {
        changes.spools.push(std::mem::take(&mut one.change));
    }
    let pending_writes: Vec<PendingWrites> = changes.spools.iter().map(PendingWrites::of).collect();
    let written = backend.write(changes).await.is_ok();
    for (one, pending_writes) in prepared.into_iter().zip(pending_writes) {
        one.finish((!written).then_some(pending_writes));
    }
    written
}

/// Only the first piece waits for room: the rest of an event goes with it.
async fn piece_by_piece(
    backend: &Arc<Backend>,
    puts: &[SpoolInput<'_>],
    first: Vec<Vec<Envelope>>,
    pieces: &mut Pieces<'_>,
    mut changes: Changes,
) -> bool {
    let mut spools = Vec::with_capacity(puts.len());
    for put in puts {
        spools.push(Streaming::begin(&put.writer.shared).await);
    }
    let mut writing = backend.begin();
    let mut piece = Some(first);
    while let Some(envelopes) = piece {
        let mut added = Changes::default();
        for (spool, envelopes) in spools.iter_mut().zip(envelopes) {
            if !envelopes.is_empty() {
                added.spools.push(spool.take(envelopes).await);
            }
        }
        writing.write(added).await;
        piece = pieces.next();
    }
    changes.spools = spools.iter_mut().map(Streaming::change).collect();
    let pending_writes: Vec<PendingWrites> = changes.spools.iter().map(PendingWrites::of).collect();
    writing.write(changes).await;
    // From here on it is on disk or it is not, whoever waits for it.
    spools.iter_mut().for_each(Streaming::commit);
    let written = backend.commit(writing).await.is_ok();
    for ((spool, put), pending_writes) in spools.into_iter().zip(puts).zip(pending_writes) {
        if written {
            spool.finish();
        } else {
            spool.keep_in_memory(put.envelopes.iter(), pending_writes).await;
        }
    }
    written
}

/// Envelopes for several spools, one spool after the other.
struct Pieces<'a> {
    spools: Vec<Box<dyn Iterator<Item = Envelope> + Send + 'a>>,
    /// So many each spool was given.
    counts: Vec<u64>,
    /// Which spool is next.
    at: usize,
    /// The first envelope of the next piece.
    next: Option<Envelope>,
}

impl<'a> Pieces<'a> {
    fn of(puts: &[SpoolInput<'a>]) -> Self {
        let spools: Vec<_> = puts.iter().map(|put| put.envelopes.iter()).collect();
        let counts = vec![0; spools.len()];
        let mut pieces = Self { spools, counts, at: 0, next: None };
        pieces.look();
        pieces
    }

    fn is_over(&self) -> bool {
        self.next.is_none()
    }

    fn look(&mut self) {
        while let Some(spool) = self.spools.get_mut(self.at) {
            self.next = spool.next();
            if self.next.is_some() {
                return;
            }
            self.at += 1;
        }
    }

    /// The envelopes of the next piece, by spool.
    fn next(&mut self) -> Option<Vec<Vec<Envelope>>> {
        let mut piece = vec![Vec::new(); self.spools.len()];
        let mut bytes = 0;
        while bytes < PIECE
            && let Some(envelope) = self.next.take()
        {
            bytes += envelope.body.len() + envelope.address.len();
            piece[self.at].push(envelope);
            self.counts[self.at] += 1;
            self.look();
        }
        (bytes > 0 || piece.iter().any(|some| !some.is_empty())).then_some(piece)
    }
}

impl SpoolWriter {
    /// Takes envelopes in, one after the other. Waits only if the spool was made so.
    pub async fn push(&self, envelopes: Vec<Envelope>) {
        let all = [SpoolInput { writer: self, envelopes: &envelopes }];
        put(&self.shared.backend, &all, Changes::default()).await;
    }
}
