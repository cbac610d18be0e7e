//! Streams that can be verified: their numbers, links and records through restarts and crashes.

use std::collections::BTreeMap;
use std::path::Path;

use uuid::Uuid;

use super::spool_tests::{BOUNDS, envelope, ids};
use super::tests::crashed;
use super::*;
use nephometer_model::DeliveryResult;
use nephometer_proof::{DeclaredDrop, Digest, Numbers};
use nephometer_telemetry::PublisherCount;

const STREAM: Uuid = Uuid::from_u128(77);

/// Records whose bodies tell what they are.
pub(super) struct Words;

fn record(body: String) -> Envelope {
    let id = Uuid::new_v5(&Uuid::nil(), body.as_bytes());
    Envelope { id, body: body.into(), ..Envelope::default() }
}

impl StreamRecords for Words {
    fn statement(&self) -> Option<Envelope> {
        None
    }

    fn drops(&self, drops: Vec<DeclaredDrop>) -> Envelope {
        record(format!("drops {}", serde_json::to_string(&drops).unwrap()))
    }

    fn checkpoint(&self, [_, sequence]: [u64; 2], digest: Digest) -> Envelope {
        record(format!("checkpoint {sequence} {digest}"))
    }
}

struct Rig {
    _store: Store,
    spools: Spools,
    writer: SpoolWriter,
    reader: SpoolReader,
}

impl Rig {
    async fn open(folder: &Path, bounds: SpoolBounds) -> Self {
        let store = Store::open(folder).unwrap();
        let spools = store.spools();
        let counts = PublisherCount::default().into();
        let opened =
            spools.open("s/p", bounds, WhenFull::DropOldest, (&counts, Some(STREAM))).await;
        let (writer, reader) = opened.unwrap();
        Self { _store: store, spools, writer, reader }
    }

    async fn commit(&self, ids: std::ops::Range<u128>, persistence: Persistence) -> bool {
        let envelopes: Vec<Envelope> = ids.map(|id| envelope(id, "cpu", 0)).collect();
        let (writer, records) = (&self.writer, Some(&Words as &dyn StreamRecords));
        let append = [SpoolAppend { writer, envelopes: &envelopes, records }];
        let backend = &self.spools.backend;
        commit::commit(backend, &append, db::Changes::default(), persistence).await.written
    }

    /// Writes what is pending, as a sink does after a while.
    async fn write_pending(&self) {
        let (backend, nothing) = (&self.spools.backend, Vec::new());
        let append = [SpoolAppend { writer: &self.writer, envelopes: &nothing, records: None }];
        commit::commit(backend, &append, db::Changes::default(), Persistence::AtOnce).await;
    }

    /// Delivers all pending envelopes.
    async fn deliver(&mut self) -> Vec<Envelope> {
        let envelopes = self.reader.lease(99).await.unwrap();
        self.reader.acknowledge(&vec![DeliveryResult::Acknowledged; envelopes.len()]).await;
        envelopes
    }
}

/// Checks the links of what a receiver got, where messages follow each other, and that checkpoints
/// state the digest before them. Returns the declared drops.
pub(super) fn verify(received: &[Envelope]) -> Vec<DeclaredDrop> {
    let mut links = BTreeMap::from([(0, Digest::start(STREAM))]);
    let mut drops = Vec::new();
    for envelope in received {
        let link = envelope.link.expect("it has a link");
        let expected = link.previous.link(envelope.sequence, &Digest::of(&envelope.body));
        assert_eq!(link, expected, "message {}", envelope.sequence);
        if let Some(before) = links.get(&(envelope.sequence - 1)) {
            assert_eq!(*before, link.previous, "message {}", envelope.sequence);
        }
        let twice = links.insert(envelope.sequence, link.digest);
        assert!(twice.is_none_or(|digest| digest == link.digest), "two with one number");
        let body = std::str::from_utf8(&envelope.body).unwrap_or_default();
        if let Some(declared) = body.strip_prefix("drops ") {
            drops.extend(serde_json::from_str::<Vec<DeclaredDrop>>(declared).unwrap());
        }
        if body.starts_with("checkpoint") {
            let (sequence, digest) = (envelope.sequence - 1, link.previous);
            assert_eq!(body, format!("checkpoint {sequence} {digest}"));
        }
    }
    drops
}

