//! Events of the store.

use std::error::Error;
use std::path::Path;

use crate::Chain;

/// The database cannot be read: it was renamed, and a new one was created.
pub fn damaged_store_moved(path: &Path, moved_to: &Path, reason: &str) {
    let (path, moved_to) = (path.display(), moved_to.display());
    tracing::error!(%path, %moved_to, reason, "damaged store moved aside");
}

/// The file of host ids and keys cannot be read: it was renamed, and a new one with a new key was
/// created.
pub fn damaged_identity_moved(path: &Path, moved_to: &Path, reason: &str) {
    let (path, moved_to) = (path.display(), moved_to.display());
    tracing::error!(%path, %moved_to, reason, "damaged identity moved aside, new signing key");
}

/// An entry of the journal cannot be read. It is skipped and counted as dropped.
pub fn batch_unreadable(offset: u64, reason: &str) {
    tracing::error!(offset, reason, "journal batch unreadable");
}

/// The disk fails, and a sink needs a batch that is only on disk. The sink waits and retries.
pub fn journal_read_failed(sink: &str, offset: u64, reason: &str) {
    tracing::error!(sink, offset, reason, "journal read failed, sink waiting");
}

/// The saved state of a sink cannot be read: its transformers start without state.
pub fn state_unreadable(sink: &str, reason: &str) {
    tracing::error!(sink, reason, "sink state unreadable");
}

/// The database was mostly free space and takes less of the disk now.
pub fn compacted(bytes_before: u64, bytes_after: u64, bytes_used: i64) {
    tracing::info!(bytes_before, bytes_after, bytes_used, "store compacted");
}

/// `store.total` leaves less than `store.bytes` to the journal and each spool.
pub fn share_below_setting(total_bytes: u64, share_bytes: u64, setting_bytes: u64) {
    tracing::warn!(
        total_bytes,
        share_bytes,
        setting_bytes,
        "store.total too small for store.bytes"
    );
}

/// The saved state of a sink that is no longer configured was removed.
pub fn orphaned_state_removed(sink: &str) {
    tracing::warn!(sink, "orphaned sink state removed");
}

/// The store cannot be written: what is only in memory is lost if the agent ends.
pub fn write_failed(error: &dyn Error) {
    tracing::error!(reason = %Chain(error), "store write failed");
}

/// The store can be written again.
pub fn write_restored() {
    tracing::info!("store writable again");
}

/// A recording can no longer be written. What it contains stays.
pub fn recording_stopped(error: &dyn Error) {
    tracing::error!(reason = %Chain(error), "recording stopped, write failed");
}

/// Batches of a sink that is no longer configured were dropped.
pub fn orphaned_batches_dropped(sink: &str, samples: u64) {
    tracing::warn!(sink, samples, "orphaned batches dropped");
}

/// A line of the file of dead letters cannot be read. It is skipped.
pub fn dead_letter_unreadable(path: &Path, line: usize, reason: &str) {
    tracing::warn!(path = %path.display(), line, reason, "dead letter unreadable");
}

/// Envelopes in a spool cannot be read. They are counted as dropped.
pub fn envelopes_unreadable(spool: &str, envelopes: u64) {
    tracing::error!(spool, envelopes, "spool envelopes unreadable");
}

/// A spool has envelopes of a publisher that is no longer configured.
pub fn orphaned_spool(spool: &str, envelopes: u64, samples: u64) {
    tracing::warn!(
        spool,
        envelopes,
        samples,
        "orphaned spool, `nephometer spool requeue` moves it to another publisher"
    );
}
