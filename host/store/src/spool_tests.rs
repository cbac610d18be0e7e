//! Spools as their users see them: what a receiver gets, what is counted, and what survives a crash.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::tests::crashed;
use super::*;
use nephometer_model::{
    DeliveryResult, Glob, Meter, MeterType, Moment, Resource, Sample, Timestamp, Volume,
};
use nephometer_telemetry::{Dropped, PublisherCount};

pub(super) const BOUNDS: SpoolBounds =
    SpoolBounds { bytes: 1 << 30, count: None, age: None, evict_last: Vec::new() };
/// Approximate weight of one of these envelopes, bytes.
const WEIGHT: u64 = 1_500;

/// An envelope with one sample of a meter, taken at this second.
pub(super) fn envelope(id: u128, meter: &str, second: u64) -> Envelope {
    let resource = Resource { id: "r".into(), ..Resource::default() };
    let wall = Timestamp::from_nanos(second * 1_000_000_000);
    let sample = Sample {
        id: Uuid::from_u128(id),
        meter: Arc::new(Meter::new(meter, MeterType::Gauge, "")),
        resource: Arc::new(resource),
        volume: Volume::Integer(1),
        taken: Moment { wall, ..Moment::default() },
    };
    Envelope {
        id: Uuid::from_u128(id),
        address: "metering.sample".into(),
        body: vec![u8::try_from(id % 251).unwrap(); 1_000].into(),
        samples: 1,
        offset: u64::try_from(id).unwrap() + 1,
        manifest: Manifest::from_samples([&sample]).into(),
        ..Envelope::default()
    }
}

fn envelopes(ids: std::ops::Range<u128>) -> Vec<Envelope> {
    ids.map(|id| envelope(id, "cpu", 0)).collect()
}

pub(super) fn ids(envelopes: &[Envelope]) -> Vec<u128> {
    envelopes.iter().map(|envelope| envelope.id.as_u128()).collect()
}

/// A store with one spool.
struct Rig {
    _store: Store,
    spools: Spools,
    counts: Arc<PublisherCount>,
    writer: SpoolWriter,
    reader: SpoolReader,
}

impl Rig {
    async fn open(folder: &Path, bounds: SpoolBounds, when_full: WhenFull) -> Self {
        let store = Store::open(folder).unwrap();
        let spools = store.spools();
        let counts = Arc::new(PublisherCount::default());
        let (writer, reader) =
            spools.open("s/p", bounds, when_full, (&counts, None)).await.unwrap();
        Self { _store: store, spools, counts, writer, reader }
    }

    async fn in_memory(bounds: SpoolBounds, when_full: WhenFull) -> Self {
        let spools = Spools::in_memory();
        let counts = Arc::new(PublisherCount::default());
        let (writer, reader) =
            spools.open("s/p", bounds, when_full, (&counts, None)).await.unwrap();
        let store = Store::in_memory(Path::new("/nowhere"));
        Self { _store: store, spools, counts, writer, reader }
    }

    fn numbers(&self) -> [u64; 4] {
        let counts = &self.counts;
        let numbers = [&counts.encoded, &counts.confirmed, &counts.pending];
        let [encoded, confirmed, pending] = numbers.map(|number| number.load(Relaxed));
        assert_eq!(encoded, confirmed + counts.dropped.total() + pending, "{counts:?}");
        [encoded, confirmed, counts.dropped.total(), pending]
    }
}

#[tokio::test]
async fn counters_add_up_through_drops_and_rejections() {
    let bounds = SpoolBounds { count: Some(4), ..BOUNDS };
    let mut rig = Rig::in_memory(bounds, WhenFull::DropOldest).await;
    rig.writer.push(envelopes(0..6)).await;
    assert_eq!(ids(&rig.reader.lease(3).await.unwrap()), [2, 3, 4]);
    let refused = DeliveryResult::Rejected("no".to_owned());
    rig.reader
        .acknowledge(&[DeliveryResult::Acknowledged, DeliveryResult::pending(""), refused])
        .await;
    assert_eq!(ids(&rig.reader.lease(9).await.unwrap()), [3, 5]);
    assert_eq!(rig.numbers(), [6, 1, 3, 2]);
    assert_eq!(rig.counts.dropped.to_string(), "3 dropped (policy 2, permanent 1)");
    assert_eq!(rig.reader.drop_all(Dropped::Policy).await, 2);
    assert_eq!(rig.numbers(), [6, 1, 5, 0]);
    drop(rig.writer);
    assert!(!rig.reader.ready().await);
}

