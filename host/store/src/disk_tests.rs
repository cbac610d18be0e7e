//! What the database takes of the disk, beside what it holds.

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
    let (writer, reader) = spools.open(name, bounds, WhenFull::DropOldest, &counts).await.unwrap();
    (writer, reader, counts)
}

fn file(folder: &Path) -> u64 {
    allocated_bytes(&folder.join("agent.redb"))
}

/// With 4 MiB for each of 8 publishers the database once had 270 MB: gaps without a bound in bytes,
/// pages that were free, and a file that doubles when it grows.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_stays_in_proportion_to_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let spools = store.spools();
    let mut ends = Vec::new();
    for n in 0..4 {
        ends.push(open(&spools, &format!("s/{n}"), 4 * MIB).await);
    }
    for cycle_start in 0..10 {
        for (writer, ..) in &ends {
            writer.push(sized(cycle_start * 100..cycle_start * 100 + 50, 75_000)).await;
        }
        let held = spools.list().await.unwrap().iter().map(|one| one.bytes).sum::<u64>();
        assert!(held <= 16 * MIB, "{held}");
        assert!(file(folder.path()) <= 32 * MIB + 4 * (held + Bound::GapBytes.most()));
    }
    // A long backlog, and its end: the file gets small again, and what is left is whole.
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
    spools.sync().await;
    let held = spools.list().await.unwrap().iter().map(|one| one.bytes).sum::<u64>();
    let least = file(folder.path());
    assert!(least <= 32 * MIB + 4 * (held + Bound::GapBytes.most()), "{least} for {held}");
    assert!(least < most / 2, "{least} of {most}");
    assert!(spools.check().await.unwrap().is_empty());
    drop((ends, writer, reader, spools, store));
    // At the next start what is there is known.
    let store = Store::open(folder.path()).unwrap();
    let spools = store.spools();
    let (_, mut reader, _) = open(&spools, "s/3", 4 * MIB).await;
    assert_eq!(ids(&reader.lease(100).await.unwrap()).last(), Some(&949));
    assert!(file(folder.path()) <= least + MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_total_is_shared_evenly_by_the_journal_and_all_spools() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let spools = store.spools();
    spools.set_capacity(512 * MIB, 128 * MIB);
    let (writer, reader, counts) = open(&spools, "s/a", 1 << 30).await;
    // Half of it is for pages, a quarter for others: the rest is for the journal and one spool.
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
    // Another one: both have a third from then on.
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
async fn gaps_are_bounded_in_bytes_and_number_and_the_oldest_make_room() {
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
        // One that lasts is written again, and counts once.
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
async fn refused_envelopes_are_bounded_in_bytes_and_number_and_cost_no_other_spool_its_own() {
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
        assert_eq!(first[0].envelope.id.as_u128(), 2, "the oldest is the one that went");
        // A spool that comes late, with a name behind or before, had no room for its own first one.
        for (late, other) in [("s/c", 2_000_000), ("s/0", 3_000_000)] {
            let mut end = open(&spools, late, 1 << 30).await;
            refuse(&mut end, other..other + 1).await;
        }
        assert_eq!(kept().await, [1, 1, most - 3, 1], "{bound:?}: whoever has most makes room");
    }
}

/// What a read that fails gives: the name of the database, why, and what to do.
fn refused(error: &StoreError) -> String {
    let StoreError::Unreadable { path, .. } = error else { panic!("{error}") };
    assert!(path.ends_with("agent.redb"), "{error}");
    let words = nephometer_telemetry::Chain(error).to_string();
    assert!(words.contains("cannot read") && words.contains("move the file away"), "{words}");
    words
}

// Its numbers began at 1 again, and what was put in next was written over what was held.
#[tokio::test]
async fn a_spool_that_cannot_be_read_is_not_written_over() {
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
    let opened = spools.open("s/a", BOUNDS, WhenFull::DropOldest, &counts).await;
    assert!(refused(&opened.unwrap_err()).contains("s/a"));
    assert_eq!(spools.page("s/a", None).await.unwrap().len(), 3);
}

// As a disk does that fails: a read of the system that gives less than was asked for.
#[tokio::test]
async fn a_disk_that_does_not_read_is_an_error_and_no_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (writer, _reader, _) = open(&store.spools(), "s/a", 1 << 30).await;
    // More than the database keeps in memory, twice.
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
    let opened = spools.open("s/a", BOUNDS, WhenFull::DropOldest, &counts).await;
    refused(&opened.unwrap_err());
    refused(&journal.reader(&sink, &none, &Arc::default()).unwrap_err());
    drop((spools, journal, store));
    std::fs::write(&path, &whole).unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(open(&store.spools(), "s/a", 1 << 30).await.1.pending(), 200);
    let journal = store.journal(bounds, WhenFull::DropOldest).unwrap();
    let mut reader = journal.reader(&sink, &none, &Arc::default()).unwrap();
    assert_eq!(reader.resume().saved, Some(saved));
}

/// Whether this waits for a thread that may block, of a runtime that has one, and that is taken.
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

// Each of these once read or wrote the disk on one of the two threads that all tasks of the agent
// share. What is given up on is done all the same, before the next.
#[test]
fn the_disk_is_waited_for_on_threads_of_its_own() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (spools, counts) = (store.spools(), Arc::default());
        assert!(waits(spools.open("s/a", BOUNDS, WhenFull::DropOldest, &counts)).await);

        let letters = store.dead_letters();
        let lost = FailedBatch {
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
        assert!(waits(letters.append(lost)).await);
        assert!(waits(letters.all()).await);
        assert_eq!(letters.all().await.unwrap().len(), 1, "it was written");
        assert!(waits(letters.remove(1)).await);
        assert_eq!(letters.all().await.unwrap(), []);
        assert!(waits(letters.keep_fixture("x", "{}")).await);
        let kept = letters.keep_fixture("y", "{}").await.unwrap().unwrap();
        assert!(kept.with_file_name("x.json").is_file(), "it was written before");
    });
}
