//! `file://`: one line a sample, with the rotation of Python's `RotatingFileHandler`.
//!
//! No link is followed, and nothing is waited for but a disk: a reader that does not read holds its
//! own samples only.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{Envelope, Publisher};
use nephometer_config::{FileSpec, Rotation};
use nephometer_files as files;
use nephometer_model::DeliveryResult;

/// Envelopes at a time: what a second of a slow disk takes.
const WINDOW: usize = 16;
/// How often, and how long apart, a pipe or a terminal is tried that takes nothing for now.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// Appends envelopes to a file, opened anew for each, so that it can be moved away any time.
pub(crate) struct FilePublisher {
    log: Log,
}

/// What is taken to a thread that may block, and back.
#[derive(Debug, Clone)]
struct Log {
    path: PathBuf,
    rotation: Option<Rotation>,
    /// The envelope that a full disk stopped half-way, and how many bytes of it are written: its
    /// records before that are not written twice.
    partial: Option<(Uuid, usize)>,
}

impl FilePublisher {
    /// A publisher for this file. Nothing is opened yet.
    pub(super) fn new(spec: &FileSpec) -> Self {
        let (path, rotation) = (spec.path.clone(), spec.rotation);
        Self { log: Log { path, rotation, partial: None } }
    }
}

#[async_trait]
impl Publisher for FilePublisher {
    async fn publish(&mut self, envelopes: &[Envelope]) -> Vec<DeliveryResult> {
        let (mut log, batch) = (self.log.clone(), envelopes.to_vec());
        let written = tokio::task::spawn_blocking(move || {
            let outcomes = log.write_all(&batch);
            (log, outcomes)
        });
        match written.await {
            Ok((log, outcomes)) => {
                self.log = log;
                outcomes
            }
            Err(error) => vec![DeliveryResult::pending(error.to_string()); envelopes.len()],
        }
    }

    fn window(&self) -> usize {
        WINDOW
    }
}

impl Log {
    /// Stops at the first failure, so that the order is kept.
    fn write_all(&mut self, envelopes: &[Envelope]) -> Vec<DeliveryResult> {
        let mut outcomes = Vec::with_capacity(envelopes.len());
        for envelope in envelopes {
            match self.write(envelope) {
                Ok(()) => outcomes.push(DeliveryResult::Acknowledged),
                Err(error) => {
                    let reason = format!("cannot write {}: {error}", self.path.display());
                    outcomes.resize(envelopes.len(), DeliveryResult::pending(reason));
                    break;
                }
            }
        }
        outcomes
    }

    fn write(&mut self, envelope: &Envelope) -> io::Result<()> {
        let mut done = match self.partial {
            Some((id, done)) if id == envelope.id => done,
            _ => 0,
        };
        let result = self.write_from(&envelope.body, &mut done);
        self.partial = result.is_err().then_some((envelope.id, done));
        result
    }