#[tokio::test]
async fn spool_is_bounded_in_bytes_and_age_and_drops_are_counted_by_meter() {
    let evict_last = vec![Glob::new("cpu").unwrap()];
    let bytes = 3 * WEIGHT;
    let age = Some(Duration::from_secs(60));
    let bounds = SpoolBounds { bytes, count: None, age, evict_last };
    let mut rig = Rig::in_memory(bounds, WhenFull::DropOldest).await;
    rig.writer.push(vec![envelope(0, "cpu", 1), envelope(1, "memory", 2)]).await;
    rig.writer.push(vec![envelope(2, "memory", 3), envelope(3, "cpu", 4)]).await;
    // The oldest has the highest rank.
    assert_eq!(ids(&rig.reader.lease(9).await.unwrap()), [0, 2, 3]);
    rig.reader.acknowledge(&[]).await;
    rig.writer.push(vec![envelope(4, "cpu", 64)]).await;
    assert_eq!(ids(&rig.reader.lease(9).await.unwrap()), [3, 4]);
    let meters: Vec<_> = rig.counts.dropped.by_meter().into_iter().collect();
    let of = |reason, meter: &str, count| ((reason, meter.to_owned()), count);
    let expected =
        [of("spool_full", "memory", 1), of("too_old", "cpu", 1), of("too_old", "memory", 1)];
    assert_eq!(meters, expected);
}

#[tokio::test]
async fn crash_keeps_unacknowledged_envelopes_with_bytes_and_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(folder.path(), BOUNDS, WhenFull::DropOldest).await;
    rig.writer.push(envelopes(0..5)).await;
    assert_eq!(rig.writer.unwritten_envelopes().oldest_offset(), None, "all of it is on disk");
    let given = rig.reader.lease(3).await.unwrap();
    let refused = DeliveryResult::Rejected("too large".to_owned());
    rig.reader
        .acknowledge(&[DeliveryResult::Acknowledged, DeliveryResult::pending(""), refused])
        .await;
    // The removal is written at once, but durable only with the next synced write.
    rig.writer.push(envelopes(5..6)).await;
    let after = crashed(folder.path());
    let mut again = Rig::open(after.path(), BOUNDS, WhenFull::DropOldest).await;
    assert_eq!(again.numbers(), [6, 1, 1, 4]);
    let found = again.reader.lease(9).await.unwrap();
    assert_eq!(ids(&found), [1, 3, 4, 5]);
    assert_eq!(found[0], given[1]);
    assert_eq!(found.iter().map(|one| one.sequence).collect::<Vec<_>>(), [2, 4, 5, 6]);
    again.writer.push(envelopes(6..7)).await;
    assert_eq!(again.reader.lease(9).await.unwrap().last().unwrap().sequence, 7);
}

#[tokio::test]
async fn rejected_envelopes_are_kept_and_can_be_requeued() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(folder.path(), BOUNDS, WhenFull::DropOldest).await;
    rig.writer.push(envelopes(0..2)).await;
    rig.reader.lease(2).await.unwrap();
    rig.reader.acknowledge(&[DeliveryResult::Rejected("no".to_owned())]).await;
    let kept = rig.spools.page("s/p", None).await.unwrap();
    assert_eq!((kept.len(), kept[0].rejected.as_deref()), (1, None));
    let kept = rig.spools.page("s/p", kept.last().map(StoredEnvelope::cursor)).await.unwrap();
    assert_eq!((kept.len(), kept[0].rejected.as_deref()), (1, Some("no")));
    assert!(
        rig.spools.page("s/p", kept.last().map(StoredEnvelope::cursor)).await.unwrap().is_empty()
    );
    assert_eq!(rig.numbers(), [2, 0, 1, 1]);
    let moved = rig.spools.requeue("s/p", "s/p").await.unwrap();
    assert_eq!((moved.envelopes, moved.samples), (1, 1));
    assert_eq!(rig.numbers(), [2, 0, 0, 2]);
    assert_eq!(ids(&rig.reader.lease(9).await.unwrap()), [1, 0]);
    assert_eq!(rig.spools.requeue("s/p", "s/p").await.unwrap(), RequeueSummary::default());
    assert!(
        rig.spools.requeue("s/p", "s/other").await.unwrap_err().contains("unknown spool s/other")
    );
}

