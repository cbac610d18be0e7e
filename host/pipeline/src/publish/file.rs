//! `file://`: one line per sample, with the rotation of Python's `RotatingFileHandler`.
//!
//! Links are not followed. Writes to disk may block a thread of the blocking pool; a pipe or
//! terminal whose reader stalls is retried and never blocks another publisher.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use uuid::Uuid;

use super::{Envelope, Publisher};
use nephometer_config::{FileSpec, Rotation};
use nephometer_files as files;
use nephometer_model::DeliveryResult;
use nephometer_proof::Link;

/// Envelopes at a time: about what a slow disk writes in 1 s.
const WINDOW: usize = 16;
/// Attempts to write to a full pipe or terminal, and the delay between them.
const MAX_ATTEMPTS: u32 = 50;
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// Appends envelopes to a file. It is opened for each envelope, so that it can be moved at any
/// time.
pub(crate) struct FilePublisher {
    output: OutputFile,
}

/// The file, as it is moved to a blocking thread and back.
#[derive(Debug, Clone)]
struct OutputFile {
    path: PathBuf,
    rotation: Option<Rotation>,
    stream: Uuid,
    /// An envelope that was only partly written, for example to a full disk, and the number of
    /// bytes written: these are not written again.
    partial: Option<(Uuid, usize)>,
}

impl FilePublisher {
    /// A publisher for this file. Nothing is opened yet. `stream` identifies the spool, for streams that
    /// can be verified.
    pub(super) fn new(spec: &FileSpec, stream: Uuid) -> Self {
        let (path, rotation) = (spec.path.clone(), spec.rotation);
        Self { output: OutputFile { path, rotation, stream, partial: None } }
    }
}

#[async_trait]
impl Publisher for FilePublisher {
    async fn publish(&mut self, envelopes: &[Envelope]) -> Vec<DeliveryResult> {
        let (mut output, batch) = (self.output.clone(), envelopes.to_vec());
        let written = tokio::task::spawn_blocking(move || {
            let results = output.write_all(&batch);
            (output, results)
        });
        match written.await {
            Ok((output, results)) => {
                self.output = output;
                results
            }
            Err(error) => vec![DeliveryResult::pending(error.to_string()); envelopes.len()],
        }
    }

    fn window(&self) -> usize {
        WINDOW
    }
}

impl OutputFile {
    /// Writes and syncs: what is acknowledged survives a power loss. Stops at the first failure, so
    /// that the order is kept.
    fn write_all(&mut self, envelopes: &[Envelope]) -> Vec<DeliveryResult> {
        let pending = |error: io::Error, path: &Path| {
            DeliveryResult::pending(format!("cannot write {}: {error}", path.display()))
        };
        let mut results = Vec::with_capacity(envelopes.len());
        for envelope in envelopes {
            match self.write(envelope) {
                Ok(()) => results.push(DeliveryResult::Acknowledged),
                Err(error) => {
                    results.resize(envelopes.len(), pending(error, &self.path));
                    break;
                }
            }
        }
        if results.contains(&DeliveryResult::Acknowledged)
            && let Err(error) = self.sync()
        {
            // Written again: rather twice than not at all.
            results.fill(pending(error, &self.path));
        }
        results
    }

    /// Syncs the file, unless it is a pipe or a terminal.
    fn sync(&self) -> io::Result<()> {
        let file = files::output(&self.path)?;
        if file.metadata()?.is_file() { file.sync_data() } else { Ok(()) }
    }

    fn write(&mut self, envelope: &Envelope) -> io::Result<()> {
        let mut done = match self.partial {
            Some((id, done)) if id == envelope.id => done,
            _ => 0,
        };
        let result = match &envelope.link {
            None => self.write_from(&envelope.body, &mut done),
            Some(link) => {
                let line = self.link_line(envelope, link);
                self.write_from(&[&*envelope.body, line.as_bytes()].concat(), &mut done)
            }
        };
        self.partial = result.is_err().then_some((envelope.id, done));
        result
    }

    /// The line behind an envelope that can be verified: its link, over the `bytes` before the line.
    fn link_line(&self, envelope: &Envelope, link: &Link) -> String {
        let link = json!({
            "stream": self.stream,
            "sequence": envelope.sequence,
            "bytes": envelope.body.len(),
            "previous": link.previous,
            "digest": link.digest,
        });
        format!("{}\n", json!({ "nephometer": { "link": link } }))
    }

