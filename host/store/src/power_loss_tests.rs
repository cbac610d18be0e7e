//! Power loss: the database loses any part of what was written and not synced. Afterwards every sample
//! of a batch in the journal was acknowledged, or is delivered, and no number has two messages.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;
use tempfile::TempDir;
use uuid::Uuid;

use super::stream_tests::{Words, verify};
use super::*;
use nephometer_model::{
    Batch, DeliveryResult, Meter, MeterType, Moment, Offset, Resource, Sample, Timestamp, Volume,
};
use nephometer_telemetry::{PublisherCount, SinkCount};

const SECTOR: usize = 512;

/// A deterministic source of chance: xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one_in(&mut self, limit: u64) -> bool {
        self.below(limit) == 0
    }
}

/// A disk with a volatile cache.
#[derive(Debug, Clone, Default)]
pub(super) struct VolatileDisk(Arc<DiskState>);

#[derive(Debug, Default)]
struct DiskState {
    content: Mutex<Content>,
    operations: AtomicU64,
}

#[derive(Debug, Default)]
struct Content {
    /// What reads see.
    now: Vec<u8>,
    /// What was synced.
    durable: Vec<u8>,
    /// What was not, in order.
    unsynced: Vec<Write>,
    /// The operation at which the power fails, with the seed of what is lost.
    fails_at: Option<(u64, u64)>,
    /// What the power loss has left.
    left: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Write {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Length(length) => image.resize(*length, 0),
            Self::Bytes(at, bytes) => {
                if image.len() < at + bytes.len() {
                    image.resize(at + bytes.len(), 0);
                }
                image[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

impl VolatileDisk {
    fn with(image: Vec<u8>) -> Self {
        let content = Content { now: image.clone(), durable: image, ..Content::default() };
        Self(Arc::new(DiskState { content: Mutex::new(content), operations: AtomicU64::new(0) }))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation. At the one that fails, each unsynced sector is on disk or not.
    fn operate(&self) -> MutexGuard<'_, Content> {
        let operation = self.0.operations.fetch_add(1, Relaxed);
        let mut content = self.content();
        if let Some((at, seed)) = content.fails_at
            && at == operation
        {
            let mut chance = Chance(seed | 1);
            let mut image = content.durable.clone();
            for write in &content.unsynced {
                match write {
                    Write::Length(_) => write.apply(&mut image),
                    Write::Bytes(at, bytes) => {
                        for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                            if chance.one_in(2) {
                                let part = Write::Bytes(at + index * SECTOR, sector.to_vec());
                                part.apply(&mut image);
                            }
                        }
                    }
                }
            }
            content.left = Some(image);
        }
        content
    }

    fn write_one(&self, write: Write) {
        let mut content = self.operate();
        write.apply(&mut content.now);
        content.unsynced.push(write);
    }
}

impl StorageBackend for VolatileDisk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.content().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let (content, at) = (self.content(), usize::try_from(offset).unwrap());
        let found = content.now.get(at..at + out.len());
        out.copy_from_slice(found.ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.write_one(Write::Length(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut content = self.operate();
        content.durable = content.now.clone();
        content.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.write_one(Write::Bytes(usize::try_from(offset).unwrap(), data.to_vec()));
        Ok(())
    }
}

/// The disks in the place of files, by path.
static DISKS: Mutex<Option<HashMap<PathBuf, VolatileDisk>>> = Mutex::new(None);

/// The disk in the place of a file, if there is one.
pub(super) fn disk_at(path: &Path) -> Option<VolatileDisk> {
    let disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    disks.as_ref()?.get(path).cloned()
}

fn put_disk(folder: &Path, disk: &VolatileDisk) {
    let mut disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    disks.get_or_insert_default().insert(folder.join(db::FILE), disk.clone());
}

/// An agent with one sink and one publisher.
struct Agent {
    folder: TempDir,
    _store: Store,
    journal: Journal,
    reader: JournalReader,
    spools: Spools,
    writer: SpoolWriter,
    receiver: SpoolReader,
    processed: Offset,
    /// What the receiver got.
    received: Vec<Envelope>,
}

impl Agent {
    async fn start(disk: &VolatileDisk) -> Self {
        let folder = tempfile::tempdir().unwrap();
        put_disk(folder.path(), disk);
        let store = Store::open(folder.path()).unwrap();
        let bounds = JournalBounds { bytes: 1 << 30, samples: 1 << 30, age: None };
        let journal = store.journal(bounds, WhenFull::DropOldest).unwrap();
        let sources = [Arc::from("source")].into();
        let counts = Arc::<SinkCount>::default();
        let mut reader = journal.reader(&Arc::from("sink"), &sources, &counts).unwrap();
        let spools = store.spools();
        let bounds = SpoolBounds { bytes: 1 << 30, count: None, age: None, evict_last: Vec::new() };
        let counts = Arc::<PublisherCount>::default();
        let stream = Some(Uuid::from_u128(77));
        let opened = spools.open("sink/p", bounds, WhenFull::DropOldest, (&counts, stream)).await;
        let (writer, receiver) = opened.unwrap();
        let resume = reader.resume();
        // Batches that were emitted are not processed again: there is no state to restore.
        let processed = resume.emitted;
        reader.rewind(processed);
        let received = Vec::new();
        Self {
            folder,
            _store: store,
            journal,
            reader,
            spools,
            writer,
            receiver,
            processed,
            received,
        }
    }

    async fn append(&self, ids: std::ops::Range<u64>) {
        let cycle_start =
            Moment { wall: Timestamp::from_nanos(ids.start + 1), ..Moment::default() };
        let sample = |id| Sample {
            id: Uuid::from_u128(u128::from(id)),
            meter: Arc::new(Meter::new("cpu", MeterType::Gauge, "")),
            resource: Arc::new(Resource { id: "r".into(), ..Resource::default() }),
            volume: Volume::Integer(1),
            taken: cycle_start,
        };
        let samples = ids.map(sample).collect();
        let batch = Batch { source: "source".into(), cycle_start, samples, removed: Vec::new() };
        self.journal.append(Arc::new(batch), Vec::new()).await;
    }

    /// Encodes the next batch, one envelope for each sample.
    async fn process(&mut self, persistence: Persistence) {
        let Some(entry) = self.reader.try_next().await else { return };
        let envelopes: Vec<Envelope> = entry
            .batch
            .samples
            .iter()
            .map(|sample| Envelope {
                id: sample.id,
                body: sample.id.as_bytes().to_vec().into(),
                samples: 1,
                offset: entry.offset,
                manifest: Manifest::from_samples([sample]).into(),
                ..Envelope::default()
            })
            .collect();
        self.reader.record_counts(entry.offset, Vec::new());
        self.commit(&envelopes, entry.offset, persistence).await;
        self.reader.advance();
        self.processed = entry.offset;
        self.advance_emitted();
    }

    async fn commit(&self, envelopes: &Vec<Envelope>, to: Offset, persistence: Persistence) {
        let (writer, records) = (&self.writer, Some(&Words as &dyn StreamRecords));
        let append = SpoolAppend { writer, envelopes, records };
        self.reader.commit(vec![append], to, persistence).await;
    }

    fn advance_emitted(&self) -> Offset {
        let oldest = self.writer.unwritten_envelopes().oldest_offset();
        let emitted = oldest.map_or(self.processed, |oldest| self.processed.min(oldest - 1));
        self.reader.advance_emitted(emitted)
    }

    async fn write_pending(&self) {
        let nothing = Vec::new();
        let append = SpoolAppend { writer: &self.writer, envelopes: &nothing, records: None };
        self.reader.commit(vec![append], self.processed, Persistence::AtOnce).await;
    }

    async fn sync(&self) {
        self.reader.sync().await;
    }

    async fn save(&self) {
        let offset = self.advance_emitted();
        self.reader.save(SavedChain { offset, transformers: Vec::new() }).await.unwrap();
    }

    /// Delivers some envelopes, of which the receiver acknowledges the first `acknowledged`.
    async fn deliver(&mut self, count: usize, acknowledged: usize) {
        let envelopes = self.receiver.lease(count).await.unwrap();
        let result = |at| match at < acknowledged {
            true => DeliveryResult::Acknowledged,
            false => DeliveryResult::pending("away".to_owned()),
        };
        let results: Vec<DeliveryResult> = (0..envelopes.len()).map(result).collect();
        self.received.extend(envelopes);
        self.receiver.acknowledge(&results).await;
        self.advance_emitted();
    }

    /// Delivers everything.
    async fn drain(&mut self) {
        while self.reader.try_next().await.is_some() {
            self.process(Persistence::Deferred).await;
        }
        while self.receiver.pending() > 0 {
            self.deliver(99, 99).await;
        }
    }
}

fn ids(envelopes: &[Envelope]) -> BTreeSet<u128> {
    let samples = envelopes.iter().filter(|one| one.samples > 0);
    samples.map(|one| one.id.as_u128()).collect()
}

/// One run with a power loss at a random operation. Returns whether the power failed within it.
async fn run(seed: u64) -> bool {
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let disk = VolatileDisk::default();
    let mut agent = Agent::start(&disk).await;
    let begin = disk.0.operations.load(Relaxed);
    disk.content().fails_at = Some((begin + chance.below(600), seed));
    let (mut appended, mut next) = (0, 0);
    let mut acknowledged = BTreeSet::new();
    while disk.content().left.is_none() {
        if next > 2_000 {
            return false;
        }
        match chance.below(9) {
            0 | 1 => {
                let count = 1 + chance.below(20);
                agent.append(next..next + count).await;
                next += count;
            }
            2 => agent.process(Persistence::AtOnce).await,
            3 | 4 => agent.process(Persistence::Deferred).await,
            5 => {
                let count = 1 + usize::try_from(chance.below(40)).unwrap();
                let some = usize::try_from(chance.below(count as u64 + 1)).unwrap();
                let before = agent.received.len();
                agent.deliver(count, some).await;
                if disk.content().left.is_none() {
                    let end = agent.received.len().min(before + some);
                    acknowledged.extend(ids(&agent.received[before..end]));
                }
            }
            6 => agent.write_pending().await,
            7 => agent.sync().await,
            _ => agent.save().await,
        }
        if disk.content().left.is_none() {
            // What a step in which the power fails has done may be lost.
            appended = next;
        }
    }
    let image = disk.content().left.take().unwrap();
    let mut again = Agent::start(&VolatileDisk::with(image)).await;
    assert!(!again.folder.path().join("agent.redb.damaged-1").exists(), "seed {seed}: damaged");
    again.drain().await;
    let mut all = ids(&again.received);
    all.extend(&acknowledged);
    let missing: Vec<u64> = (0..appended).filter(|id| !all.contains(&u128::from(*id))).collect();
    assert!(missing.is_empty(), "seed {seed}: {missing:?} of {appended} are lost");
    agent.received.extend(again.received);
    verify(&agent.received);
    again.spools.close().await;
    true
}

// Offsets of acknowledged batches were durable with the next batch only: a kill repeated all of the
// last polling cycle, whatever its age.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_batches_are_not_sent_again_after_a_sync() {
    let disk = VolatileDisk::default();
    let mut agent = Agent::start(&disk).await;
    agent.append(0..10).await;
    agent.process(Persistence::Deferred).await;
    agent.deliver(99, 99).await;
    agent.write_pending().await;
    let image = |disk: &VolatileDisk| VolatileDisk::with(disk.content().durable.clone());
    let mut before = Agent::start(&image(&disk)).await;
    before.drain().await;
    assert_eq!(ids(&before.received).len(), 10, "the offset is not on disk yet");
    agent.sync().await;
    let mut after = Agent::start(&image(&disk)).await;
    after.drain().await;
    assert_eq!(ids(&after.received).len(), 0);
    // Nothing is left to sync.
    let operations = disk.0.operations.load(Relaxed);
    agent.sync().await;
    assert_eq!(disk.0.operations.load(Relaxed), operations);
}

#[tokio::test(flavor = "multi_thread")]
async fn power_loss_at_any_moment_loses_nothing() {
    #[expect(clippy::disallowed_methods, reason = "the scale of tests")]
    let scale = std::env::var("NEPHOMETER_TEST_SCALE");
    let runs = match scale.as_deref() {
        Ok("full") => 200,
        _ => 20,
    };
    let mut failed = 0;
    for seed in 0..runs {
        failed += u64::from(run(seed).await);
    }
    assert!(failed > runs / 2, "the power failed in {failed} of {runs} runs");
}
