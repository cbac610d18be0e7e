//! The database on disk: its size, its bounds, and reads that fail.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::footprint::allocated_bytes;
use super::spool_tests::{BOUNDS, envelope, ids};
use super::*;
use nephometer_model::{Bound, DeliveryResult, Gap, GapReason, Timestamp};
use nephometer_telemetry::PublisherCount;

const MIB: u64 = 1 << 20;

fn sized(ids: std::ops::Range<u128>, bytes: usize) -> Vec<Envelope> {
    let make = |id| Envelope { body: vec![1; bytes].into(), ..envelope(id, "cpu", 0) };
    ids.map(make).collect()
}

async fn open(
    spools: &Spools,
    name: &str,
    bytes: u64,
) -> (SpoolWriter, SpoolReader, Arc<PublisherCount>) {
    let counts = Arc::new(PublisherCount::default());
    let bounds = SpoolBounds { bytes, ..BOUNDS };
    let (writer, reader) =
        spools.open(name, bounds, WhenFull::DropOldest, (&counts, None)).await.unwrap();
    (writer, reader, counts)
}

fn file(folder: &Path) -> u64 {
    allocated_bytes(&folder.join("agent.redb"))
}

/// With 4 MiB for each of 8 publishers the database once took 270 MB: gaps had no bound in bytes, free
/// pages were kept, and a growing file doubled.
#[tokio::test(flavor = "multi_thread")]
async fn file_size_stays_proportional_to_stored_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let spools = store.spools();
    let mut handles = Vec::new();
    for n in 0..4 {
        handles.push(open(&spools, &format!("s/{n}"), 4 * MIB).await);
    }
    for cycle_start in 0..10 {
        for (writer, ..) in &handles {
            writer.push(sized(cycle_start * 100..cycle_start * 100 + 50, 75_000)).await;
        }
        let stored = spools.list().await.unwrap().iter().map(|one| one.bytes).sum::<u64>();
        assert!(stored <= 16 * MIB, "{stored}");
        assert!(file(folder.path()) <= 32 * MIB + 4 * (stored + Bound::GapBytes.most()));
    }
    // After a long backlog is delivered, the file shrinks and the rest is intact.
    let (writer, mut reader, counts) = open(&spools, "s/long", 1 << 30).await;
    for part in 0..20 {
        writer.push(sized(part * 100..part * 100 + 100, 75_000)).await;
    }
    let most = file(folder.path());
    assert!(most > 150 * MIB, "{most}");
    while reader.pending() > 0 {
        let count = reader.lease(100).await.unwrap().len();
        reader.acknowledge(&vec![DeliveryResult::Acknowledged; count]).await;
    }
    assert_eq!(counts.confirmed.load(Relaxed), 2_000);
    spools.close().await;
    let stored = spools.list().await.unwrap().iter().map(|one| one.bytes).sum::<u64>();
    let least = file(folder.path());
    assert!(least <= 32 * MIB + 4 * (stored + Bound::GapBytes.most()), "{least} for {stored}");
    assert!(least < most / 2, "{least} of {most}");
    assert!(spools.check().await.unwrap().is_empty());
    drop((handles, writer, reader, spools, store));
    // The next start finds the same envelopes.
    let store = Store::open(folder.path()).unwrap();
    let spools = store.spools();
    let (_, mut reader, _) = open(&spools, "s/3", 4 * MIB).await;
    assert_eq!(ids(&reader.lease(100).await.unwrap()).last(), Some(&949));
    assert!(file(folder.path()) <= least + MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn total_is_shared_evenly_by_journal_and_spools() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let spools = store.spools();
    spools.set_capacity(512 * MIB, 128 * MIB);
    let (writer, reader, counts) = open(&spools, "s/a", 1 << 30).await;
    // Half is for pages, a quarter is reserved: the rest is for the journal and one spool.
    assert_eq!(spools.share_below(1 << 30), Some(64 * MIB));
    assert_eq!(spools.share_below(MIB), None);
    let of_one = sized(0..1, (1 << 20) - 2_000);
    for _ in 0..63 {
        writer.push(of_one.clone()).await;
    }
    assert_eq!((reader.pending(), counts.dropped.total()), (63, 0));
    for _ in 0..3 {
        writer.push(of_one.clone()).await;
    }
    assert_eq!(counts.dropped.to_string(), "2 dropped (spool_full 2)");
    // With a second spool, both have a third.
    let (_other, ..) = open(&spools, "s/b", 1 << 30).await;
    writer.push(of_one.clone()).await;
    assert_eq!(reader.pending(), 42);
}

