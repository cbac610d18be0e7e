//! A sink from outside: its output, the status of its handle, its state after a takeover.

use std::collections::HashSet;
use std::path::Path;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::super::fanout::SinkOutput;
use super::super::handle::{Command, SinkStatus, Takeover};
use super::*;
use crate::transform::summing_transformer::{POISON, TestControl, batch, chain};
use nephometer_config::{OnError, StateMismatch};
use nephometer_store::{Journal, JournalBounds, Store, WhenFull};
use nephometer_telemetry::SinkCount;

/// Longer than any test takes; only a failure reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running sink with one transformer that sums up.
struct RunningSink {
    store: Store,
    journal: Journal,
    handle: SinkHandle,
    count: Arc<SinkCount>,
    output: mpsc::Receiver<SinkOutput>,
    sink_events: mpsc::Receiver<SinkEvent>,
    running: JoinHandle<DrainedSink>,
}

fn revision(control: &TestControl, on_error: OnError) -> ChainRevision {
    ChainRevision {
        chain: chain(std::slice::from_ref(control)).0,
        on_error: vec![on_error],
        on_state_mismatch: vec![StateMismatch::default()],
    }
}

/// A sink that is not running yet.
struct UnstartedSink {
    sink: Sink,
    store: Store,
    journal: Journal,
    handle: SinkHandle,
    count: Arc<SinkCount>,
    output: mpsc::Receiver<SinkOutput>,
    sink_events: mpsc::Receiver<SinkEvent>,
}

fn unstarted(revision: Option<ChainRevision>) -> UnstartedSink {
    let store = Store::in_memory(Path::new("/nonexistent"));
    let bounds = JournalBounds { bytes: 1 << 30, samples: 1_000_000, age: None };
    let journal = store.journal(bounds, WhenFull::Wait).unwrap();
    let count = Arc::new(SinkCount::default());
    let sources = HashSet::from(["source".into()]);
    let reader = journal.reader(&"sink".into(), &sources, &count).unwrap();
    let ((observer, output), (event_sender, sink_events)) =
        (mpsc::channel(10_000), mpsc::channel(16));
    let (sink, handle) = Sink::new(SinkParts {
        name: "sink".into(),
        journal: reader,
        revision,
        fanout: PublisherFanout::new(Vec::new(), Some(observer)),
        count: Arc::clone(&count),
        dead_letters: store.dead_letters(),
        sink_events: event_sender,
        guest_threads: None,
    });
    UnstartedSink { sink, store, journal, handle, count, output, sink_events }
}

fn run(revision: Option<ChainRevision>) -> RunningSink {
    let UnstartedSink { sink, store, journal, handle, count, output, sink_events } =
        unstarted(revision);
    let running = tokio::spawn(sink.run());
    RunningSink { store, journal, handle, count, output, sink_events, running }
}

impl RunningSink {
    async fn append(&self, volumes: &[f64]) {
        self.journal.append(batch(volumes), Vec::new()).await;
    }

    /// The volumes of the next output.
    async fn next_output(&mut self) -> Vec<f64> {
        let output = tokio::time::timeout(PATIENCE, self.output.recv()).await.unwrap().unwrap();
        output.samples.iter().map(|sample| sample.volume.as_f64()).collect()
    }

