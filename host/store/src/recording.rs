//! Recordings: batches as they entered the sinks, in a file, for `nephometer replay`.
//!
//! One JSON object per line. When the file is full, it replaces the previous one. Each line has the id
//! of its recording, so that lines of an earlier recording are not taken for a part of it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use super::StoreError;
use super::backend::finished;
use super::codec::{decode, encode};
use nephometer_files as files;
use nephometer_model::Batch;

/// Batches that are queued for the writer.
const QUEUED: usize = 8;
/// How long the disk may take before the recording ends; polling waits meanwhile.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A recording that is not started yet.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    /// UUID of the recording.
    id: String,
    file: File,
    length: u64,
    max_bytes: u64,
}

/// A running recording, written by a thread of its own: a disk that hangs ends the recording, and
/// delays nothing else for longer than the timeout.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    queue: mpsc::Sender<Arc<Batch>>,
    writer: JoinHandle<Result<(), StoreError>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    recording: String,
    source: String,
    /// Start of the polling cycle, ISO 8601; informational.
    #[serde(rename = "tick")]
    cycle_start: String,
    /// Number of samples; informational.
    #[serde(rename = "rows")]
    sample_count: u64,
    /// The batch in the encoding of the journal, in hexadecimal: exact to the last bit.
    batch: String,
}

impl Recorder {
    /// Begins a recording of at most twice `max_bytes`. A file at `path` is renamed to `path.1`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin(path: &Path, max_bytes: u64) -> Result<Self, StoreError> {
        let mut file = open(path)?;
        let metadata = file.metadata().map_err(|source| io("read", path, source))?;
        if metadata.len() > 0 {
            std::fs::rename(path, previous_path(path))
                .map_err(|source| io("rename", path, source))?;
            file = open(path)?;
        }
        Ok(Self {
            path: path.to_owned(),
            id: Uuid::new_v4().to_string(),
            file,
            length: 0,
            max_bytes,
        })
    }

    /// Starts the writer. Must be called within a runtime.
    pub fn start(mut self) -> Recording {
        let (queue, mut batches) = mpsc::channel::<Arc<Batch>>(QUEUED);
        let path = self.path.clone();
        let writer = tokio::task::spawn_blocking(move || {
            while let Some(batch) = batches.blocking_recv() {
                self.append(&batch)?;
            }
            Ok(())
        });
        Recording { path, queue, writer }
    }

    fn append(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let line = Line {
            recording: self.id.clone(),
            source: batch.source.to_string(),
            cycle_start: batch.cycle_start.wall.iso(),
            sample_count: batch.samples.len() as u64,
            batch: hex::encode(encode(batch)),
        };
        let mut text = serde_json::to_vec(&line).expect("texts and numbers serialize as JSON");
        text.push(b'\n');
        if self.length > 0 && self.length + text.len() as u64 > self.max_bytes {
            let path = &self.path;
            std::fs::rename(path, previous_path(path))
                .map_err(|source| io("rename", path, source))?;
            self.file = open(path)?;
            self.length = 0;
        }
        self.file.write_all(&text).map_err(|source| io("write", &self.path, source))?;
        self.length += text.len() as u64;
        Ok(())
    }
}

impl Recording {
    /// Appends a batch. After an error the recording has ended.
    ///
    /// # Errors
    /// If the file cannot be written, or the disk takes too long.
    pub async fn append(&mut self, batch: &Arc<Batch>) -> Result<(), StoreError> {
        match timeout(WRITE_TIMEOUT, self.queue.send(Arc::clone(batch))).await {
            Ok(Ok(())) => Ok(()),
            // The writer has ended with an error.
            Ok(Err(_)) => finished((&mut self.writer).await),
            Err(_) => Err(self.timed_out()),
        }
    }

    /// Waits until all batches are written.
    ///
    /// # Errors
    /// As for [`Self::append`].
    pub async fn finish(mut self) -> Result<(), StoreError> {
        let timed_out = self.timed_out();
        drop(self.queue);
        timeout(WRITE_TIMEOUT, &mut self.writer).await.map_or(Err(timed_out), finished)
    }

    fn timed_out(&self) -> StoreError {
        let reason = format!("no write completed within {} s", WRITE_TIMEOUT.as_secs());
        io("write", &self.path, std::io::Error::new(ErrorKind::TimedOut, reason))
    }
}