fn gap(number: u64, bytes: usize) -> Gap {
    Gap {
        resource: "r".to_owned(),
        source: "s".to_owned(),
        meters: vec!["m".repeat(bytes)],
        begin: Timestamp::from_nanos(number),
        until: Timestamp::from_nanos(number),
        reason: GapReason::Dropped,
    }
}

#[tokio::test]
async fn gaps_are_bounded_and_the_oldest_are_removed_first() {
    let bounds = [(Bound::Gaps, 1, 10_000), (Bound::GapBytes, 65_000, 1)];
    for (bound, bytes, at_once) in bounds {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let backend = store.spools().backend;
        let write = async |gaps| {
            let changes = db::Changes { gaps, ..db::Changes::default() };
            backend.write(changes).await.unwrap();
        };
        let one = postcard::to_allocvec(&gap(1_000_000_000, bytes)).unwrap().len() as u64;
        let most = if bytes == 1 { bound.most() } else { bound.most() / one };
        let numbers: Vec<u64> = (0..most).map(|number| 1_000_000_000 + number).collect();
        for part in numbers.chunks(at_once) {
            write(part.iter().map(|number| gap(*number, bytes)).collect()).await;
        }
        // A gap that goes on is written again, and counts once.
        write(vec![gap(1_000_000_000, bytes)]).await;
        let kept = store.gaps().all().await.unwrap();
        assert_eq!(kept.len() as u64, most, "{bound:?}: at the limit");
        write(vec![gap(2_000_000_000, bytes)]).await;
        let kept = store.gaps().all().await.unwrap();
        assert_eq!(kept.len() as u64, most, "{bound:?}: beyond it");
        assert_eq!(kept[0].begin.as_nanos(), 1_000_000_001);
        assert_eq!(kept.last().unwrap().begin.as_nanos(), 2_000_000_000);
    }
}

#[tokio::test]
async fn rejected_envelopes_are_bounded_and_the_largest_spool_loses_its_oldest() {
    for (bound, bytes, at_once) in [(Bound::Refused, 1, 500), (Bound::RefusedBytes, 1 << 20, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let spools = store.spools();
        let mut before = open(&spools, "s/a", 1 << 30).await;
        let mut noisy = open(&spools, "s/b", 1 << 30).await;
        let refuse = async |end: &mut (SpoolWriter, SpoolReader, _), ids: std::ops::Range<u128>| {
            let count = usize::try_from(ids.end - ids.start).unwrap();
            end.0.push(sized(ids, bytes)).await;
            let mut left = count;
            while left > 0 {
                let leased = end.1.lease(left).await.unwrap().len();
                end.1.acknowledge(&vec![DeliveryResult::Rejected("no".to_owned()); leased]).await;
                left -= leased;
            }
        };
        refuse(&mut before, 0..1).await;
        let most = if bytes == 1 { bound.most() } else { bound.most() / (bytes as u64 + 200) };
        let fill: Vec<u128> = (1..u128::from(most)).collect();
        for part in fill.chunks(at_once) {
            refuse(&mut noisy, part[0]..part[part.len() - 1] + 1).await;
        }
        let kept = async || -> Vec<u64> {
            spools.list().await.unwrap().iter().map(|spool| spool.rejected).collect()
        };
        assert_eq!(kept().await, [1, most - 1], "{bound:?}: at the limit");
        refuse(&mut noisy, 1_000_000..1_000_001).await;
        assert_eq!(kept().await, [1, most - 1], "{bound:?}: beyond it");
        let first =
            spools.page("s/b", Some(PageCursor { rejected: true, sequence: 0 })).await.unwrap();
        assert_eq!(first[0].envelope.id.as_u128(), 2, "the oldest is removed");
        // A later spool, whatever its name, once had no room for its first one.
        for (late, other) in [("s/c", 2_000_000), ("s/0", 3_000_000)] {
            let mut end = open(&spools, late, 1 << 30).await;
            refuse(&mut end, other..other + 1).await;
        }
        assert_eq!(
            kept().await,
            [1, 1, most - 3, 1],
            "{bound:?}: the largest spool loses its oldest"
        );
    }
}

/// The text of a read error, which names the database and the remedy.
fn unreadable(error: &StoreError) -> String {
    let StoreError::Unreadable { path, .. } = error else { panic!("{error}") };
    assert!(path.ends_with("agent.redb"), "{error}");
    let text = nephometer_telemetry::Chain(error).to_string();
    assert!(text.contains("cannot read") && text.contains("move the file away"), "{text}");
    text
}

// Its numbers once restarted at 1, and new envelopes overwrote pending ones.
#[tokio::test]
async fn unreadable_spool_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (writer, _reader, _) = open(&store.spools(), "s/a", 1 << 30).await;
    writer.push(sized(0..3, 100)).await;
    drop((writer, _reader, store));
    {
        let database = redb::Database::open(folder.path().join("agent.redb")).unwrap();
        let table = redb::TableDefinition::<&str, &[u8]>::new("spools");
        let writing = database.begin_write().unwrap();
        writing.open_table(table).unwrap().insert("s/a", &b"\xff"[..]).unwrap();
        writing.commit().unwrap();
    }
    let store = Store::open(folder.path()).unwrap();
    let (spools, counts) = (store.spools(), Arc::default());
    let opened = spools.open("s/a", BOUNDS, WhenFull::DropOldest, (&counts, None)).await;
    assert!(unreadable(&opened.unwrap_err()).contains("s/a"));
    assert_eq!(spools.page("s/a", None).await.unwrap().len(), 3);
}

