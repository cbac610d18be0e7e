//! Events of the store.

use std::path::Path;

use crate::Chain;

/// The database cannot be read: it was moved aside, and a new one was begun.
pub fn set_aside(path: &Path, aside: &Path, reason: &str) {
    let (path, aside) = (path.display(), aside.display());
    tracing::error!(%path, %aside, reason, "the store was damaged and is set aside");
}

/// An entry of the journal cannot be read; it is left out and counted as dropped.
pub fn unreadable(position: u64, reason: &str) {
    tracing::error!(position, reason, "a batch in the journal cannot be read");
}

/// The disk fails, and a sink needs a batch that is only there.
pub fn journal_waits(sink: &str, position: u64, reason: &str) {
    tracing::error!(sink, position, reason, "the journal cannot be read, its sink waits");
}

/// The saved state of a sink cannot be read: its transformers start from nothing.
pub fn state_unreadable(sink: &str, reason: &str) {
    tracing::error!(sink, reason, "the saved state of a sink cannot be read");
}

/// The database was mostly free and takes less of the disk now.
pub fn compacted(before: u64, after: u64, held: i64) {
    tracing::info!(before, after, held, "store compacted");
}

/// The store's total leaves less than `store.bytes` to the journal and each spool.
pub fn share(total: u64, share: u64, bytes: u64) {
    tracing::warn!(total, share, bytes, "store.total leaves less than store.bytes to each");
}

/// The saved state of a sink of an earlier run, which is not in the configuration any more, was removed.
pub fn forgotten(sink: &str) {
    tracing::warn!(sink, "state of a sink that is not in the configuration removed");
}

/// Something cannot be written: what is not on disk is lost if the agent ends.
pub fn failing(error: &dyn std::error::Error) {
    tracing::error!(reason = %Chain(error), "the store cannot be written");
}

/// A recording cannot be written any more; what is in it stays.
pub fn recording_ended(error: &dyn std::error::Error) {
    tracing::error!(reason = %Chain(error), "the recording cannot be written and ends here");
}

/// It can be written again.
pub fn works() {
    tracing::info!("the store can be written again");
}

/// A sink of an earlier run is not in the configuration any more; what was held for it is dropped.
pub fn stranger(sink: &str, samples: u64) {
    tracing::warn!(sink, samples, "held for a sink that is not in the configuration: dropped");
}

/// A line of the file of dead letters cannot be read.
pub fn dead_letter_unreadable(path: &Path, line: usize, reason: &str) {
    tracing::warn!(path = %path.display(), line, reason, "a dead letter cannot be read");
}

/// Envelopes in a spool cannot be read; they are counted as dropped.
pub fn envelopes_unreadable(spool: &str, envelopes: u64) {
    tracing::error!(spool, envelopes, "envelopes in a spool cannot be read");
}

/// A spool of an earlier run holds something for a publisher that is not in the configuration any
/// more.
pub fn spool_orphan(spool: &str, envelopes: u64, samples: u64) {
    tracing::warn!(
        spool,
        envelopes,
        samples,
        "held for a publisher that is not in the configuration; `nephometer spool requeue` gives it to another one"
    );
}