/// Requeued envelopes must neither evict pending ones nor be dropped.
#[tokio::test]
async fn envelopes_that_do_not_fit_are_not_requeued() {
    let folder = tempfile::tempdir().unwrap();
    let one = SpoolBounds { count: Some(1), ..BOUNDS };
    let mut rig = Rig::open(folder.path(), one, WhenFull::DropOldest).await;
    rig.writer.push(envelopes(0..1)).await;
    rig.reader.lease(1).await.unwrap();
    rig.reader.acknowledge(&[DeliveryResult::Rejected("no".to_owned())]).await;
    rig.writer.push(envelopes(1..2)).await;
    assert!(rig.spools.requeue("s/p", "s/p").await.unwrap_err().contains("no room"));
    assert_eq!(rig.numbers(), [2, 0, 1, 1]);
    rig.reader.lease(1).await.unwrap();
    rig.reader.acknowledge(&[DeliveryResult::Acknowledged]).await;
    assert_eq!(rig.spools.requeue("s/p", "s/p").await.unwrap().envelopes, 1);
    assert_eq!(rig.numbers(), [2, 1, 0, 1]);
}

#[tokio::test]
async fn orphaned_spool_is_requeued_to_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path(), BOUNDS, WhenFull::DropOldest).await;
    rig.writer.push(envelopes(0..250)).await;
    drop(rig);
    let store = Store::open(folder.path()).unwrap();
    let (spools, counts) = (store.spools(), Arc::new(PublisherCount::default()));
    let (_writer, mut reader) =
        spools.open("s/new", BOUNDS, WhenFull::DropOldest, (&counts, None)).await.unwrap();
    _writer.push(envelopes(900..901)).await;
    assert!(spools.requeue("s/new", "s/p").await.unwrap_err().contains("in use by a publisher"));
    assert_eq!(spools.requeue("s/p", "s/new").await.unwrap().envelopes, 250);
    let found = ids(&reader.lease(999).await.unwrap());
    assert_eq!((found.len(), found[0], found[1], found[250]), (251, 900, 0, 249));
    let left = spools.list().await.unwrap();
    let pending: BTreeMap<&str, u64> =
        left.iter().map(|one| (one.name.as_str(), one.pending)).collect();
    assert_eq!(pending, BTreeMap::from([("s/new", 251), ("s/p", 0)]));
    assert!(spools.check().await.unwrap().is_empty());
}

#[tokio::test]
async fn new_publisher_takes_over_a_spool_with_its_envelopes() {
    let mut rig = Rig::in_memory(BOUNDS, WhenFull::DropOldest).await;
    rig.writer.push(envelopes(0..2)).await;
    assert!(rig.reader.ready().await);
    rig.reader.lease(1).await.unwrap();
    let (writer, mut reader) =
        rig.spools.open("s/p", BOUNDS, WhenFull::DropOldest, (&rig.counts, None)).await.unwrap();
    rig.reader.acknowledge(&[DeliveryResult::Acknowledged]).await;
    assert!(!rig.reader.ready().await, "it has been taken over");
    drop((rig.writer, rig.reader));
    assert!(reader.ready().await);
    assert_eq!(ids(&reader.lease(9).await.unwrap()), [1]);
    assert!(!reader.is_closed());
    drop(writer);
    assert!(reader.is_closed());
}