    async fn wait_for(&self, condition: impl Fn(&SinkStatus) -> bool) -> SinkStatus {
        let waiting = async {
            loop {
                let status = self.handle.status();
                if condition(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap()
    }
}

/// Restores a revision from a snapshot of the sink, and lets it take over.
async fn replace(handle: &SinkHandle, mut new: ChainRevision) {
    new.restore(&handle.snapshot_for_takeover().await.unwrap()).await.unwrap();
    assert!(matches!(handle.take_over(new, true, None).await, Takeover::Done(_)));
}

#[tokio::test]
async fn batches_are_processed_in_order_and_counted() {
    let mut sink = run(Some(revision(&TestControl::default(), OnError::Hold)));
    sink.append(&[1.0, 2.0]).await;
    sink.append(&[4.0]).await;
    // The transformed samples, then those of the flush at the end of the cycle.
    assert_eq!(sink.next_output().await, [1.0, 3.0]);
    assert_eq!(sink.next_output().await, [3.0]);
    assert_eq!(sink.next_output().await, [7.0]);
    let status = sink.wait_for(|status| status.offset == 2).await;
    assert_eq!((status.state, sink.count.processed.load(Relaxed)), (SinkState::Running, 3));
}

#[tokio::test]
async fn batches_wait_in_the_journal_until_there_are_transformers() {
    let mut sink = run(None);
    sink.append(&[1.0]).await;
    sink.handle.hold("no component c".to_owned()).await;
    let status = sink.wait_for(|status| status.state != SinkState::Preparing).await;
    assert_eq!(status.state, SinkState::Waiting("no component c".to_owned()));
    assert_eq!(sink.count.processed.load(Relaxed), 0);
    replace(&sink.handle, revision(&TestControl::default(), OnError::Hold)).await;
    assert_eq!(sink.next_output().await, [1.0]);
}

#[tokio::test(start_paused = true)]
async fn a_pending_batch_is_retried_until_it_succeeds() {
    let control = TestControl::default();
    let mut sink = run(Some(revision(&control, OnError::Hold)));
    sink.append(&[1.0]).await;
    assert_eq!(sink.next_output().await, [1.0]);
    sink.next_output().await;
    control.failures.store(6, Relaxed);
    sink.append(&[POISON]).await;
    sink.wait_for(|status| matches!(status.state, SinkState::Failing(_))).await;
    assert_eq!(sink.next_output().await, [14.0], "once, from the state before the failure");
    assert_eq!(control.failures.load(Relaxed), 0);
    sink.wait_for(|status| status.state == SinkState::Running).await;
}

#[tokio::test]
async fn with_on_error_drop_a_failed_batch_is_dropped_and_the_next_one_processed() {
    let control = TestControl::default();
    let mut sink = run(Some(revision(&control, OnError::Drop)));
    control.failures.store(usize::MAX, Relaxed);
    sink.append(&[POISON]).await;
    sink.append(&[2.0]).await;
    // The flush after the failed batch, then the next batch.
    assert_eq!(sink.next_output().await, [0.0]);
    assert_eq!(sink.next_output().await, [2.0]);
    sink.wait_for(|status| status.offset == 2).await;
    assert_eq!(sink.count.processed.load(Relaxed), 2);
}

#[tokio::test]
async fn a_new_revision_takes_over_the_state_and_is_rolled_back_if_it_fails() {
    let mut sink = run(Some(revision(&TestControl::default(), OnError::Hold)));
    sink.append(&[1.0]).await;
    sink.next_output().await;
    sink.next_output().await;
    let control = TestControl::default();
    control.failures.store(usize::MAX, Relaxed);
    replace(&sink.handle, revision(&control, OnError::Hold)).await;
    sink.append(&[2.0]).await;
    assert_eq!(
        sink.next_output().await,
        [3.0],
        "the new revision starts from the state of the old one"
    );
    sink.next_output().await;
    sink.append(&[POISON]).await;
    assert_eq!(
        sink.next_output().await,
        [16.0],
        "the old revision, with the batches that it missed"
    );
    let Some(SinkEvent::RolledBack { reason, .. }) = sink.sink_events.recv().await else {
        panic!()
    };
    assert!(reason.contains("trap"), "{reason}");
    let status = sink.handle.status();
    assert_eq!((status.reloads, status.rollbacks), (1, 1));
}

#[tokio::test]
async fn a_sink_drains_when_the_journal_is_closed() {
    let mut sink = run(Some(revision(&TestControl::default(), OnError::Hold)));
    for volume in [1.0, 2.0, 3.0] {
        sink.append(&[volume]).await;
    }
    sink.journal.close();
    let drained_sink = tokio::time::timeout(PATIENCE, sink.running).await.unwrap().unwrap();
    drained_sink.finish().await;
    let mut sums = Vec::new();
    while let Some(output) = sink.output.recv().await {
        sums.extend(output.samples.iter().map(|sample| sample.volume.as_f64()));
    }
    assert_eq!(sums, [1.0, 1.0, 3.0, 3.0, 6.0, 6.0]);
    drop(sink.store);
}

// `reload --plan` once started a catch-up log in every sink, which nothing ended.
#[tokio::test]
async fn peeking_at_a_snapshot_starts_no_catch_up_log() {
    let UnstartedSink { mut sink, journal, .. } =
        unstarted(Some(revision(&TestControl::default(), OnError::Hold)));
    sink.restore().await;
    let process_one = async |sink: &mut Sink| {
        journal.append(batch(&[1.0]), Vec::new()).await;
        let entry = sink.journal.next().await.unwrap();
        sink.process(entry).await;
        sink.catch_up_log.as_ref().map(|log| log.batches().len())
    };
    let (reply, _snapshot) = oneshot::channel();
    sink.handle_command(Command::Snapshot { start_log: false, reply }).await;
    assert_eq!(process_one(&mut sink).await, None);
    let (reply, _snapshot) = oneshot::channel();
    sink.handle_command(Command::Snapshot { start_log: true, reply }).await;
    assert_eq!((process_one(&mut sink).await, process_one(&mut sink).await), (Some(1), Some(2)));
    sink.handle_command(Command::AbandonTakeover).await;
    assert_eq!(process_one(&mut sink).await, None);
}

#[tokio::test]
async fn the_catch_up_log_is_bounded_also_for_batches_without_samples() {
    let UnstartedSink { mut sink, journal, .. } =
        unstarted(Some(revision(&TestControl::default(), OnError::Hold)));
    sink.restore().await;
    let (reply, _snapshot) = oneshot::channel();
    sink.handle_command(Command::Snapshot { start_log: true, reply }).await;
    for count in 1..=CATCH_UP_BATCHES + 1 {
        journal.append(batch(&[]), Vec::new()).await;
        let entry = sink.journal.next().await.unwrap();
        sink.process(entry).await;
        assert_eq!(sink.catch_up_log.is_some(), count <= CATCH_UP_BATCHES, "{count}");
    }
}

// A revision that was catching up once took over without samples injected in the meantime.
#[tokio::test]
async fn injected_samples_are_in_the_state_of_the_revision_that_takes_over() {
    let mut sink = run(Some(revision(&TestControl::default(), OnError::Hold)));
    sink.append(&[1.0]).await;
    sink.next_output().await;
    sink.next_output().await;
    let mut new = revision(&TestControl::default(), OnError::Hold);
    new.restore(&sink.handle.snapshot_for_takeover().await.unwrap()).await.unwrap();
    let samples = batch(&[5.0]).samples.clone();
    assert_eq!(sink.handle.inject(0, samples).await, Ok(1));
    assert_eq!(sink.next_output().await, [6.0]);
    let Takeover::Stale(stale) = sink.handle.take_over(new, true, None).await else {
        panic!("it took over without the injected samples")
    };
    replace(&sink.handle, *stale).await;
    sink.append(&[10.0]).await;
    assert_eq!(sink.next_output().await, [16.0]);
}
