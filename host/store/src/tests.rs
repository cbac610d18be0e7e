//! The journal as its users see it: what sinks read, what is counted, and what survives a crash.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

use super::journal_state::Next;
use super::*;
use nephometer_model::{
    Batch, GapReason, Meter, MeterType, Moment, Offset, Resource, Sample, Timestamp, Volume,
};
use nephometer_telemetry::SinkCount;

const BOUNDS: JournalBounds = JournalBounds { bytes: 1 << 30, samples: 1_000_000, age: None };

/// A batch that is identified by the start of its polling cycle, in seconds.
fn batch(source: &str, cycle_start: u64, samples: usize) -> Arc<Batch> {
    let resource = Resource { id: "r".into(), ..Resource::default() };
    let (meter, resource) = (Arc::new(Meter::new("m", MeterType::Gauge, "")), Arc::new(resource));
    let samples = (0..samples).map(|number| Sample {
        id: Uuid::from_u64_pair(cycle_start, number as u64),
        meter: Arc::clone(&meter),
        resource: Arc::clone(&resource),
        volume: Volume::Integer(i128::from(cycle_start)),
        taken: Moment::default(),
    });
    let cycle_start =
        Moment { wall: Timestamp::from_nanos(cycle_start * 1_000_000_000), ..Moment::default() };
    Arc::new(Batch {
        source: Arc::from(source),
        cycle_start,
        samples: samples.collect(),
        removed: vec![],
    })
}

struct Rig {
    store: Store,
    journal: Journal,
}

impl Rig {
    fn open(folder: &Path) -> Self {
        Self::with(folder, BOUNDS, WhenFull::DropOldest)
    }

    fn with(folder: &Path, bounds: JournalBounds, when_full: WhenFull) -> Self {
        let store = Store::open(folder).unwrap();
        let journal = store.journal(bounds, when_full).unwrap();
        Self { store, journal }
    }

    fn sink(&self, name: &str, sources: &[&str]) -> (JournalReader, Arc<SinkCount>) {
        let counts = Arc::new(SinkCount::default());
        let sources = sources.iter().map(|source| Arc::from(*source)).collect();
        (self.journal.reader(&Arc::from(name), &sources, &counts).unwrap(), counts)
    }
}

