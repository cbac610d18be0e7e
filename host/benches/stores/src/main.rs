//! Compares stores for the journal: redb and fjall, with a plain file as the lower bound.
//!
//! Each figure is the median over many runs, with every commit durable (fsync or fdatasync).
//! Usage: `stores [FOLDER]`. The folder has to be on the disk to measure, not in memory.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase as _, TableDefinition};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Bytes of a batch of 1,000 domains and of 14, with about 14 samples each.
const LARGE: usize = 1_400_000;
const SMALL: usize = 20_000;
const STATE: usize = 1_000_000;
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const STATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("states");

/// The operations of a store that the journal needs.
trait Store: Sized {
    const NAME: &'static str;
    fn open(folder: &Path) -> Outcome<Self>;
    /// Appends an entry durably, and removes another one.
    fn append(&mut self, offset: u64, body: &[u8], removed: Option<u64>) -> Outcome;
    /// Replaces the state durably.
    fn save(&mut self, state: &[u8]) -> Outcome;
    /// Reads all entries, as a start does.
    fn count(&mut self) -> Outcome<usize>;
}

struct Redb(Database);

impl Store for Redb {
    const NAME: &'static str = "redb 4";

    fn open(folder: &Path) -> Outcome<Self> {
        let mut builder = Database::builder();
        builder.set_cache_size(8 << 20).set_check_integrity_on_open(true);
        let database = builder.create(folder.join("redb"))?;
        let write = database.begin_write()?;
        write.open_table(ENTRIES)?;
        write.open_table(STATES)?;
        write.commit()?;
        Ok(Self(database))
    }

    fn append(&mut self, offset: u64, body: &[u8], removed: Option<u64>) -> Outcome {
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(ENTRIES)?;
            if let Some(removed) = removed {
                table.remove(removed)?;
            }
            table.insert(offset, body)?;
        }
        Ok(write.commit()?)
    }

    fn save(&mut self, state: &[u8]) -> Outcome {
        let write = self.0.begin_write()?;
        write.open_table(STATES)?.insert("k", state)?;
        Ok(write.commit()?)
    }

    fn count(&mut self) -> Outcome<usize> {
        let table = self.0.begin_read()?.open_table(ENTRIES)?;
        let mut count = 0;
        for row in table.range::<u64>(..)? {
            count += usize::from(!row?.1.value().is_empty());
        }
        Ok(count)
    }
}

struct Fjall {
    database: fjall::Database,
    entries: fjall::Keyspace,
    states: fjall::Keyspace,
}

impl Fjall {
    fn commit(&self, batch: fjall::OwnedWriteBatch) -> Outcome {
        batch.commit()?;
        // Makes the commit durable, as redb does.
        Ok(self.database.persist(fjall::PersistMode::SyncData)?)
    }
}

impl Store for Fjall {
    const NAME: &'static str = "fjall 3";

    fn open(folder: &Path) -> Outcome<Self> {
        let database = fjall::Database::builder(folder.join("fjall")).open()?;
        // Stores values of this size outside the tree.
        let blobs = || {
            let separated = Some(fjall::KvSeparationOptions::default());
            fjall::KeyspaceCreateOptions::default().with_kv_separation(separated)
        };
        let entries = database.keyspace("entries", blobs)?;
        let states = database.keyspace("states", blobs)?;
        Ok(Self { database, entries, states })
    }

    fn append(&mut self, offset: u64, body: &[u8], removed: Option<u64>) -> Outcome {
        let mut batch = self.database.batch();
        if let Some(removed) = removed {
            batch.remove(&self.entries, removed.to_be_bytes());
        }
        batch.insert(&self.entries, offset.to_be_bytes(), body);
        self.commit(batch)
    }

    fn save(&mut self, state: &[u8]) -> Outcome {
        let mut batch = self.database.batch();
        batch.insert(&self.states, "k", state);
        self.commit(batch)
    }

    fn count(&mut self) -> Outcome<usize> {
        let mut count = 0;
        for row in self.entries.iter() {
            count += usize::from(!row.value()?.is_empty());
        }
        Ok(count)
    }
}

/// An append-only file: faster than any store, without what a store does.
struct Plain {
    file: File,
    state: PathBuf,
}

