//! Commits that are larger than one chunk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tempfile::TempDir;
use tokio::sync::Mutex;

use super::spool_tests::{BOUNDS, envelope, ids};
use super::streaming::StreamedAppend;
use super::tests::crashed;
use super::*;
use nephometer_model::DeliveryResult;
use nephometer_telemetry::PublisherCount;

/// Bytes of one envelope; eight are one chunk.
const BODY: usize = 512 << 10;

/// `count` large envelopes; creating the one at index `at` calls `then`.
struct Large<F> {
    count: u128,
    at: u128,
    then: F,
    made: AtomicUsize,
}

impl<F: Fn() + Sync + Send> Envelopes for Large<F> {
    fn iter(&self) -> Box<dyn Iterator<Item = Envelope> + Send + '_> {
        Box::new((0..self.count).map(|id| {
            self.made.fetch_add(1, Relaxed);
            if id == self.at {
                (self.then)();
            }
            Envelope { body: vec![7; BODY].into(), ..envelope(id, "cpu", 0) }
        }))
    }
}

fn large<F: Fn() + Sync + Send>(count: u128, at: u128, then: F) -> Large<F> {
    Large { count, at, then, made: AtomicUsize::new(0) }
}

/// Two spools of one sink.
struct Rig {
    _store: Store,
    spools: Spools,
    counts: [Arc<PublisherCount>; 2],
    handles: [(SpoolWriter, SpoolReader); 2],
}

impl Rig {
    async fn open(folder: &Path, bounds: &SpoolBounds) -> Self {
        let store = Store::open(folder).unwrap();
        let spools = store.spools();
        let counts = [Arc::default(), Arc::default()];
        let open = async |name: &str, count: &Arc<PublisherCount>| {
            spools.open(name, bounds.clone(), WhenFull::DropOldest, (count, None)).await.unwrap()
        };
        let handles = [open("s/a", &counts[0]).await, open("s/b", &counts[1]).await];
        Self { _store: store, spools, counts, handles }
    }

    async fn commit(&self, envelopes: [&dyn Envelopes; 2]) -> commit::CommitReport {
        let handles = self.handles.iter().zip(envelopes);
        let appends: Vec<SpoolAppend<'_>> = handles
            .map(|((writer, _), envelopes)| SpoolAppend { writer, envelopes, records: None })
            .collect();
        commit::commit(&self.spools.backend, &appends, db::Changes::default(), Persistence::AtOnce)
            .await
    }

    fn numbers(&self, of: usize) -> [u64; 3] {
        let counts = &self.counts[of];
        let [encoded, pending] =
            [&counts.encoded, &counts.pending].map(|number| number.load(Relaxed));
        let known = counts.confirmed.load(Relaxed) + counts.dropped.total() + pending;
        assert_eq!(encoded, known, "{counts:?}");
        [encoded, counts.dropped.total(), pending]
    }