/// A copy of the folder as a crash at this moment would leave it.
pub(super) fn crashed(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["agent.redb", "host-generation"] {
        std::fs::copy(folder.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

fn cycle_start(entry: &JournalEntry) -> u64 {
    entry.batch.cycle_start.wall.as_nanos() / 1_000_000_000
}

/// Processes all batches that are there now.
async fn process_all(cursor: &mut JournalReader, counts: &SinkCount) -> Vec<u64> {
    let mut cycles = Vec::new();
    while let Some(entry) = cursor.try_next().await {
        cycles.push(cycle_start(&entry));
        counts.processed.fetch_add(entry.batch.samples.len() as u64, Relaxed);
        cursor.record_counts(entry.offset, Vec::new());
        cursor.advance();
    }
    cycles
}

fn saved(offset: Offset, state: &[u8]) -> SavedChain {
    let transformer = SavedTransformer {
        component: "rate_of_change".to_owned(),
        digest: [7; 32],
        options: "{}".to_owned(),
        version: 3,
        state: Some(Arc::new(state.to_vec())),
    };
    SavedChain { offset, transformers: vec![transformer] }
}

/// Checks that the counters add up once everything is processed.
fn assert_counters_add_up(counts: &SinkCount) {
    let out = counts.processed.load(Relaxed) + counts.dropped.total();
    assert_eq!(counts.entered.load(Relaxed), out, "{counts:?}");
}

#[tokio::test]
async fn crash_loses_nothing_and_each_sink_resumes_at_its_offset() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    let (mut slow, _) = rig.sink("slow", &["a", "b"]);
    let (mut fast, counts) = rig.sink("fast", &["a"]);
    assert_eq!(fast.resume(), ResumePoint::default());
    for (source, cycle_start) in [("a", 1), ("b", 2), ("a", 3), ("nobody's", 4)] {
        rig.journal.append(batch(source, cycle_start, 2), Vec::new()).await;
    }
    assert_eq!(process_all(&mut fast, &counts).await, [1, 3]);
    assert_counters_add_up(&counts);
    fast.advance_emitted(1);
    fast.note(3, b"keep").await.unwrap();
    fast.note(3, b"drop").await.unwrap();
    fast.save(saved(1, b"state")).await.unwrap();
    fast.advance_emitted(3);

    let copy = crashed(folder.path());
    let next = Rig::open(copy.path());
    assert_eq!(next.store.host_id(), rig.store.host_id());
    let (mut fast, counts) = next.sink("fast", &["a"]);
    let resume = fast.resume();
    assert_eq!(resume.saved, Some(saved(1, b"state")));
    assert_eq!(resume.emitted, 1, "the second offset was not durable yet");
    assert_eq!(resume.notes, BTreeMap::from([(3, b"drop".to_vec())]));
    let known = |counts: &SinkCount| (counts.entered.load(Relaxed), counts.processed.load(Relaxed));
    assert_eq!(known(&counts), (4, 2), "counters continue");
    assert_eq!(process_all(&mut fast, &counts).await, [3]);
    assert_counters_add_up(&counts);
    assert_eq!(next.journal.orphaned_sinks(), [(Arc::from("slow"), 6)]);
    let (mut again, counts) = next.sink("slow", &[]);
    assert_eq!(known(&counts), (6, 0));
    assert_eq!(process_all(&mut again, &counts).await, [1, 2, 3]);
    assert_counters_add_up(&counts);
    // The first process is unaffected.
    assert_eq!(cycle_start(&slow.next().await.unwrap()), 1);
}

#[tokio::test]
async fn entries_are_removed_once_emitted_and_saved_and_offsets_are_never_reused() {
    let folder = tempfile::tempdir().unwrap();
    {
        let rig = Rig::open(folder.path());
        let (mut one, one_counts) = rig.sink("one", &["a"]);
        let (mut two, two_counts) = rig.sink("two", &["a"]);
        for cycle_start in 1..=3 {
            rig.journal.append(batch("a", cycle_start, 1), Vec::new()).await;
        }
        process_all(&mut one, &one_counts).await;
        process_all(&mut two, &two_counts).await;
        one.advance_emitted(3);
        two.advance_emitted(2);
        one.save(saved(3, b"")).await.unwrap();
        rig.journal.sync().await;
        assert_eq!(rig.journal.len(), 3);
        two.save(saved(3, b"")).await.unwrap();
        rig.journal.sync().await;
        assert_eq!(rig.journal.len(), 1, "the third is not emitted by all");
        two.advance_emitted(3);
        rig.journal.sync().await;
        assert_eq!(rig.journal.len(), 0);
    }
    let rig = Rig::open(folder.path());
    let (mut one, counts) = rig.sink("one", &["a"]);
    assert_eq!(one.resume().emitted, 3);
    assert!(one.try_next().await.is_none());
    rig.journal.append(batch("a", 9, 1), Vec::new()).await;
    assert_eq!(one.next().await.unwrap().offset, 4);
    assert_eq!(counts.entered.load(Relaxed), 4);
}

#[tokio::test]
async fn full_journal_drops_the_oldest_batch_but_not_a_leased_one() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = JournalBounds { samples: 8, ..BOUNDS };
    let rig = Rig::with(folder.path(), bounds, WhenFull::DropOldest);
    let (mut sink, counts) = rig.sink("k", &["a"]);
    rig.journal.append(batch("a", 1, 2), Vec::new()).await;
    assert_eq!(cycle_start(&sink.next().await.unwrap()), 1);
    for cycle_start in [2, 3] {
        rig.journal.append(batch("a", cycle_start, 3), Vec::new()).await;
    }
    assert_eq!(counts.dropped.to_string(), "3 dropped (journal_full 3)");
    assert_eq!(process_all(&mut sink, &counts).await, [1, 3]);
    assert_counters_add_up(&counts);
    // Batches that are processed and only kept for a save are removed without a loss.
    rig.journal.append(batch("a", 4, 5), Vec::new()).await;
    assert_eq!(counts.dropped.total(), 3);
    drop(sink);
    drop(rig);
    let rig = Rig::with(folder.path(), bounds, WhenFull::DropOldest);
    let (mut sink, counts) = rig.sink("k", &["a"]);
    assert_eq!(process_all(&mut sink, &counts).await, [4]);
}

#[tokio::test]
async fn journal_is_bounded_in_bytes_and_age() {
    let folder = tempfile::tempdir().unwrap();
    let age = Some(Duration::from_secs(60));
    let bounds = JournalBounds { bytes: 3_000, samples: 1_000, age };
    let rig = Rig::with(folder.path(), bounds, WhenFull::DropOldest);
    let (mut sink, counts) = rig.sink("k", &["a"]);
    for (cycle_start, samples) in [(100, 1), (130, 1), (161, 1), (162, 80), (163, 1)] {
        rig.journal.append(batch("a", cycle_start, samples), Vec::new()).await;
    }
    assert_eq!(process_all(&mut sink, &counts).await, [130, 161, 162, 163]);
    rig.journal.append(batch("a", 164, 90), Vec::new()).await;
    assert_eq!(process_all(&mut sink, &counts).await, [164]);
    rig.journal.append(batch("a", 165, 900), Vec::new()).await;
    // A batch that exceeds the bound on its own is kept, alone.
    assert_eq!(counts.dropped.to_string(), "1 dropped (journal_full 1)");
    assert_eq!(process_all(&mut sink, &counts).await, [165]);
    assert_counters_add_up(&counts);
}

#[tokio::test]
async fn drop_newest_keeps_the_oldest_batches() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = JournalBounds { samples: 10, ..BOUNDS };
    let rig = Rig::with(folder.path(), bounds, WhenFull::DropNewest);
    let (mut sink, counts) = rig.sink("s", &["a"]);
    for cycle_start in 1..=4 {
        rig.journal.append(batch("a", cycle_start, 3), Vec::new()).await;
    }
    assert_eq!(process_all(&mut sink, &counts).await, [1, 2]);
    assert_counters_add_up(&counts);
    assert_eq!(counts.dropped.to_string(), "6 dropped (journal_full 6)");
    let gaps = rig.store.gaps().all().await.unwrap();
    let recorded: Vec<_> =
        gaps.iter().map(|gap| (gap.begin.as_nanos() / 1_000_000_000, gap.reason)).collect();
    assert_eq!(recorded, [(3, GapReason::Dropped), (4, GapReason::Dropped)]);
    // Processed batches make room; the journal once stayed full.
    sink.advance_emitted(2);
    sink.save(saved(2, b"")).await.unwrap();
    rig.journal.append(batch("a", 5, 3), Vec::new()).await;
    assert_eq!(process_all(&mut sink, &counts).await, [5]);
}

