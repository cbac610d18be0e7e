use std::sync::Arc;

use tokio::sync::mpsc;

use crate::model::Batch;
use crate::store::Journal;

/// Writes every batch into the journal, until there are no more batches. Then the journal is
/// closed, which is how the sinks learn that no more will come.
pub async fn route(mut batches: mpsc::Receiver<Arc<Batch>>, journal: Journal) {
    while let Some(batch) = batches.recv().await {
        journal.append(batch).await;
    }
    journal.close();
}
