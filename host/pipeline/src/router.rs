use tokio::sync::mpsc;

use nephometer_model::Polled;
use nephometer_store::{Journal, Recorder};
use nephometer_telemetry::events;

/// Writes every batch into the journal, with what is missing in it, until there are no more
/// batches. Then the journal is closed, which is how the sinks learn that no more will come.
///
/// A recording is a copy for people: where it cannot be written it ends, and nothing else does.
pub async fn route(
    mut polled: mpsc::Receiver<Polled>,
    journal: Journal,
    mut recorder: Option<Recorder>,
) {
    while let Some(Polled { batch, gaps }) = polled.recv().await {
        if let Some(recording) = &mut recorder
            && let Err(error) = recording.append(&batch).await
        {
            events::store::recording_ended(&error);
            recorder = None;
        }
        journal.append(batch, gaps).await;
    }
    journal.close();
}
