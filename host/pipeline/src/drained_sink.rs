//! What is left of a sink that has ended.

use std::sync::Arc;

use super::emit::emitted;
use crate::publish::Outstanding;
use nephometer_model::Offset;
use nephometer_store::{JournalReader, SavedChain};
use nephometer_telemetry::events;

/// What is left of a sink that has ended: it is finished when its publishers have drained.
pub struct DrainedSink {
    pub(super) journal: JournalReader,
    pub(super) outstanding: Vec<Outstanding>,
    pub(super) offset: Offset,
    pub(super) pending: Option<SavedChain>,
    pub(super) name: Arc<str>,
}

impl DrainedSink {
    /// Writes the last marks and the last state, once the publishers have drained as far as they
    /// could.
    pub async fn finish(self) {
        let emitted = self.journal.emitted(emitted(&self.outstanding, self.offset));
        let Some(chain) = self.pending.filter(|pending| pending.offset <= emitted) else {
            return;
        };
        let offset = chain.offset;
        events::pipeline::saving(&self.name, offset);
        match self.journal.save(chain).await {
            Ok(()) => events::pipeline::saved(&self.name, offset),
            Err(error) => events::store::failing(&error),
        }
    }
}
