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
    recorder: Option<Recorder>,
) {
    let mut recording = recorder.map(Recorder::start);
    while let Some(Polled { batch, gaps }) = polled.recv().await {
        if let Some(one) = &mut recording
            && let Err(error) = one.append(&batch).await
        {
            events::store::recording_ended(&error);
            recording = None;
        }
        journal.append(batch, gaps).await;
    }
    journal.close();
    if let Some(recording) = recording
        && let Err(error) = recording.finish().await
    {
        events::store::recording_ended(&error);
    }
}
