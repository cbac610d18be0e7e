//! Rows that were dropped because a component failed on them: kept in a file, for people.
//!
//! One JSON object a line. The file is bounded: when it is full it takes the place of the one before,
//! whose letters are lost.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::StoreError;
use super::backend::blocking;
use super::codec::{decode, encode};
use nephometer_files as files;
use nephometer_model::{Batch, Moment, Offset, Sample, Timestamp};
use nephometer_telemetry::events::store as events;

const FILE: &str = "dead-letters.ndjson";
const BEFORE: &str = "dead-letters.1.ndjson";
/// Bytes of each of the two files.
const LARGEST: u64 = 16 << 20;

/// Rows that a transformer failed on.
#[derive(Debug, Clone, Copy)]
pub struct FailedBatch<'a> {
    /// The sink.
    pub sink: &'a str,
    /// Position of the transformer in the sink, from 0.
    pub transformer: usize,
    /// The transformer's component.
    pub component: &'a str,
    /// SHA-256 of the component's file.
    pub digest: &'a [u8; 32],
    /// What happened.
    pub reason: &'a str,
    /// The batch in the journal that the rows come from.
    pub offset: Offset,
    /// The batch's source.
    pub source: &'a str,
    /// The batch's tick.
    pub cycle_start: Timestamp,
    /// As they came to the transformer.
    pub samples: &'a [Sample],
}

/// One letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Unique in this store, ascending.
    pub number: u64,
    /// The sink.
    pub sink: String,
    /// Position of the transformer in the sink, from 0.
    #[serde(rename = "stage")]
    pub transformer: usize,
    /// The transformer's component.
    pub component: String,
    /// SHA-256 of the component's file, in hexadecimal.
    pub digest: String,
    /// What happened.
    pub reason: String,
    /// The batch in the journal that the rows come from.
    #[serde(rename = "position")]
    pub offset: Offset,
    /// The batch's source.
    pub source: String,
    /// The batch's tick, ISO 8601.
    #[serde(rename = "tick")]
    pub cycle_start: String,
    /// How many rows there are.
    pub rows: u64,
    /// The rows in the journal's own form, in hexadecimal: exact to the last bit.
    batch: String,
}

impl DeadLetter {
    /// The rows.
    pub fn samples(&self) -> Result<Vec<Sample>, String> {
        let bytes = hex::decode(&self.batch).map_err(|error| format!("its rows: {error}"))?;
        Ok(decode(&bytes)?.samples)
    }
}

/// The file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    /// Held over reading and writing, one at a time.
    file: Arc<Mutex<Letters>>,
}

#[derive(Debug)]
struct Letters {
    /// `None` where nothing may be written.
    folder: Option<PathBuf>,
    /// Of the next letter, once it is known.
    next: Option<u64>,
}

impl DeadLetters {
    pub(super) fn new(folder: Option<&Path>) -> Self {
        let folder = folder.map(Path::to_owned);
        Self { file: Arc::new(Mutex::new(Letters { folder, next: None })) }
    }

    /// Those of a store that nobody has to have open.
    pub fn of(folder: &Path) -> Self {
        Self::new(Some(folder))
    }

    /// Works on the file on a thread that may wait for the disk; nobody else works on it meanwhile.
    pub(super) async fn work<T: Default + Send + 'static>(
        &self,
        work: impl FnOnce(&Path, &mut Option<u64>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut file = Arc::clone(&self.file).lock_owned().await;
        blocking(move || {
            let Letters { folder, next } = &mut *file;
            folder.as_deref().map_or_else(|| Ok(T::default()), |folder| work(folder, next))
        })
        .await
    }

    /// Adds one.
    pub async fn append(&self, lost: FailedBatch<'_>) -> Result<(), StoreError> {
        let batch = Batch {
            source: lost.source.into(),
            cycle_start: Moment { wall: lost.cycle_start, ..Moment::default() },
            samples: lost.samples.to_vec(),
            gone: Vec::new(),
        };
        let letter = DeadLetter {
            number: 0,
            sink: lost.sink.to_owned(),
            transformer: lost.transformer,
            component: lost.component.to_owned(),
            digest: hex::encode(lost.digest),
            reason: lost.reason.to_owned(),
            offset: lost.offset,
            source: lost.source.to_owned(),
            cycle_start: lost.cycle_start.iso(),
            rows: lost.samples.len() as u64,
            batch: String::new(),
        };
        self.work(move |folder, next| {
            let number = match *next {
                Some(next) => next,
                None => all(folder)?.iter().map(|letter| letter.number).max().unwrap_or(0) + 1,
            };
            *next = Some(number + 1);
            append(folder, &DeadLetter { number, batch: hex::encode(encode(&batch)), ..letter })
        })
        .await
    }

