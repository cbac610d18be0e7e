//! A sink from outside: what it emits, what its handle reports, what is there after a take-over.

use std::collections::HashSet;
use std::path::Path;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::super::emit::SinkOutput;
use super::super::handle::{Command, SinkStatus, Takeover};
use super::*;
use crate::transform::summing::{Knobs, POISON, batch, chain};
use nephometer_config::{OnError, StateMismatch};
use nephometer_store::{Journal, JournalBounds, Store, WhenFull};
use nephometer_telemetry::SinkCount;

/// Longer than anything here takes; only a failure uses it up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A sink at work on a journal, with one transformer that adds up.
struct Rig {
    store: Store,
    journal: Journal,
    handle: SinkHandle,
    count: Arc<SinkCount>,
    emitted: mpsc::Receiver<SinkOutput>,
    sink_events: mpsc::Receiver<SinkEvent>,
    running: JoinHandle<DrainedSink>,
}

fn revision(knobs: &Knobs, on_error: OnError) -> ChainRevision {
    ChainRevision {
        chain: chain(std::slice::from_ref(knobs)).0,
        on_error: vec![on_error],
        on_state_mismatch: vec![StateMismatch::default()],
    }
}

/// A sink that has not begun.
struct Parts {
    sink: Sink,
    store: Store,
    journal: Journal,
    handle: SinkHandle,
    count: Arc<SinkCount>,
    emitted: mpsc::Receiver<SinkOutput>,
    sink_events: mpsc::Receiver<SinkEvent>,
}

fn parts(revision: Option<ChainRevision>) -> Parts {
    let store = Store::in_memory(Path::new("/nonexistent"));
    let bounds = JournalBounds { bytes: 1 << 30, samples: 1_000_000, age: None };
    let journal = store.journal(bounds, WhenFull::Wait).unwrap();
    let count = Arc::new(SinkCount::default());
    let sources = HashSet::from(["source".into()]);
    let reader = journal.reader(&"sink".into(), &sources, &count).unwrap();
    let ((tap, emitted), (told, sink_events)) = (mpsc::channel(10_000), mpsc::channel(16));
    let (sink, handle) = Sink::new(SinkParts {
        name: "sink".into(),
        journal: reader,
        revision,
        outlet: Outlet::new(Vec::new(), Some(tap)),
        count: Arc::clone(&count),
        dead_letters: store.dead_letters(),
        sink_events: told,
        guest_threads: None,
    });
    Parts { sink, store, journal, handle, count, emitted, sink_events }
}

fn rig(revision: Option<ChainRevision>) -> Rig {
    let Parts { sink, store, journal, handle, count, emitted, sink_events } = parts(revision);
    let running = tokio::spawn(sink.run());
    Rig { store, journal, handle, count, emitted, sink_events, running }
}

impl Rig {
    async fn put(&self, volumes: &[f64]) {
        self.journal.append(batch(volumes), Vec::new()).await;
    }

    /// The next emission's numbers.
    async fn next(&mut self) -> Vec<f64> {
        let emission = tokio::time::timeout(PATIENCE, self.emitted.recv()).await.unwrap().unwrap();
        emission.samples.iter().map(|sample| sample.volume.as_f64()).collect()
    }