    /// Writes the records from byte `done` on, as many at a time as the rotation allows, and
    /// advances `done` past what is written.
    fn write_from(&self, body: &[u8], done: &mut usize) -> io::Result<()> {
        let mut file = files::output(&self.path)?;
        while *done < body.len() {
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return write_nonblocking(&mut file, body, done);
            }
            // With `backup_count` 0 Python's handler does not rotate.
            let bounded = |it: &Rotation| it.max_bytes > 0 && it.backup_count > 0;
            let rotation = self.rotation.filter(bounded);
            let rest = &body[*done..];
            let fitting = match rotation {
                None => rest.len(),
                Some(rotation) => fitting_bytes(rest, metadata.len(), rotation.max_bytes),
            };
            if fitting == 0 {
                file.sync_data()?;
                self.rotate(rotation.map_or(0, |it| it.backup_count))?;
                file = files::output(&self.path)?;
                continue;
            }
            append(&mut file, &rest[..fitting], metadata.len())?;
            *done += fitting;
        }
        Ok(())
    }

    /// Renames `path` to `path.1` and so on, up to the first free number, or over the oldest file.
    fn rotate(&self, backups: u32) -> io::Result<()> {
        let mut last = 1;
        while last < backups
            && files::is_there(&self.numbered(last)).map_err(self.error_at(last))?
        {
            last += 1;
        }
        for number in (0..last).rev() {
            match std::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds the path of the rotated file to an error.
    fn error_at(&self, number: u32) -> impl Fn(io::Error) -> io::Error {
        let path = self.numbered(number);
        move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

/// Size in bytes of the whole records that fit into a file of `size` bytes. A record does not fit
/// if it would make the file `max_bytes` long or longer, unless the file is empty.
fn fitting_bytes(records: &[u8], size: u64, max_bytes: u64) -> usize {
    let mut end = 0;
    for record in records.split_inclusive(|byte| *byte == b'\n') {
        let before = size + u64::try_from(end).expect("a length fits");
        // Python counts the characters of the record, not its bytes.
        let length = String::from_utf8_lossy(record).chars().count();
        let length = u64::try_from(length).expect("a length fits");
        if before > 0 && before + length >= max_bytes {
            break;
        }
        end += record.len();
    }
    end
}

/// Appends all of it or nothing. `old` is the length of the file before.
fn append(file: &mut File, bytes: &[u8], old: u64) -> io::Result<()> {
    let written = file.write_all(bytes);
    if written.is_err() {
        file.set_len(old)?;
    }
    written
}

/// Writes `body` from byte `done` on to a terminal or a pipe, without blocking, and advances `done`
/// past what is written.
///
/// # Errors
/// If nothing could be written for 1 s.
fn write_nonblocking(file: &mut File, body: &[u8], done: &mut usize) -> io::Result<()> {
    let mut attempts = 0;
    while *done < body.len() {
        match file.write(&body[*done..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                *done += count;
                attempts = 0;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && attempts < MAX_ATTEMPTS => {
                attempts += 1;
                std::thread::sleep(RETRY_DELAY);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(io::Error::new(ErrorKind::WouldBlock, "its reader does not read"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;

    fn envelope(id: u128, body: &str) -> Envelope {
        let id = Uuid::from_u128(id);
        Envelope {
            id,
            address: Arc::from(""),
            body: body.as_bytes().to_vec().into(),
            samples: 1,
            ..Envelope::default()
        }
    }

    fn output(path: PathBuf, rotation: Option<(u64, u32)>) -> OutputFile {
        let rotation =
            rotation.map(|(max_bytes, backup_count)| Rotation { max_bytes, backup_count });
        OutputFile { path, rotation, stream: Uuid::nil(), partial: None }
    }

    #[test]
    fn rotated_files_equal_those_of_python() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut output = output(path.clone(), Some((1_500, 3)));
        let body = include_str!("../../../../tests/vectors/samples.repr.txt");
        assert_eq!(output.write_all(&[envelope(1, body)]), [DeliveryResult::Acknowledged]);
        let read = |suffix: &str| fs::read_to_string(format!("{}{suffix}", path.display()));
        assert_eq!(read("").unwrap(), include_str!("../../../../tests/vectors/rotated.txt"));
        assert_eq!(read(".1").unwrap(), include_str!("../../../../tests/vectors/rotated.txt.1"));
        assert_eq!(read(".2").unwrap(), include_str!("../../../../tests/vectors/rotated.txt.2"));
        assert_eq!(read(".3").unwrap(), include_str!("../../../../tests/vectors/rotated.txt.3"));
        assert!(read(".4").is_err());
    }

    #[test]
    fn a_file_stays_below_max_bytes() {
        assert_eq!(fitting_bytes(b"abcd\nef\n", 0, 9), 8);
        assert_eq!(fitting_bytes(b"abcd\nef\n", 0, 8), 5);
        assert_eq!(fitting_bytes(b"abcd\nef\n", 4, 9), 0);
        assert_eq!(fitting_bytes(b"too long\n", 0, 3), 9);
        assert_eq!(fitting_bytes("é\n".as_bytes(), 6, 9), 3);
    }

    #[test]
    fn zero_bytes_or_backups_mean_no_rotation() {
        // With no backups the publisher once tried the same full file for ever.
        for rotation in [(0, 3), (2, 0)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("out");
            let mut output = output(path.clone(), Some(rotation));
            output.write_all(&[envelope(1, "a\n"), envelope(2, "b\n")]);
            assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\n");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[tokio::test]
    async fn envelopes_that_cannot_be_written_stay_pending_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later/out");
        let spec = FileSpec { path: path.clone(), rotation: None, json: true, provable: false };
        let mut publisher = FilePublisher::new(&spec, Uuid::nil());
        let envelopes = [envelope(1, "a\n"), envelope(2, "b\n")];
        for result in publisher.publish(&envelopes).await {
            let DeliveryResult::Pending { reason, .. } = result else { panic!("{result:?}") };
            assert!(reason.contains("later/out"), "{reason}");
        }
        fs::create_dir(folder.path().join("later")).unwrap();
        assert_eq!(
            publisher.publish(&envelopes).await,
            [const { DeliveryResult::Acknowledged }; 2]
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\n");
    }

    #[test]
    fn records_before_a_failure_are_not_written_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut output = output(path.clone(), Some((4, 1)));
        // A non-empty folder is in the way of the rotated file.
        let obstacle = folder.path().join("out.1");
        fs::create_dir_all(obstacle.join("full")).unwrap();
        let envelope = envelope(1, "aa\nbb\n");
        assert!(matches!(
            output.write_all(std::slice::from_ref(&envelope))[0],
            DeliveryResult::Pending { .. }
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "aa\n");
        fs::remove_dir_all(&obstacle).unwrap();
        assert_eq!(
            output.write_all(std::slice::from_ref(&envelope)),
            [DeliveryResult::Acknowledged]
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "bb\n");
        assert_eq!(fs::read_to_string(&obstacle).unwrap(), "aa\n");
    }

    // Rotation once tried to rename every number that `backup_count` allows: 2^32 of them.
    #[test]
    fn rotation_renames_only_existing_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut output = output(path.clone(), Some((1, u32::MAX)));
        for (id, body) in (0..).zip(["a\n", "b\n", "c\n", "d\n"]) {
            assert_eq!(output.write_all(&[envelope(id, body)]), [DeliveryResult::Acknowledged]);
        }
        let read = |suffix: &str| fs::read_to_string(format!("{}{suffix}", path.display()));
        assert_eq!((read("").unwrap(), read(".3").unwrap()), ("d\n".into(), "a\n".into()));
        // A free number stops the renaming: the files behind it stay.
        fs::remove_file(folder.path().join("out.2")).unwrap();
        output.write_all(&[envelope(9, "e\n")]);
        let now = ["", ".1", ".2", ".3"].map(|suffix| read(suffix).unwrap());
        assert_eq!(now, ["e\n", "d\n", "c\n", "a\n"]);
    }

    // Links were once followed: a user who could write to the folder chose the file that the agent
    // appended to.
    #[test]
    fn links_are_not_followed_and_nothing_is_written_to_a_fifo() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "kept").unwrap();
        let reason = |output: &mut OutputFile| match &output.write_all(&[envelope(1, "aa\n")])[0] {
            DeliveryResult::Pending { reason, .. } => reason.clone(),
            other => panic!("{other:?}"),
        };
        let path = folder.path().join("out");
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        let link = reason(&mut output(path.clone(), None));
        assert!(link.contains("out") && link.contains("it is a link"), "{link}");
        fs::remove_file(&path).unwrap();
        // The same for a file to be renamed by the rotation.
        let mut rotated = output(path, Some((4, 3)));
        rotated.write_all(&[envelope(2, "bb\n")]);
        std::os::unix::fs::symlink(&victim, folder.path().join("out.1")).unwrap();
        let link = reason(&mut rotated);
        assert!(link.contains("out.1: it is a link"), "{link}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
        let fifo = folder.path().join("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(reason(&mut output(fifo, None)).contains("it is a FIFO"));
    }

    // Bytes that a pipe accepted must not be written again.
    #[test]
    fn a_stalled_pipe_gets_every_byte_once() {
        use std::io::Read as _;
        let (mut reader, writer) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        let mut output = output(path.into(), None);
        let body = "0123456789abcde\n".repeat(10_000);
        let envelope = envelope(1, &body);
        let result = &output.write_all(std::slice::from_ref(&envelope))[0];
        assert!(
            matches!(result, DeliveryResult::Pending { reason, .. } if reason.contains("does not read"))
        );
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        assert_eq!(
            output.write_all(std::slice::from_ref(&envelope)),
            [DeliveryResult::Acknowledged]
        );
        drop(writer);
        assert_eq!(read.join().unwrap(), body);
    }

    #[test]
    fn a_full_disk_leaves_nothing_half_written() {
        let mut output = output("/dev/full".into(), None);
        assert!(matches!(
            output.write_all(&[envelope(1, "a\n")])[0],
            DeliveryResult::Pending { .. }
        ));
    }
}