    /// The ids of all pending envelopes, which are acknowledged.
    async fn drain(&mut self, of: usize) -> Vec<u128> {
        let (reader, mut all) = (&mut self.handles[of].1, Vec::new());
        while reader.pending() > 0 {
            let found = reader.lease(100).await.unwrap();
            assert!(found.iter().map(|one| one.body.len()).sum::<usize>() <= 8 << 20);
            all.extend(ids(&found));
            reader.acknowledge(&vec![DeliveryResult::Acknowledged; found.len()]).await;
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_before_the_commit_leaves_nothing_and_after_it_everything() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(folder.path(), &BOUNDS).await;
    rig.handles[1].0.push(vec![envelope(99, "cpu", 0)]).await;
    let killed: std::sync::Mutex<Option<TempDir>> = std::sync::Mutex::default();
    let seen = std::sync::Mutex::new(Vec::new());
    let (first, second) = {
        let (a, b) = (&rig.handles[0].1, &rig.handles[1].1);
        let look = || {
            seen.lock().unwrap().push((a.pending(), b.pending()));
            *killed.lock().unwrap() = Some(crashed(folder.path()));
        };
        let (first, second) = (large(20, 99, || {}), large(30, 25, look));
        let report = rig.commit([&first, &second]).await;
        assert!(report.written);
        assert_eq!(report.envelopes, [20, 30]);
        (first.made.load(Relaxed), second.made.load(Relaxed))
    };
    assert_eq!((first, second), (20, 30), "created once, and never all at once");
    let killed = killed.into_inner().unwrap().unwrap();
    let mut before = Rig::open(killed.path(), &BOUNDS).await;
    assert_eq!((before.numbers(0), before.numbers(1)), ([0, 0, 0], [1, 0, 1]));
    assert_eq!(before.drain(1).await, [99]);
    // After the commit everything is on disk, and only heads are in memory.
    let after = crashed(folder.path());
    let mut after = Rig::open(after.path(), &BOUNDS).await;
    for rig in [&mut after, &mut rig] {
        assert_eq!((rig.numbers(0), rig.numbers(1)), ([20, 0, 20], [31, 0, 31]));
        assert_eq!(rig.drain(0).await, (0..20).collect::<Vec<_>>());
        assert_eq!(rig.drain(1).await[1..], (0..30).collect::<Vec<_>>());
        assert_eq!((rig.numbers(0), rig.numbers(1)), ([20, 0, 0], [31, 0, 0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_event_evicts_the_oldest_and_counters_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = SpoolBounds { bytes: 6 << 20, ..BOUNDS };
    let mut rig = Rig::open(folder.path(), &bounds).await;
    rig.handles[0].0.push(vec![envelope(99, "memory", 0)]).await;
    let (first, none) = (large(40, 99, || {}), Vec::<Envelope>::new());
    assert!(rig.commit([&first, &none]).await.written);
    // The older envelope was evicted; of the new ones the first stay.
    assert_eq!(rig.numbers(0), [41, 30, 11]);
    let meters = rig.counts[0].dropped.by_meter();
    let of = |meter: &str| meters[&("spool_full", meter.to_owned())];
    assert_eq!((of("memory"), of("cpu")), (1, 29));
    let mut again = Rig::open(crashed(folder.path()).path(), &bounds).await;
    assert_eq!(again.numbers(0), [41, 30, 11]);
    assert_eq!(again.drain(0).await, (0..11).collect::<Vec<_>>());
    assert_eq!(rig.drain(0).await, (0..11).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_append_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(folder.path(), &BOUNDS).await;
    let gate = Mutex::new(());
    {
        let locked = gate.lock().await;
        let endless = large(40, 30, || drop(gate.try_lock()));
        let none = Vec::<Envelope>::new();
        let emitting = rig.commit([&endless, &none]);
        tokio::pin!(emitting);
        // Polled until more than one chunk was created, then dropped.
        while endless.made.load(Relaxed) < 20 {
            let soon = std::time::Duration::from_millis(1);
            assert!(
                tokio::time::timeout(soon, &mut emitting).await.is_err(),
                "committed before it was cancelled"
            );
        }
        drop(locked);
    }
    assert_eq!(rig.numbers(0), [0, 0, 0]);
    // The spool still works, with the same sequence numbers.
    let whole = large(10, 99, || {});
    assert!(rig.commit([&whole, &Vec::new()]).await.written);
    assert_eq!(rig.handles[0].1.lease(1).await.unwrap()[0].sequence, 1);
    assert_eq!(rig.drain(0).await, (0..10).collect::<Vec<_>>());
}

/// The disk fails: what fits is kept in memory, in order, and written later.
#[tokio::test(flavor = "multi_thread")]
async fn failed_commit_keeps_envelopes_in_memory_up_to_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(folder.path(), &BOUNDS).await;
    let all = large(140, 999, || {});
    {
        let shared = &rig.handles[0].0.shared;
        let mut streaming = StreamedAppend::begin(shared, None).await;
        for envelope in all.iter() {
            drop(streaming.add(vec![envelope]).await);
        }
        let (_, attempt) = streaming.take_change();
        streaming.commit();
        streaming.keep_in_memory(all.iter(), attempt).await;
    }
    let [encoded, dropped, pending] = rig.numbers(0);
    assert_eq!((encoded, dropped + pending), (140, 140));
    assert!((120..128).contains(&pending), "{pending}: 64 MiB of 512 KiB each");
    assert_eq!(rig.counts[0].dropped.by_meter()[&("spool_full", "cpu".to_owned())], dropped);
    rig.spools.close().await;
    let mut again = Rig::open(crashed(folder.path()).path(), &BOUNDS).await;
    assert_eq!(again.drain(0).await, (0..u128::from(pending)).collect::<Vec<_>>());
    assert_eq!(rig.drain(0).await, (0..u128::from(pending)).collect::<Vec<_>>());
}