#[tokio::test]
async fn waiting_journal_loses_nothing() {
    let store = Store::in_memory(Path::new("/nonexistent"));
    let journal = store.journal(JournalBounds { samples: 4, ..BOUNDS }, WhenFull::Wait).unwrap();
    let rig = Rig { store, journal };
    let (mut sink, counts) = rig.sink("k", &["a"]);
    let writer = rig.journal.clone();
    let writer = tokio::spawn(async move {
        for cycle_start in 1..=50 {
            writer.append(batch("a", cycle_start, 3), Vec::new()).await;
        }
        writer.close();
    });
    let mut cycles = Vec::new();
    while let Some(entry) = sink.next().await {
        cycles.push(cycle_start(&entry));
        counts.processed.fetch_add(3, Relaxed);
        sink.advance();
    }
    assert_eq!(cycles, (1..=50).collect::<Vec<_>>());
    assert_counters_add_up(&counts);
    writer.await.unwrap();
}

#[tokio::test]
async fn lagging_sink_reads_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    let (mut sink, counts) = rig.sink("k", &["a"]);
    for cycle_start in 1..=30 {
        rig.journal.append(batch("a", cycle_start, 5_000), Vec::new()).await;
    }
    assert_eq!(process_all(&mut sink, &counts).await, (1..=30).collect::<Vec<_>>());
    sink.rewind(2);
    assert_eq!(cycle_start(&sink.next().await.unwrap()), 3);
    assert_eq!(cycle_start(&sink.next().await.unwrap()), 3);
    sink.advance();
}