    /// All that there are, oldest first.
    pub async fn all(&self) -> Result<Vec<DeadLetter>, StoreError> {
        self.work(|folder, _| all(folder)).await
    }

    /// The one of this number.
    pub async fn get(&self, number: u64) -> Result<Option<DeadLetter>, StoreError> {
        Ok(self.all().await?.into_iter().find(|letter| letter.number == number))
    }

    /// Takes one away.
    pub async fn remove(&self, number: u64) -> Result<(), StoreError> {
        self.work(move |folder, _| {
            for name in [BEFORE, FILE] {
                let path = folder.join(name);
                let letters = read(&path)?;
                if letters.iter().any(|letter| letter.number == number) {
                    let left = letters.iter().filter(|letter| letter.number != number);
                    rewrite(&path, left)?;
                }
            }
            Ok(())
        })
        .await
    }
}

fn all(folder: &Path) -> Result<Vec<DeadLetter>, StoreError> {
    let mut letters = read(&folder.join(BEFORE))?;
    letters.extend(read(&folder.join(FILE))?);
    Ok(letters)
}

/// A line that is no letter, such as one that was torn by a crash, is left out and said.
fn read(path: &Path) -> Result<Vec<DeadLetter>, StoreError> {
    let file = match files::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(io("read", path, source)),
    };
    let mut letters = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(file).split(b'\n')) {
        let line = line.map_err(|source| io("read", path, source))?;
        match serde_json::from_slice(&line) {
            Ok(letter) => letters.push(letter),
            Err(error) => events::dead_letter_unreadable(path, number, &error.to_string()),
        }
    }
    Ok(letters)
}

fn append(folder: &Path, letter: &DeadLetter) -> Result<(), StoreError> {
    let path = folder.join(FILE);
    let mut line = text(letter);
    let length = path.metadata().map_or(0, |found| found.len());
    if length > 0 && length + line.len() as u64 > LARGEST {
        let before = folder.join(BEFORE);
        std::fs::rename(&path, &before).map_err(|source| io("rename", &path, source))?;
    } else if length > 0 && !ends_line(&path) {
        // What a crash tore stays alone on its line.
        line.insert(0, b'\n');
    }
    let mut options = OpenOptions::new();
    let opened = files::own(&path, options.append(true).create(true));
    opened
        .and_then(|mut file| file.write_all(&line).and_then(|()| file.sync_data()))
        .map_err(|source| io("write", &path, source))
}

fn ends_line(path: &Path) -> bool {
    use std::io::{Read, Seek, SeekFrom};
    let mut last = [0];
    files::open(path)
        .and_then(|mut file| {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)
        })
        .is_ok_and(|()| last == *b"\n")
}

fn rewrite<'a>(
    path: &Path,
    letters: impl Iterator<Item = &'a DeadLetter>,
) -> Result<(), StoreError> {
    let beside = path.with_extension("new");
    let bytes: Vec<u8> = letters.flat_map(text).collect();
    files::fresh(&beside)
        .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_data()))
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(|source| io("write", path, source))
}

fn text(letter: &DeadLetter) -> Vec<u8> {
    let mut line = serde_json::to_vec(letter).expect("texts and numbers are writable as JSON");
    line.push(b'\n');
    line
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(reason: &str) -> FailedBatch<'_> {
        FailedBatch {
            sink: "s",
            transformer: 1,
            component: "c",
            digest: &[7; 32],
            reason,
            offset: 5,
            source: "source",
            cycle_start: Timestamp::from_nanos(9),
            samples: &[],
        }
    }

    #[tokio::test]
    async fn letters_are_kept_found_and_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::of(folder.path());
        for reason in ["one", "two", "three"] {
            letters.append(lost(reason)).await.unwrap();
        }
        assert_eq!(letters.get(2).await.unwrap().unwrap().reason, "two");
        letters.remove(2).await.unwrap();
        let left: Vec<u64> = letters.all().await.unwrap().iter().map(|one| one.number).collect();
        assert_eq!(left, [1, 3]);
        assert!(letters.get(1).await.unwrap().unwrap().samples().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_torn_line_costs_itself_only() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::of(folder.path());
        letters.append(lost("one")).await.unwrap();
        let path = folder.path().join(FILE);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"number\": 2, \"si").unwrap();
        letters.append(lost("three")).await.unwrap();
        let left: Vec<String> =
            letters.all().await.unwrap().into_iter().map(|one| one.reason).collect();
        assert_eq!(left, ["one", "three"]);
    }
}
