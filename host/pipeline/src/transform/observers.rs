//! Who looks at what a chain makes: taps of people, and shadows of transformers.
//!
//! Keeps what the current batch has become at each point. It is shown when the whole batch has
//! succeeded: a failed attempt is repeated.

use std::mem;

use super::journaled_batch::JournaledBatch;
use super::shadow_feed::ShadowFeeds;
use crate::taps::{Passage, Taps};

/// The observers of one chain.
#[derive(Default)]
pub(super) struct Observers {
    pub(super) taps: Taps,
    pub(super) shadows: ShadowFeeds,
    passages: Vec<Passage>,
}

impl Observers {
    /// Begins a batch.
    pub(super) fn begin(&mut self) {
        self.passages.clear();
    }

    /// Notes what the batch has become at a point.
    pub(super) fn note(&mut self, passage: Passage) {
        self.passages.push(passage);
    }

    /// Shows the batch, which has been processed for its output and flushed, to all. `down` is
    /// true for a transformer without an instance.
    pub(super) fn show_flushed(&mut self, batch: &JournaledBatch, down: impl Fn(usize) -> bool) {
        self.shadows.offer((batch, &self.passages), down);
        self.show();
    }

    /// Shows the batch to taps alone: to shadows, nothing has happened.
    pub(super) fn show(&mut self) {
        self.taps.offer(mem::take(&mut self.passages));
    }

    /// Shows a batch that no shadow can follow, because it is not in the journal.
    pub(super) fn show_injected(&mut self) {
        self.shadows.detach();
        self.show();
    }
}