#[tokio::test]
async fn changed_sources_apply_to_new_batches_only() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    let (mut sink, counts) = rig.sink("k", &["a"]);
    rig.journal.append(batch("a", 1, 2), Vec::new()).await;
    rig.journal.set_sources("k", &HashSet::from([Arc::from("b")]));
    rig.journal.append(batch("a", 2, 2), Vec::new()).await;
    rig.journal.append(batch("b", 3, 2), Vec::new()).await;
    assert_eq!(process_all(&mut sink, &counts).await, [1, 3]);
    rig.journal.close();
    assert!(sink.next().await.is_none());
}

#[tokio::test]
async fn damaged_file_is_renamed_and_a_new_one_created() {
    let folder = tempfile::tempdir().unwrap();
    {
        let rig = Rig::open(folder.path());
        let _sink = rig.sink("k", &["a"]);
        rig.journal.append(batch("a", 1, 2), Vec::new()).await;
    }
    let file = folder.path().join("agent.redb");
    let whole = std::fs::read(&file).unwrap();
    let mut noise = whole.clone();
    noise.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x5a);
    for (number, damaged) in (1..).zip([b"no database".to_vec(), noise]) {
        std::fs::write(&file, damaged).unwrap();
        let rig = Rig::open(folder.path());
        let (mut sink, counts) = rig.sink("k", &["a"]);
        rig.journal.append(batch("a", 2, 2), Vec::new()).await;
        assert_eq!(process_all(&mut sink, &counts).await, [2]);
        assert!(folder.path().join(format!("agent.redb.damaged-{number}")).exists());
    }
}

#[tokio::test]
async fn waiting_reader_is_woken_and_may_be_cancelled() {
    let rig = {
        let store = Store::in_memory(Path::new("/nonexistent"));
        let journal = store.journal(BOUNDS, WhenFull::DropOldest).unwrap();
        Rig { store, journal }
    };
    let (mut sink, _) = rig.sink("k", &["a"]);
    let short = Duration::from_millis(20);
    assert!(tokio::time::timeout(short, sink.next()).await.is_err());
    let journal = rig.journal.clone();
    let (entry, ()) = tokio::join!(sink.next(), async {
        journal.append(batch("a", 1, 1), Vec::new()).await;
    });
    assert_eq!(entry.unwrap().offset, 1);
}

/// A sink looked for a batch, and then whether the journal was closed. If the last batch and the end
/// came between, the sink ended without it: `nephometer once` printed nothing and reported its samples
/// as pending.
#[tokio::test]
async fn batch_and_end_are_seen_together() {
    let store = Store::in_memory(Path::new("/nonexistent"));
    let journal = store.journal(BOUNDS, WhenFull::DropOldest).unwrap();
    let (mut sink, _) = Rig { store, journal: journal.clone() }.sink("k", &["a"]);
    let state = || journal.0.state();
    assert_eq!(state().lease_next("k"), Next::Later);
    journal.append(batch("a", 1, 1), Vec::new()).await;
    journal.close();
    assert_eq!(state().lease_next("k"), Next::Batch(1));
    assert_eq!(sink.next().await.unwrap().offset, 1);
    sink.advance();
    assert_eq!(state().lease_next("k"), Next::End);
    assert!(sink.next().await.is_none());
}

/// Overwrites the head of an entry in the database.
fn corrupt_entry(folder: &Path, offset: Offset) {
    let database = redb::Database::open(folder.join("agent.redb")).unwrap();
    let table = redb::TableDefinition::<u64, &[u8]>::new("entries");
    let writing = database.begin_write().unwrap();
    writing.open_table(table).unwrap().insert(offset, &b"\xff"[..]).unwrap();
    writing.commit().unwrap();
}

