use tokio::sync::mpsc;

use crate::model::Polled;
use crate::store::Journal;

/// Writes every batch into the journal, with what is missing in it, until there are no more
/// batches. Then the journal is closed, which is how the sinks learn that no more will come.
pub async fn route(mut polled: mpsc::Receiver<Polled>, journal: Journal) {
    while let Some(Polled { batch, gaps }) = polled.recv().await {
        journal.append(batch, gaps).await;
    }
    journal.close();
}
