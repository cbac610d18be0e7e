//! Dead letters: samples that were dropped because a component failed on them, kept to be inspected
//! and retried.
//!
//! One JSON object per line. When the file is full, it replaces the previous one, whose letters are
//! lost.

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
const PREVIOUS_FILE: &str = "dead-letters.1.ndjson";
/// Bytes of each of the two files.
const MAX_BYTES: u64 = 16 << 20;

/// Samples that a transformer failed on.
#[derive(Debug, Clone, Copy)]
pub struct FailedBatch<'a> {
    /// The sink.
    pub sink: &'a str,
    /// Index of the transformer in the sink.
    pub transformer: usize,
    /// The transformer's component.
    pub component: &'a str,
    /// SHA-256 of the component's file.
    pub digest: &'a [u8; 32],
    /// Why the transformer failed.
    pub reason: &'a str,
    /// Offset of the batch in the journal.
    pub offset: Offset,
    /// The batch's source.
    pub source: &'a str,
    /// Start of the batch's polling cycle.
    pub cycle_start: Timestamp,
    /// The samples as the transformer got them.
    pub samples: &'a [Sample],
}

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Unique in this store, ascending.
    pub number: u64,
    /// The sink.
    pub sink: String,
    /// Index of the transformer in the sink.
    #[serde(rename = "stage")]
    pub transformer: usize,
    /// The transformer's component.
    pub component: String,
    /// SHA-256 of the component's file, in hexadecimal.
    pub digest: String,
    /// Why the transformer failed.
    pub reason: String,
    /// Offset of the batch in the journal.
    #[serde(rename = "position")]
    pub offset: Offset,
    /// The batch's source.
    pub source: String,
    /// Start of the batch's polling cycle, ISO 8601.
    #[serde(rename = "tick")]
    pub cycle_start: String,
    /// Number of samples.
    #[serde(rename = "rows")]
    pub sample_count: u64,
    /// The samples in the encoding of the journal, in hexadecimal: exact to the last bit.
    batch: String,
}

impl DeadLetter {
    /// The samples.
    ///
    /// # Errors
    /// If they cannot be decoded.
    pub fn samples(&self) -> Result<Vec<Sample>, String> {
        let bytes = hex::decode(&self.batch)
            .map_err(|error| format!("invalid hexadecimal in `batch`: {error}"))?;
        Ok(decode(&bytes)?.samples)
    }
}

/// The dead letters of a store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    /// Locked while the file is read or written.
    file: Arc<Mutex<LetterFile>>,
}

#[derive(Debug)]
struct LetterFile {
    /// `None` without a disk.
    folder: Option<PathBuf>,
    /// Number of the next letter, once it is known.
    next: Option<u64>,
}

impl DeadLetters {
    pub(super) fn new(folder: Option<&Path>) -> Self {
        let folder = folder.map(Path::to_owned);
        Self { file: Arc::new(Mutex::new(LetterFile { folder, next: None })) }
    }

    /// The dead letters of a store folder, whether or not an agent has it open.
    pub fn in_folder(folder: &Path) -> Self {
        Self::new(Some(folder))
    }

    /// Runs work on the folder on a blocking thread, one at a time. Returns the default without a disk.
    pub(super) async fn with_folder<T: Default + Send + 'static>(
        &self,
        work: impl FnOnce(&Path, &mut Option<u64>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut file = Arc::clone(&self.file).lock_owned().await;
        blocking(move || {
            let LetterFile { folder, next } = &mut *file;
            folder.as_deref().map_or_else(|| Ok(T::default()), |folder| work(folder, next))
        })
        .await
    }

    /// Appends a dead letter.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub async fn append(&self, failed: FailedBatch<'_>) -> Result<(), StoreError> {
        let batch = Batch {
            source: failed.source.into(),
            cycle_start: Moment { wall: failed.cycle_start, ..Moment::default() },
            samples: failed.samples.to_vec(),
            removed: Vec::new(),
        };
        let letter = DeadLetter {
            number: 0,
            sink: failed.sink.to_owned(),
            transformer: failed.transformer,
            component: failed.component.to_owned(),
            digest: hex::encode(failed.digest),
            reason: failed.reason.to_owned(),
            offset: failed.offset,
            source: failed.source.to_owned(),
            cycle_start: failed.cycle_start.iso(),
            sample_count: failed.samples.len() as u64,
            batch: String::new(),
        };
        self.with_folder(move |folder, next| {
            let number = match *next {
                Some(next) => next,
                None => all(folder)?.iter().map(|letter| letter.number).max().unwrap_or(0) + 1,
            };
            *next = Some(number + 1);
            append(folder, &DeadLetter { number, batch: hex::encode(encode(&batch)), ..letter })
        })
        .await
    }

    /// All dead letters, oldest first. Lines that cannot be decoded are logged and left out.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn all(&self) -> Result<Vec<DeadLetter>, StoreError> {
        self.with_folder(|folder, _| all(folder)).await
    }

    /// The dead letter with this number.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn get(&self, number: u64) -> Result<Option<DeadLetter>, StoreError> {
        Ok(self.all().await?.into_iter().find(|letter| letter.number == number))
    }

    /// Removes a dead letter.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub async fn remove(&self, number: u64) -> Result<(), StoreError> {
        self.with_folder(move |folder, _| {
            for name in [PREVIOUS_FILE, FILE] {
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
    let mut letters = read(&folder.join(PREVIOUS_FILE))?;
    letters.extend(read(&folder.join(FILE))?);
    Ok(letters)
}

/// A line that cannot be decoded, such as one that a crash has torn, is logged and left out.
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
    if length > 0 && length + line.len() as u64 > MAX_BYTES {
        let previous = folder.join(PREVIOUS_FILE);
        std::fs::rename(&path, &previous).map_err(|source| io("rename", &path, source))?;
    } else if length > 0 && !ends_line(&path) {
        // A line that a crash has torn is ended first.
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
    let temporary = path.with_extension("new");
    let bytes: Vec<u8> = letters.flat_map(text).collect();
    files::fresh(&temporary)
        .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_data()))
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|source| io("write", path, source))
}

fn text(letter: &DeadLetter) -> Vec<u8> {
    let mut line = serde_json::to_vec(letter).expect("texts and numbers serialize as JSON");
    line.push(b'\n');
    line
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(reason: &str) -> FailedBatch<'_> {
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
    async fn dead_letters_are_appended_found_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::in_folder(folder.path());
        for reason in ["one", "two", "three"] {
            letters.append(failed(reason)).await.unwrap();
        }
        assert_eq!(letters.get(2).await.unwrap().unwrap().reason, "two");
        letters.remove(2).await.unwrap();
        let left: Vec<u64> = letters.all().await.unwrap().iter().map(|one| one.number).collect();
        assert_eq!(left, [1, 3]);
        assert!(letters.get(1).await.unwrap().unwrap().samples().unwrap().is_empty());
    }

    #[tokio::test]
    async fn torn_line_affects_no_other_letter() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::in_folder(folder.path());
        letters.append(failed("one")).await.unwrap();
        let path = folder.path().join(FILE);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"number\": 2, \"si").unwrap();
        letters.append(failed("three")).await.unwrap();
        let left: Vec<String> =
            letters.all().await.unwrap().into_iter().map(|one| one.reason).collect();
        assert_eq!(left, ["one", "three"]);
    }
}