/// The batches of a recording, oldest first, including those in the previous file. A last line that a
/// crash has torn is left out.
///
/// # Errors
/// If the file cannot be read, or a line is not a batch, with its number.
pub fn read_recording(path: &Path) -> Result<Vec<Batch>, StoreError> {
    let file = files::open(path).map_err(|source| io("read", path, source))?;
    let mut lines = read(path, file)?;
    let id = lines.first().map(|(id, _)| id.clone());
    match files::open(&previous_path(path)) {
        Ok(file) => {
            let earlier = read(&previous_path(path), file)?
                .into_iter()
                .filter(|(one, _)| Some(one) == id.as_ref());
            lines = earlier.chain(lines).collect();
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(source) => return Err(io("read", &previous_path(path), source)),
    }
    Ok(lines.into_iter().map(|(_, batch)| batch).collect())
}

fn read(path: &Path, file: File) -> Result<Vec<(String, Batch)>, StoreError> {
    let (mut batches, mut torn) = (Vec::new(), None);
    for (number, line) in (1..).zip(BufReader::new(file).split(b'\n')) {
        if let Some(error) = torn.take() {
            return Err(error);
        }
        let line = line.map_err(|source| io("read", path, source))?;
        let parsed = serde_json::from_slice::<Line>(&line).map_err(|error| error.to_string());
        let decoded = parsed.and_then(|line| {
            let bytes = hex::decode(&line.batch)
                .map_err(|error| format!("invalid hexadecimal in `batch`: {error}"))?;
            Ok((line.recording, decode(&bytes)?))
        });
        match decoded {
            Ok(batch) => batches.push(batch),
            Err(reason) => {
                torn = Some(StoreError::InvalidRecording { path: path.to_owned(), number, reason });
            }
        }
    }
    match torn {
        Some(error) if batches.is_empty() => Err(error),
        _ => Ok(batches),
    }
}

fn previous_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

fn open(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    let opened = files::own(path, options.append(true).create(true));
    opened.map_err(|source| io("write", path, source))
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Recording { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_model::Moment;

    fn batch(name: &str) -> Arc<Batch> {
        let (cycle_start, removed) = (Moment::default(), vec!["a".into()]);
        Arc::new(Batch { source: name.into(), cycle_start, samples: Vec::new(), removed })
    }

    #[tokio::test]
    async fn full_file_replaces_the_previous_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recording");
        let mut recording = Recorder::begin(&path, 300).unwrap().start();
        for number in 0..10 {
            recording.append(&batch(&number.to_string())).await.unwrap();
        }
        recording.finish().await.unwrap();
        let read = read_recording(&path).unwrap();
        let sources: Vec<&str> = read.iter().map(|batch| &*batch.source).collect();
        let last = ["6", "7", "8", "9"];
        assert!(sources.ends_with(&last[2..]) && sources.len() < 6, "{sources:?}");
        assert_eq!(read[0].removed, ["a".into()]);
        // A torn line at the end is left out; one in the middle is an error with its number.
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{{\"sour")).unwrap();
        assert_eq!(read_recording(&path).unwrap().len(), read.len());
        std::fs::write(&path, format!("{{\n{text}")).unwrap();
        assert!(read_recording(&path).unwrap_err().to_string().contains("recording:1"));
        // Another recording under the same name: the previous one is kept, and not mixed with it.
        std::fs::write(&path, &text).unwrap();
        let mut recording = Recorder::begin(&path, 200_000).unwrap().start();
        recording.append(&batch("new")).await.unwrap();
        recording.finish().await.unwrap();
        assert_eq!(read_recording(&path).unwrap().len(), 1);
        assert!(previous_path(&path).is_file());
        std::fs::write(&path, "nothing of the kind").unwrap();
        std::fs::remove_file(previous_path(&path)).unwrap();
        assert!(read_recording(&path).is_err());
    }

    #[tokio::test]
    async fn writer_error_ends_the_recording() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recording");
        let mut recorder = Recorder::begin(&path, 1 << 30).unwrap();
        // Not open for writing.
        recorder.file = File::open(&path).unwrap();
        let mut recording = recorder.start();
        let ended = loop {
            if let Err(error) = recording.append(&batch("a")).await {
                break error;
            }
            tokio::task::yield_now().await;
        };
        assert!(matches!(ended, StoreError::Recording { action: "write", .. }), "{ended}");
    }
}