// A truncated file: a read returns fewer bytes than requested, as on a failing disk.
#[tokio::test]
async fn failing_disk_is_an_error_and_not_an_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (writer, _reader, _) = open(&store.spools(), "s/a", 1 << 30).await;
    // Twice as much as the database caches.
    for part in 0..20 {
        writer.push(sized(part * 10..part * 10 + 10, 100_000)).await;
    }
    drop((writer, _reader, store));
    let path = folder.path().join("agent.redb");
    let store = Store::open(folder.path()).unwrap();
    let bounds = JournalBounds { bytes: 1 << 30, samples: 1_000, age: None };
    let (sink, none) = (Arc::from("k"), std::collections::HashSet::new());
    let journal = store.journal(bounds, WhenFull::DropOldest).unwrap();
    let reader = journal.reader(&sink, &none, &Arc::default()).unwrap();
    let transformer = SavedTransformer {
        component: "c".to_owned(),
        digest: [0; 32],
        options: "{}".to_owned(),
        version: 1,
        state: Some(Arc::new(vec![1; 16 << 20])),
    };
    let saved = SavedChain { offset: 0, transformers: vec![transformer] };
    reader.save(saved.clone()).await.unwrap();
    drop((reader, journal, store));
    let whole = std::fs::read(&path).unwrap();
    let store = Store::open(folder.path()).unwrap();
    let journal = store.journal(bounds, WhenFull::DropOldest).unwrap();
    let cut = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    cut.set_len(4_096).unwrap();
    let (spools, counts) = (store.spools(), Arc::default());
    let opened = spools.open("s/a", BOUNDS, WhenFull::DropOldest, (&counts, None)).await;
    unreadable(&opened.unwrap_err());
    unreadable(&journal.reader(&sink, &none, &Arc::default()).unwrap_err());
    drop((spools, journal, store));
    std::fs::write(&path, &whole).unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(open(&store.spools(), "s/a", 1 << 30).await.1.pending(), 200);
    let journal = store.journal(bounds, WhenFull::DropOldest).unwrap();
    let mut reader = journal.reader(&sink, &none, &Arc::default()).unwrap();
    assert_eq!(reader.resume().saved, Some(saved));
}

/// Whether work needs the blocking thread of a runtime that has only one, which is taken.
async fn waits<T>(work: impl Future<Output = T>) -> bool {
    let (gate, taken) = std::sync::mpsc::channel::<()>();
    let first = tokio::task::spawn_blocking(move || taken.recv());
    let waits = tokio::select! {
        biased;
        _ = work => false,
        () = std::future::ready(()) => true,
    };
    drop(gate);
    assert!(first.await.unwrap().is_err(), "nothing is ever sent");
    waits
}

// Each of these once used the disk on one of the two threads that all tasks of the agent share.
// Cancelled work still completes, before the next.
#[test]
fn disk_access_runs_on_blocking_threads() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (spools, counts) = (store.spools(), Arc::default());
        assert!(waits(spools.open("s/a", BOUNDS, WhenFull::DropOldest, (&counts, None))).await);

        let letters = store.dead_letters();
        let failed = FailedBatch {
            sink: "s",
            transformer: 0,
            component: "c",
            digest: &[0; 32],
            reason: "no",
            offset: 1,
            source: "a",
            cycle_start: Timestamp::from_nanos(1),
            samples: &[],
        };
        assert!(waits(letters.append(failed)).await);
        assert!(waits(letters.all()).await);
        assert_eq!(letters.all().await.unwrap().len(), 1, "it was written");
        assert!(waits(letters.remove(1)).await);
        assert_eq!(letters.all().await.unwrap(), []);
        assert!(waits(letters.keep_fixture("x", "{}")).await);
        let kept = letters.keep_fixture("y", "{}").await.unwrap().unwrap();
        assert!(kept.with_file_name("x.json").is_file(), "it was written before");
    });
}