impl Store for Plain {
    const NAME: &'static str = "plain file";

    fn open(folder: &Path) -> Outcome<Self> {
        let path = folder.join("plain");
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        Ok(Self { file, state: folder.join("state") })
    }

    fn append(&mut self, offset: u64, body: &[u8], _removed: Option<u64>) -> Outcome {
        let mut line = offset.to_le_bytes().to_vec();
        line.extend_from_slice(&u64::try_from(body.len())?.to_le_bytes());
        line.extend_from_slice(body);
        self.file.write_all(&line)?;
        Ok(self.file.sync_data()?)
    }

    fn save(&mut self, state: &[u8]) -> Outcome {
        let fresh = self.state.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(state)?;
        file.sync_all()?;
        Ok(std::fs::rename(fresh, &self.state)?)
    }

    fn count(&mut self) -> Outcome<usize> {
        let mut bytes = Vec::new();
        self.file.rewind()?;
        self.file.read_to_end(&mut bytes)?;
        let (mut at, mut count) = (0, 0);
        while let Some(header) = bytes.get(at + 8..at + 16) {
            at += 16 + usize::try_from(u64::from_le_bytes(header.try_into()?))?;
            count += 1;
        }
        Ok(count)
    }
}

/// Incompressible bytes, different for each number.
fn body(number: u64, length: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn median(times: usize, mut run: impl FnMut(u64) -> Outcome<Duration>) -> Outcome<String> {
    let mut all = (0..u64::try_from(times)?).map(&mut run).collect::<Outcome<Vec<_>>>()?;
    all.sort_unstable();
    let ms = |at: usize| all[at].as_secs_f64() * 1e3;
    Ok(format!("{:.2} ({:.1})", ms(times / 2), ms(times * 99 / 100)))
}

fn size(folder: &Path) -> Outcome<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(sum)
}

/// Measures one store and returns its row of the table.
fn measure<S: Store>(under: &Path) -> Outcome<String> {
    let mut cells = vec![S::NAME.to_owned()];
    for (length, times) in [(LARGE, 100), (SMALL, 300)] {
        let folder = tempfile::tempdir_in(under)?;
        let mut store = S::open(folder.path())?;
        cells.push(median(times, |number| {
            let body = body(number, length);
            let begun = Instant::now();
            store.append(number, &body, number.checked_sub(16))?;
            Ok(begun.elapsed())
        })?);
    }
    let folder = tempfile::tempdir_in(under)?;
    let mut store = S::open(folder.path())?;
    cells.push(median(100, |number| {
        let state = body(number, STATE);
        let begun = Instant::now();
        store.save(&state)?;
        Ok(begun.elapsed())
    })?);
    drop(store);
    let folder = tempfile::tempdir_in(under)?;
    let mut store = S::open(folder.path())?;
    for number in 0..1_000 {
        store.append(number, &body(number, SMALL), None)?;
    }
    drop(store);
    cells.push(median(9, |_| {
        let begun = Instant::now();
        let count = S::open(folder.path())?.count()?;
        assert_eq!(count, 1_000);
        Ok(begun.elapsed())
    })?);
    let folder = tempfile::tempdir_in(under)?;
    let mut store = S::open(folder.path())?;
    let mut entries = VecDeque::new();
    for number in 0..10_000 {
        let removed = if entries.len() < 20 { None } else { entries.pop_front() };
        store.append(number, &body(number, SMALL), removed)?;
        entries.push_back(number);
    }
    cells.push(format!("{:.1}", size(folder.path())? as f64 / 1e6));
    drop(store);
    Ok(format!("| {} |", cells.join(" | ")))
}

fn main() -> Outcome {
    let under = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let mut out = std::io::stdout();
    writeln!(
        out,
        "| store | append 1.4 MB, ms | append 20 kB, ms | save 1 MB, ms | open 1,000 entries of 20 kB, ms | MB after 10,000 cycles |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    writeln!(out, "{}", measure::<Plain>(&under)?)?;
    writeln!(out, "{}", measure::<Redb>(&under)?)?;
    writeln!(out, "{}", measure::<Fjall>(&under)?)?;
    Ok(())
}