    /// Writes the records from `done` on, as many at a time as the rotation allows, and moves
    /// `done` behind what is in the file for good.
    fn write_from(&self, body: &[u8], done: &mut usize) -> io::Result<()> {
        let mut file = files::output(&self.path)?;
        while *done < body.len() {
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return pour(&mut file, body, done);
            }
            // Without room for an old file Python's handler goes on with the one it has.
            let bounded = |it: &Rotation| it.max_bytes > 0 && it.backup_count > 0;
            let rotation = self.rotation.filter(bounded);
            let rest = &body[*done..];
            let fitting = match rotation {
                None => rest.len(),
                Some(rotation) => fitting(rest, metadata.len(), rotation.max_bytes),
            };
            if fitting == 0 {
                self.rotate(rotation.map_or(0, |it| it.backup_count))?;
                file = files::output(&self.path)?;
                continue;
            }
            append(&mut file, &rest[..fitting], metadata.len())?;
            *done += fitting;
        }
        Ok(())
    }

    /// `path` becomes `path.1` and so on, up to the first number that is free; without one the
    /// oldest goes.
    fn rotate(&self, backups: u32) -> io::Result<()> {
        let mut last = 1;
        while last < backups && files::is_there(&self.numbered(last)).map_err(self.at(last))? {
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

    /// Names the rotated file that an error is about.
    fn at(&self, number: u32) -> impl Fn(io::Error) -> io::Error {
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

/// How many bytes of whole records go into a file of `size` bytes. A record that would make it
/// `max_bytes` long or longer does not, unless the file is empty.
fn fitting(records: &[u8], size: u64, max_bytes: u64) -> usize {
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

/// Writes `body` from `done` on to what does not block, such as a terminal or a pipe, and moves
/// `done` behind what was taken. One that takes nothing for a second is an error.
fn pour(file: &mut File, body: &[u8], done: &mut usize) -> io::Result<()> {
    let mut tries = 0;
    while *done < body.len() {
        match file.write(&body[*done..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                *done += count;
                tries = 0;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && tries < TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
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

    fn log(path: PathBuf, rotation: Option<(u64, u32)>) -> Log {
        let rotation =
            rotation.map(|(max_bytes, backup_count)| Rotation { max_bytes, backup_count });
        Log { path, rotation, partial: None }
    }

    #[test]
    fn the_golden_files_are_rotated_alike() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut log = log(path.clone(), Some((1_500, 3)));
        let body = include_str!("../../../../tests/vectors/samples.repr.txt");
        assert_eq!(log.write_all(&[envelope(1, body)]), [DeliveryResult::Acknowledged]);
        let read = |suffix: &str| fs::read_to_string(format!("{}{suffix}", path.display()));
        assert_eq!(read("").unwrap(), include_str!("../../../../tests/vectors/rotated.txt"));
        assert_eq!(read(".1").unwrap(), include_str!("../../../../tests/vectors/rotated.txt.1"));
        assert_eq!(read(".2").unwrap(), include_str!("../../../../tests/vectors/rotated.txt.2"));
        assert_eq!(read(".3").unwrap(), include_str!("../../../../tests/vectors/rotated.txt.3"));
        assert!(read(".4").is_err());
    }

    #[test]
    fn a_file_never_grows_to_its_bound() {
        assert_eq!(fitting(b"abcd\nef\n", 0, 9), 8);
        assert_eq!(fitting(b"abcd\nef\n", 0, 8), 5);
        assert_eq!(fitting(b"abcd\nef\n", 4, 9), 0);
        assert_eq!(fitting(b"too long\n", 0, 3), 9);
        assert_eq!(fitting("é\n".as_bytes(), 6, 9), 3);
    }

    #[test]
    fn zero_bytes_or_backups_mean_no_rotation() {
        // With no backups the publisher once looked for room in the same full file for ever.
        for rotation in [(0, 3), (2, 0)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("out");
            let mut log = log(path.clone(), Some(rotation));
            log.write_all(&[envelope(1, "a\n"), envelope(2, "b\n")]);
            assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\n");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_written_waits_and_keeps_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later/out");
        let spec = FileSpec { path: path.clone(), rotation: None, json: true };
        let mut publisher = FilePublisher::new(&spec);
        let envelopes = [envelope(1, "a\n"), envelope(2, "b\n")];
        for outcome in publisher.publish(&envelopes).await {
            let DeliveryResult::Pending { reason, .. } = outcome else { panic!("{outcome:?}") };
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
        let mut log = log(path.clone(), Some((4, 1)));
        // A folder that is not empty stands where the old file has to go.
        let obstacle = folder.path().join("out.1");
        fs::create_dir_all(obstacle.join("full")).unwrap();
        let envelope = envelope(1, "aa\nbb\n");
        assert!(matches!(
            log.write_all(std::slice::from_ref(&envelope))[0],
            DeliveryResult::Pending { .. }
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "aa\n");
        fs::remove_dir_all(&obstacle).unwrap();
        assert_eq!(log.write_all(std::slice::from_ref(&envelope)), [DeliveryResult::Acknowledged]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "bb\n");
        assert_eq!(fs::read_to_string(&obstacle).unwrap(), "aa\n");
    }

    // Rotation once tried to rename every number that `backup_count` allows: 2^32 of them.
    #[test]
    fn rotation_touches_only_files_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut log = log(path.clone(), Some((1, u32::MAX)));
        for (id, body) in (0..).zip(["a\n", "b\n", "c\n", "d\n"]) {
            assert_eq!(log.write_all(&[envelope(id, body)]), [DeliveryResult::Acknowledged]);
        }
        let read = |suffix: &str| fs::read_to_string(format!("{}{suffix}", path.display()));
        assert_eq!((read("").unwrap(), read(".3").unwrap()), ("d\n".into(), "a\n".into()));
        // A number that is free takes what comes; what is behind it stays.
        fs::remove_file(folder.path().join("out.2")).unwrap();
        log.write_all(&[envelope(9, "e\n")]);
        let now = ["", ".1", ".2", ".3"].map(|suffix| read(suffix).unwrap());
        assert_eq!(now, ["e\n", "d\n", "c\n", "a\n"]);
    }

    // Links were once followed: whoever may write the folder chose which file the agent appended to.
    #[test]
    fn links_are_not_followed_and_nothing_is_written_to_a_fifo() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "kept").unwrap();
        let reason = |log: &mut Log| match &log.write_all(&[envelope(1, "aa\n")])[0] {
            DeliveryResult::Pending { reason, .. } => reason.clone(),
            other => panic!("{other:?}"),
        };
        let path = folder.path().join("out");
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        let link = reason(&mut log(path.clone(), None));
        assert!(link.contains("out") && link.contains("it is a link"), "{link}");
        fs::remove_file(&path).unwrap();
        // The same for a file that rotation would move.
        let mut rotated = log(path, Some((4, 3)));
        rotated.write_all(&[envelope(2, "bb\n")]);
        std::os::unix::fs::symlink(&victim, folder.path().join("out.1")).unwrap();
        let link = reason(&mut rotated);
        assert!(link.contains("out.1: it is a link"), "{link}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
        let fifo = folder.path().join("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(reason(&mut log(fifo, None)).contains("it is a FIFO"));
    }

    // What a pipe had taken of an envelope must not be written again.
    #[test]
    fn a_reader_that_does_not_read_costs_nothing_twice() {
        use std::io::Read as _;
        let (mut reader, writer) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        let mut log = log(path.into(), None);
        let body = "0123456789abcde\n".repeat(10_000);
        let envelope = envelope(1, &body);
        let outcome = &log.write_all(std::slice::from_ref(&envelope))[0];
        assert!(
            matches!(outcome, DeliveryResult::Pending { reason, .. } if reason.contains("does not read"))
        );
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        assert_eq!(log.write_all(std::slice::from_ref(&envelope)), [DeliveryResult::Acknowledged]);
        drop(writer);
        assert_eq!(read.join().unwrap(), body);
    }

    #[test]
    fn a_full_disk_leaves_nothing_half_written() {
        let mut log = log("/dev/full".into(), None);
        assert!(matches!(log.write_all(&[envelope(1, "a\n")])[0], DeliveryResult::Pending { .. }));
    }
}
