//! The shadows of an agent, for those who ask what they have found.

use std::sync::{Arc, Mutex, PoisonError};

use nephometer_pipeline::ShadowReport;
use nephometer_wasm::ComponentStats;

/// A shadow of one transformer of a sink.
#[derive(Debug)]
pub(super) struct ShadowEntry {
    pub(super) sink: Arc<str>,
    pub(super) index: usize,
    pub(super) component: Arc<str>,
    /// The value of `shadow`.
    pub(super) source: String,
    pub(super) live: [u8; 32],
    /// `None` if it cannot be found.
    pub(super) digest: Option<[u8; 32]>,
    /// The counters of the live component when the shadow began.
    pub(super) before: Option<ComponentStats>,
    pub(super) report: ShadowReport,
}

impl ShadowEntry {
    /// The place in the pipeline, as in the counters of components.
    pub(super) fn place(&self) -> String {
        format!("{}/{}", self.sink, self.index)
    }
}

/// The shadows of an agent, for those who ask. A clone is the same list.
#[derive(Debug, Clone, Default)]
pub(super) struct ShadowList(Arc<Mutex<Vec<Arc<ShadowEntry>>>>);

impl ShadowList {
    /// All of them, in the order of the pipeline.
    pub(super) fn all(&self) -> Vec<Arc<ShadowEntry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn replace(&self, entries: Vec<Arc<ShadowEntry>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = entries;
    }
}
