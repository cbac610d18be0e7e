//! A sink whose journal has ended, while its publishers drain their spools.

use std::sync::Arc;

use super::fanout::emitted_offset;
use crate::publish::UnwrittenEnvelopes;
use nephometer_model::Offset;
use nephometer_store::{JournalReader, SavedChain};
use nephometer_telemetry::events;

/// A drained sink: everything is processed, and the last offset and state are not written yet.
pub struct DrainedSink {
    pub(super) journal: JournalReader,
    pub(super) unwritten: Vec<UnwrittenEnvelopes>,
    pub(super) offset: Offset,
    pub(super) pending_save: Option<SavedChain>,
    pub(super) name: Arc<str>,
}

impl DrainedSink {
    /// Writes the emitted offset and the last state. Call it once the publishers have drained as
    /// far as they can. The state is not written if its output is still undelivered.
    pub async fn finish(self) {
        let emitted = self.journal.advance_emitted(emitted_offset(&self.unwritten, self.offset));
        let Some(chain) = self.pending_save.filter(|pending| pending.offset <= emitted) else {
            return;
        };
        let offset = chain.offset;
        events::pipeline::state_save_started(&self.name, offset);
        match self.journal.save(chain).await {
            Ok(()) => events::pipeline::state_saved(&self.name, offset),
            Err(error) => events::store::write_failed(&error),
        }
    }
}