/// A driver once could not acknowledge envelopes while another spool of the sink waited for room.
#[tokio::test]
async fn full_spool_does_not_block_other_spools_of_its_sink() {
    let spools = Spools::in_memory();
    let counts = || Arc::new(PublisherCount::default());
    let one = SpoolBounds { count: Some(1), ..BOUNDS };
    let (free, mut free_reader) =
        spools.open("s/free", BOUNDS, WhenFull::Wait, (&counts(), None)).await.unwrap();
    let (full, mut full_reader) =
        spools.open("s/full", one, WhenFull::Wait, (&counts(), None)).await.unwrap();
    free.push(envelopes(0..1)).await;
    full.push(envelopes(0..1)).await;
    free_reader.lease(1).await.unwrap();
    let (to_free, to_full) = (envelopes(1..2), envelopes(1..2));
    let appends = [
        SpoolAppend { writer: &free, envelopes: &to_free, records: None },
        SpoolAppend { writer: &full, envelopes: &to_full, records: None },
    ];
    let emitting =
        commit::commit(&spools.backend, &appends, db::Changes::default(), Persistence::AtOnce);
    tokio::pin!(emitting);
    let soon = Duration::from_millis(50);
    assert!(tokio::time::timeout(soon, &mut emitting).await.is_err(), "there is no room");
    let acknowledged = free_reader.acknowledge(&[DeliveryResult::Acknowledged]);
    tokio::time::timeout(Duration::from_secs(9), acknowledged).await.unwrap();
    full_reader.lease(1).await.unwrap();
    full_reader.acknowledge(&[DeliveryResult::Acknowledged]).await;
    emitting.await;
    assert_eq!(ids(&full_reader.lease(9).await.unwrap()), [1]);
    assert_eq!(ids(&free_reader.lease(9).await.unwrap()), [1]);
}

/// One step in the history of a spool.
#[derive(Debug, Clone)]
enum Step {
    Push(u8),
    /// Leases a number of envelopes, and acknowledges the first of them.
    Acknowledge(u8, u8),
    /// The process is killed and starts again.
    Crash,
    /// The process shuts down and starts again.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u8..5).prop_map(Step::Push),
        4 => (1_u8..6, 0_u8..6).prop_map(|(leased, acknowledged)| Step::Acknowledge(leased, acknowledged)),
        1 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Compared with a plain queue. A crash may bring back envelopes that were acknowledged since the
    /// last synced write, in their old places; nothing else is duplicated, missing or reordered.
    #[test]
    fn spool_is_a_queue_that_survives_restarts(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut folder = tempfile::tempdir().unwrap();
            let mut rig = Rig::open(folder.path(), BOUNDS, WhenFull::DropOldest).await;
            let (mut model, mut next) = (VecDeque::new(), 0_u128);
            // Acknowledged since the last synced write.
            let mut returns: Vec<u128> = Vec::new();
            for step in steps {
                match step {
                    Step::Push(count) => {
                        let end = next + u128::from(count);
                        rig.writer.push(envelopes(next..end)).await;
                        model.extend(next..end);
                        next = end;
                        returns.clear();
                    }
                    Step::Acknowledge(leased, acknowledged) => {
                        let given = ids(&rig.reader.lease(leased.into()).await.unwrap());
                        let expected: Vec<u128> = model.iter().copied().take(leased.into()).collect();
                        prop_assert_eq!(&given, &expected);
                        let acknowledged = usize::from(acknowledged).min(given.len());
                        rig.reader.acknowledge(&vec![DeliveryResult::Acknowledged; acknowledged]).await;
                        returns.extend(model.drain(..acknowledged));
                    }
                    Step::Crash => {
                        let after = crashed(folder.path());
                        drop(rig);
                        rig = Rig::open(after.path(), BOUNDS, WhenFull::DropOldest).await;
                        folder = after;
                        let found = ids(&rig.reader.lease(usize::MAX).await.unwrap());
                        let again = found.len() - model.len();
                        let expected: Vec<u128> = returns[returns.len() - again..]
                            .iter().chain(&model).copied().collect();
                        prop_assert_eq!(&found, &expected);
                        rig.reader.acknowledge(&[]).await;
                        model = found.into();
                        returns.clear();
                    }
                    Step::Restart => {
                        rig.spools.close().await;
                        drop(rig);
                        rig = Rig::open(folder.path(), BOUNDS, WhenFull::DropOldest).await;
                        returns.clear();
                    }
                }
                rig.numbers();
                prop_assert_eq!(rig.counts.pending.load(Relaxed), model.len() as u64);
            }
            Ok(())
        })?;
    }
}