// The next batch once overwrote the one whose head cannot be decoded.
#[tokio::test]
async fn undecodable_entry_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    {
        let rig = Rig::open(folder.path());
        let _sink = rig.sink("k", &["a"]);
        for cycle_start in 1..=3 {
            rig.journal.append(batch("a", cycle_start, 1), Vec::new()).await;
        }
    }
    corrupt_entry(folder.path(), 3);
    let rig = Rig::open(folder.path());
    let (mut sink, counts) = rig.sink("k", &["a"]);
    rig.journal.append(batch("a", 9, 1), Vec::new()).await;
    assert_eq!(process_all(&mut sink, &counts).await, [1, 2, 9]);
    let bytes = rig.journal.0.backend.read(|disk| disk.batch(3)).await.unwrap();
    let left = decode_batch(&bytes.unwrap()).unwrap();
    assert_eq!(
        left.cycle_start.wall,
        batch("a", 3, 1).cycle_start.wall,
        "it is still the third batch"
    );
}

/// One step in the history of a journal with one sink.
#[derive(Debug, Clone)]
enum Step {
    /// Appends a batch with this number of samples, for the sink or for nobody.
    Append(usize, bool),
    /// The sink reads the next batch, and processes it or not.
    Read(bool),
    /// All processed batches are emitted and, if true, saved.
    Emit(bool),
    /// The process is killed and starts again.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_usize..6, prop::bool::weighted(0.8)).prop_map(|(more, own)| Step::Append(more, own)),
        4 => prop::bool::weighted(0.8).prop_map(Step::Read),
        3 => prop::bool::weighted(0.3).prop_map(Step::Emit),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 20..60)
}

/// Samples in the journal that the sink has not processed, in this run or in an earlier one.
fn pending_samples(rig: &Rig, sink: &str) -> u64 {
    let state = rig.journal.0.state();
    let cursor = &state.cursors[sink];
    state.samples_after(&Arc::from(sink), cursor.processed.max(cursor.counted))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// The pending counter matches the journal, and the counters of the sink add up, whatever is dropped,
    /// processed twice after a crash, or read without being processed.
    #[test]
    fn pending_counter_matches_the_journal(steps in steps(), keeps_old in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bounds = JournalBounds { samples: 14, ..BOUNDS };
            let when_full = if keeps_old { WhenFull::DropNewest } else { WhenFull::DropOldest };
            let mut folder = tempfile::tempdir().unwrap();
            let mut rig = Rig::with(folder.path(), bounds, when_full);
            let (mut sink, mut counts) = rig.sink("k", &["a"]);
            // Batches up to `silent` run again only for the states of the transformers.
            let (mut cycle_start, mut at, mut silent) = (0, 0, 0);
            for step in steps {
                match step {
                    Step::Append(samples, own) => {
                        cycle_start += 1;
                        let source = if own { "a" } else { "b" };
                        rig.journal.append(batch(source, cycle_start, samples), Vec::new()).await;
                    }
                    Step::Read(processes) => {
                        if let Some(entry) = sink.try_next().await && processes {
                            at = entry.offset;
                            if at > silent {
                                let samples = entry.batch.samples.len() as u64;
                                counts.processed.fetch_add(samples, Relaxed);
                                sink.record_counts(at, Vec::new());
                            }
                            sink.advance();
                        }
                    }
                    Step::Emit(saves) => {
                        let emitted = sink.advance_emitted(at);
                        if saves {
                            sink.save(saved(emitted, b"")).await.unwrap();
                        }
                    }
                    Step::Crash => {
                        let after = crashed(folder.path());
                        drop((sink, rig));
                        rig = Rig::with(after.path(), bounds, when_full);
                        (sink, counts) = rig.sink("k", &["a"]);
                        folder = after;
                        let resume = sink.resume();
                        (at, silent) = (resume.saved.map_or(0, |saved| saved.offset), resume.emitted);
                        sink.rewind(at);
                    }
                }
                let [entered, processed, pending] =
                    [&counts.entered, &counts.processed, &counts.pending].map(|one| one.load(Relaxed));
                prop_assert_eq!(pending, pending_samples(&rig, "k"));
                prop_assert_eq!(entered, processed + counts.dropped.total() + pending, "{:?}", counts);
            }
            Ok(())
        })?;
    }
}