    async fn until(&self, what: impl Fn(&SinkStatus) -> bool) -> SinkStatus {
        let waiting = async {
            loop {
                let status = self.handle.status();
                if what(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap()
    }
}

/// One that has caught up with what the sink gave, and takes over.
async fn replaced(handle: &SinkHandle, mut new: ChainRevision) {
    new.catch_up(&handle.snapshot().await.unwrap()).await.unwrap();
    assert!(matches!(handle.take_over(new, true).await, Takeover::Done(_)));
}

#[tokio::test]
async fn batches_are_worked_off_in_order_and_counted() {
    let mut rig = rig(Some(revision(&Knobs::default(), OnError::Hold)));
    rig.put(&[1.0, 2.0]).await;
    rig.put(&[4.0]).await;
    // The rows, then what the transformer emits at the end of the cycle.
    assert_eq!(rig.next().await, [1.0, 3.0]);
    assert_eq!(rig.next().await, [3.0]);
    assert_eq!(rig.next().await, [7.0]);
    let status = rig.until(|status| status.offset == 2).await;
    assert_eq!((status.state, rig.count.processed.load(Relaxed)), (SinkState::Running, 3));
}

#[tokio::test]
async fn without_transformers_batches_wait_and_nothing_is_lost() {
    let mut rig = rig(None);
    rig.put(&[1.0]).await;
    rig.handle.hold("no component c".to_owned()).await;
    let status = rig.until(|status| status.state != SinkState::Preparing).await;
    assert_eq!(status.state, SinkState::Waiting("no component c".to_owned()));
    assert_eq!(rig.count.processed.load(Relaxed), 0);
    replaced(&rig.handle, revision(&Knobs::default(), OnError::Hold)).await;
    assert_eq!(rig.next().await, [1.0]);
}

#[tokio::test(start_paused = true)]
async fn a_held_batch_is_tried_again_until_it_passes() {
    let knobs = Knobs::default();
    let mut rig = rig(Some(revision(&knobs, OnError::Hold)));
    rig.put(&[1.0]).await;
    assert_eq!(rig.next().await, [1.0]);
    rig.next().await;
    knobs.failures.store(6, Relaxed);
    rig.put(&[POISON]).await;
    rig.until(|status| matches!(status.state, SinkState::Failing(_))).await;
    assert_eq!(rig.next().await, [14.0], "once, and from the state before it failed");
    assert_eq!(knobs.failures.load(Relaxed), 0);
    rig.until(|status| status.state == SinkState::Running).await;
}

#[tokio::test]
async fn a_failed_batch_is_dropped_where_that_is_wanted_and_the_next_one_passes() {
    let knobs = Knobs::default();
    let mut rig = rig(Some(revision(&knobs, OnError::Drop)));
    knobs.failures.store(usize::MAX, Relaxed);
    rig.put(&[POISON]).await;
    rig.put(&[2.0]).await;
    // The flush of the failed batch, and the next one.
    assert_eq!(rig.next().await, [0.0]);
    assert_eq!(rig.next().await, [2.0]);
    rig.until(|status| status.offset == 2).await;
    assert_eq!(rig.count.processed.load(Relaxed), 2);
}

#[tokio::test]
async fn a_new_revision_takes_over_with_the_state_and_comes_back_if_it_fails() {
    let mut rig = rig(Some(revision(&Knobs::default(), OnError::Hold)));
    rig.put(&[1.0]).await;
    rig.next().await;
    rig.next().await;
    let knobs = Knobs::default();
    knobs.failures.store(usize::MAX, Relaxed);
    replaced(&rig.handle, revision(&knobs, OnError::Hold)).await;
    rig.put(&[2.0]).await;
    assert_eq!(rig.next().await, [3.0], "the new one goes on from the state of the old");
    rig.next().await;
    rig.put(&[POISON]).await;
    assert_eq!(rig.next().await, [16.0], "the old one again, with what it missed");
    let Some(SinkEvent::RolledBack { reason, .. }) = rig.sink_events.recv().await else { panic!() };
    assert!(reason.contains("trap"), "{reason}");
    let status = rig.handle.status();
    assert_eq!((status.reloads, status.rollbacks), (1, 1));
}

#[tokio::test]
async fn a_sink_drains_when_the_journal_is_closed() {
    let mut rig = rig(Some(revision(&Knobs::default(), OnError::Hold)));
    for volume in [1.0, 2.0, 3.0] {
        rig.put(&[volume]).await;
    }
    rig.journal.close();
    let drained_sink = tokio::time::timeout(PATIENCE, rig.running).await.unwrap().unwrap();
    drained_sink.finish().await;
    let mut sums = Vec::new();
    while let Some(emission) = rig.emitted.recv().await {
        sums.extend(emission.samples.iter().map(|sample| sample.volume.as_f64()));
    }
    assert_eq!(sums, [1.0, 1.0, 3.0, 3.0, 6.0, 6.0]);
    drop(rig.store);
}

// `reload --plan` had every sink keep all batches from then on, for nobody.
#[tokio::test]
async fn looking_at_the_state_makes_a_sink_keep_nothing() {
    let Parts { mut sink, journal, .. } = parts(Some(revision(&Knobs::default(), OnError::Hold)));
    sink.begin().await;
    let put = async |sink: &mut Sink| {
        journal.append(batch(&[1.0]), Vec::new()).await;
        let entry = sink.journal.next().await.unwrap();
        sink.work(entry).await;
        sink.catch_up_log.as_ref().map(|catch_up_log| catch_up_log.events().len())
    };
    let (reply, _base) = oneshot::channel();
    sink.handle_command(Command::Snapshot { follow: false, reply }).await;
    assert_eq!(put(&mut sink).await, None);
    let (reply, _base) = oneshot::channel();
    sink.handle_command(Command::Snapshot { follow: true, reply }).await;
    assert_eq!((put(&mut sink).await, put(&mut sink).await), (Some(1), Some(2)));
    sink.handle_command(Command::Abandon).await;
    assert_eq!(put(&mut sink).await, None);
}

#[tokio::test]
async fn what_is_kept_for_a_take_over_is_bounded_also_without_rows() {
    let Parts { mut sink, journal, .. } = parts(Some(revision(&Knobs::default(), OnError::Hold)));
    sink.begin().await;
    let (reply, _base) = oneshot::channel();
    sink.handle_command(Command::Snapshot { follow: true, reply }).await;
    for count in 1..=TRAIL_EVENTS + 1 {
        journal.append(batch(&[]), Vec::new()).await;
        let entry = sink.journal.next().await.unwrap();
        sink.work(entry).await;
        assert_eq!(sink.catch_up_log.is_some(), count <= TRAIL_EVENTS, "{count}");
    }
}

// A revision that was on its way took over without the rows that had been put back meanwhile.
#[tokio::test]
async fn rows_that_are_put_back_are_in_the_state_of_the_revision_that_takes_over() {
    let mut rig = rig(Some(revision(&Knobs::default(), OnError::Hold)));
    rig.put(&[1.0]).await;
    rig.next().await;
    rig.next().await;
    let mut new = revision(&Knobs::default(), OnError::Hold);
    new.catch_up(&rig.handle.snapshot().await.unwrap()).await.unwrap();
    let rows = batch(&[5.0]).samples.clone();
    assert_eq!(rig.handle.inject(0, rows).await, Ok(1));
    assert_eq!(rig.next().await, [6.0]);
    let Takeover::Stale(stale) = rig.handle.take_over(new, true).await else {
        panic!("it took over without the rows")
    };
    replaced(&rig.handle, *stale).await;
    rig.put(&[10.0]).await;
    assert_eq!(rig.next().await, [16.0]);
}
