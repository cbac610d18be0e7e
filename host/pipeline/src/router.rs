//! The router: the only writer of the journal. It waits for the journal, never for a sink.

use tokio::sync::mpsc;

use nephometer_model::Polled;
use nephometer_store::{Journal, Recorder};
use nephometer_telemetry::events;

/// Sees every polled batch on its way into the journal. It must return at once: the data path waits
/// for it.
pub type PolledObserver = Box<dyn Fn(&Polled) + Send + Sync>;

/// Appends every polled batch, with its gaps, to the journal. Returns when the channel is closed,
/// after closing the journal, which ends the sinks.
///
/// A failing recording ends with a log line; the journal is not affected.
pub async fn route(
    mut polled: mpsc::Receiver<Polled>,
    journal: Journal,
    recorder: Option<Recorder>,
    observer: Option<PolledObserver>,
) {
    let mut recording = recorder.map(Recorder::start);
    while let Some(polled) = polled.recv().await {
        if let Some(observe) = &observer {
            observe(&polled);
        }
        let Polled { batch, gaps, .. } = polled;
        if let Some(running) = &mut recording
            && let Err(error) = running.append(&batch).await
        {
            events::store::recording_stopped(&error);
            recording = None;
        }
        journal.append(batch, gaps).await;
    }
    journal.close();
    if let Some(recording) = recording
        && let Err(error) = recording.finish().await
    {
        events::store::recording_stopped(&error);
    }
}
