use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::model::Batch;
use crate::store::JournalWriter;
use crate::telemetry::events;

/// The journals of the sinks that each source names.
pub type Routes = HashMap<Arc<str>, Vec<JournalWriter>>;

/// Writes every batch into the journals of its source's sinks, until there are no more batches.
/// Ending drops the writers, which is how the sinks learn that no more will come.
pub async fn route(mut batches: mpsc::Receiver<Arc<Batch>>, routes: Routes) {
    while let Some(batch) = batches.recv().await {
        match routes.get(&batch.source) {
            Some(journals) => {
                for journal in journals {
                    journal.append(Arc::clone(&batch)).await;
                }
            }
            None => events::pipeline::unrouted(&batch.source, batch.samples.len()),
        }
    }
}