#[tokio::test]
async fn chain_continues_through_a_clean_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(folder.path(), BOUNDS).await;
    assert!(rig.commit(0..2, Persistence::AtOnce).await);
    let mut received = rig.deliver().await;
    // Of these, some are on disk when the run ends.
    rig.commit(2..4, Persistence::AtOnce).await;
    rig.spools.close().await;
    drop(rig);
    let mut rig = Rig::open(folder.path(), BOUNDS).await;
    rig.commit(4..5, Persistence::AtOnce).await;
    received.extend(rig.deliver().await);
    assert_eq!(verify(&received), []);
    let sequences: Vec<u64> = received.iter().map(|one| one.sequence).collect();
    assert_eq!(sequences, (1..=8).collect::<Vec<_>>(), "three batches and their checkpoints");
}

/// What a killed agent had sent is in memory only: the next run must not use its numbers.
#[tokio::test]
async fn numbers_of_a_killed_run_are_not_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(folder.path(), BOUNDS).await;
    rig.commit(0..2, Persistence::AtOnce).await;
    let mut received = rig.deliver().await;
    assert!(!rig.commit(2..4, Persistence::Deferred).await, "it is only in memory");
    received.extend(rig.deliver().await);
    let after = crashed(folder.path());
    let mut again = Rig::open(after.path(), BOUNDS).await;
    // The same samples are encoded again, by another configuration perhaps.
    again.commit(2..3, Persistence::AtOnce).await;
    let sent_again = again.deliver().await;
    received.extend(sent_again.clone());
    let drops = verify(&received);
    let [drop] = &*drops else { panic!("{drops:?}") };
    let Some(Numbers { first, last, count }) = drop.numbers else { panic!("{drop:?}") };
    assert_eq!((drop.reason.as_str(), count), ("unclean_stop", last - first + 1));
    let firsts: Vec<u64> = sent_again.iter().map(|one| one.sequence).collect();
    assert_eq!(firsts, [last + 1, last + 2, last + 3], "declaration, sample, checkpoint");
    assert!(first <= 4 && last > 6, "{first} to {last}");
}

#[tokio::test]
async fn evicted_envelopes_are_declared_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = SpoolBounds { count: Some(6), ..BOUNDS };
    let mut rig = Rig::open(folder.path(), bounds).await;
    for batch in 0..5 {
        rig.commit(batch * 2..batch * 2 + 2, Persistence::AtOnce).await;
    }
    let mut received = rig.deliver().await;
    rig.commit(10..11, Persistence::AtOnce).await;
    received.extend(rig.deliver().await);
    rig.commit(11..12, Persistence::AtOnce).await;
    received.extend(rig.deliver().await);
    let drops = verify(&received);
    assert!(drops.iter().all(|drop| drop.reason == "policy"), "{drops:?}");
    assert!(drops.iter().all(|drop| drop.meters.keys().all(|meter| meter == "cpu")), "{drops:?}");
    let last = received.last().unwrap().sequence;
    let declared: u64 = drops.iter().filter_map(|drop| drop.numbers).map(|one| one.count).sum();
    assert_eq!(
        received.len() as u64 + declared,
        last,
        "no number is missing without a declaration"
    );
    let samples: u64 = drops.iter().map(|drop| drop.samples).sum();
    assert_eq!(received.iter().map(|one| one.samples).sum::<u64>() + samples, 12);
}

/// With a receiver that keeps up, all writes are lazy but those that reserve numbers.
#[tokio::test]
async fn numbers_are_reserved_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(folder.path(), BOUNDS).await;
    let mut received = Vec::new();
    for round in 0..1_500 {
        rig.commit(round..round + 1, Persistence::Deferred).await;
        received.extend(rig.deliver().await);
        rig.write_pending().await;
    }
    assert_eq!(received.len(), 3_000, "samples and checkpoints");
    assert_eq!(verify(&received), []);
    let mut again = Rig::open(crashed(folder.path()).path(), BOUNDS).await;
    again.commit(1_500..1_501, Persistence::AtOnce).await;
    received.extend(again.deliver().await);
    verify(&received);
}

// Each page of a requeue opened both spools anew: numbers were skipped, and a spool that was source and
// target had two writers.
#[tokio::test]
async fn requeue_without_a_publisher_skips_no_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(folder.path(), BOUNDS).await;
    rig.commit(0..120, Persistence::AtOnce).await;
    let envelopes = rig.reader.lease(200).await.unwrap();
    let mut received = envelopes[..1].to_vec();
    let result = |at| match at {
        0 => DeliveryResult::Acknowledged,
        _ => DeliveryResult::Rejected("no".to_owned()),
    };
    rig.reader.acknowledge(&(0..121).map(result).collect::<Vec<_>>()).await;
    rig.spools.close().await;
    drop(rig);
    let store = Store::open(folder.path()).unwrap();
    let requeued = store.spools().requeue("s/p", "s/p").await.unwrap();
    assert_eq!((requeued.envelopes, requeued.samples), (119, 119));
    drop(store);
    let mut rig = Rig::open(folder.path(), BOUNDS).await;
    received.extend(rig.reader.lease(200).await.unwrap());
    rig.reader.acknowledge(&vec![DeliveryResult::Acknowledged; 120]).await;
    rig.commit(120..121, Persistence::AtOnce).await;
    received.extend(rig.deliver().await);
    let drops = verify(&received);
    assert!(drops.iter().all(|drop| drop.reason == "permanent"), "{drops:?}");
    let sequences: Vec<u64> = received.iter().skip(1).map(|one| one.sequence).collect();
    assert_eq!(
        sequences,
        (122..=243).collect::<Vec<_>>(),
        "requeued, declaration, sample, checkpoint"
    );
}

/// A declaration that is itself dropped must not take with it what it declared.
#[tokio::test]
async fn drops_of_a_dropped_declaration_are_declared_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(folder.path(), BOUNDS).await;
    let mut received = Vec::new();
    for round in 0..4 {
        rig.commit(round..round + 1, Persistence::AtOnce).await;
        // `policy=drop`: whatever is pending is dropped, including a declaration.
        rig.reader.drop_all(nephometer_telemetry::Dropped::Policy).await;
        if round == 1 {
            drop(rig);
            rig = Rig::open(folder.path(), BOUNDS).await;
        }
    }
    for round in 4..7 {
        rig.commit(round..round + 1, Persistence::AtOnce).await;
        received.extend(rig.deliver().await);
    }
    let drops = verify(&received);
    let samples: u64 =
        drops.iter().filter(|one| one.reason == "policy").map(|one| one.samples).sum();
    assert_eq!(samples, 4, "{drops:?}");
    let first = received.first().unwrap().sequence;
    let declared: u64 = drops.iter().filter_map(|one| one.numbers).map(|one| one.count).sum();
    assert!(declared >= first - 1, "{declared} of {first}: {drops:?}");
}

/// Acknowledged before the next commit, so they are never written.
#[tokio::test]
async fn envelopes_of_a_publisher_that_keeps_up_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(folder.path(), BOUNDS).await;
    for batch in 0..5 {
        assert!(!rig.commit(batch..batch + 1, Persistence::Deferred).await);
        assert_eq!(rig.deliver().await.len(), 2);
        let pending = |spools: Vec<SpoolSummary>| spools.iter().map(|one| one.pending).sum::<u64>();
        assert_eq!(pending(rig.spools.list().await.unwrap()), 0);
    }
    // The receiver is away: the next commit writes what is pending, and later ones do not wait.
    assert!(!rig.commit(5..6, Persistence::Deferred).await);
    assert!(rig.commit(6..6, Persistence::AtOnce).await);
    assert!(rig.commit(6..7, Persistence::Deferred).await, "the publisher does not keep up");
    let after = crashed(folder.path());
    let mut again = Rig::open(after.path(), BOUNDS).await;
    let pending = again.reader.lease(99).await.unwrap();
    assert_eq!(ids(&pending).iter().filter(|id| **id == 5 || **id == 6).count(), 2);
    verify(&again.deliver().await);
}
