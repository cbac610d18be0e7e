//! Reads files of the agent's `file://` publisher: lines of samples as JSON or in Python's notation, with
//! links and records of streams where the file has them. Lists and notifications, one a line, are read
//! as well.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use nephometer_model::Bound;
use serde_json::Value;
use thiserror::Error;

use crate::message::{Arrival, StreamPlace};
use crate::python;
use crate::sample::Shared;

/// Samples that become one message, in files without links.
const BATCH: usize = 1_000;

/// Why a file cannot be imported.
#[derive(Debug, Error)]
pub(crate) enum ImportError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A line is not what the agent writes.
    #[error("{path}:{line}: {what}")]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong, and what would be right.
        what: String,
    },
}

/// The messages of a file.
pub(crate) struct FileMessages {
    path: PathBuf,
    origin: Shared,
    reader: BufReader<std::fs::File>,
    /// Whether links divide the file into messages.
    linked: bool,
    line: usize,
}

impl FileMessages {
    /// Opens a file.
    pub(crate) fn open(path: &Path) -> Result<Self, ImportError> {
        let open = || nephometer_files::open(path).map(BufReader::new);
        let failed = |source| ImportError::Io { path: path.to_owned(), source };
        let mut file = Self {
            path: path.to_owned(),
            origin: path.display().to_string().into(),
            reader: open().map_err(failed)?,
            linked: false,
            line: 0,
        };
        while let Some(line) = file.next_line()? {
            if line.starts_with(b"{\"nephometer\"") && is_link(&file.value(&line)?) {
                file.linked = true;
                break;
            }
        }
        (file.reader, file.line) = (open().map_err(failed)?, 0);
        Ok(file)
    }

    /// The next message; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Arrival>, ImportError> {
        let (mut body, mut count) = (Vec::new(), 0);
        while let Some(line) = self.next_line()? {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let value = self.value(&line)?;
            if is_link(&value) {
                let place = place(&value["nephometer"]["link"]);
                let place =
                    place.ok_or_else(|| self.wrong("an incomplete link of a stream".into()));
                return Ok(Some(self.arrival(body, Some(place?))));
            }
            body.extend_from_slice(&line);
            count += 1;
            let whole = value.is_array() || value.get("payload").is_some();
            let whole = whole || value.get("oslo.message").is_some();
            if !self.linked && (whole || count == BATCH) {
                return Ok(Some(self.arrival(body, None)));
            }
            let within = Bound::CollectorMessage.check(body.len());
            within.map_err(|error| self.wrong(error.to_string()))?;
        }
        Ok((!body.is_empty()).then(|| self.arrival(body, None)))
    }

    fn value(&self, line: &[u8]) -> Result<Value, ImportError> {
        let read = if python::is_python(line) {
            python::read(&String::from_utf8_lossy(line))
        } else {
            serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))
        };
        read.map_err(|what| self.wrong(what))
    }

    fn arrival(&self, body: Vec<u8>, place: Option<StreamPlace>) -> Arrival {
        Arrival { origin: Shared::clone(&self.origin), body, place }
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>, ImportError> {
        let (mut line, most) = (Vec::new(), Bound::CollectorMessage.most());
        let read = self.reader.by_ref().take(most).read_until(b'\n', &mut line);
        read.map_err(|source| ImportError::Io { path: self.path.clone(), source })?;
        self.line += 1;
        Ok((!line.is_empty()).then_some(line))
    }

    fn wrong(&self, what: String) -> ImportError {
        ImportError::Line { path: self.path.clone(), line: self.line, what }
    }
}

/// Whether a line ends a message. The agent writes no blanks in it; others may.
fn is_link(line: &Value) -> bool {
    line.get("nephometer").is_some_and(|inner| inner.get("link").is_some())
}

fn place(link: &Value) -> Option<StreamPlace> {
    Some(StreamPlace {
        stream: link["stream"].as_str()?.parse().ok()?,
        sequence: link["sequence"].as_u64()?,
        previous: link["previous"].as_str()?.parse().ok()?,
        digest: link["digest"].as_str()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Result<Vec<Arrival>, ImportError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples.ndjson");
        std::fs::write(&path, text).unwrap();
        let mut file = FileMessages::open(&path)?;
        let mut found = Vec::new();
        while let Some(arrival) = file.next()? {
            found.push(arrival);
        }
        Ok(found)
    }

    #[test]
    fn links_divide_a_file_and_keep_its_bytes() {
        let digest = nephometer_proof::Digest::of(b"x");
        let link = |sequence: u64| {
            format!(
                "{{\"nephometer\": {{\"link\": {{\"stream\": \"{}\", \"sequence\": {sequence}, \
                 \"bytes\": 4, \"previous\": \"{digest}\", \"digest\": \"{digest}\"}}}}}}\n",
                uuid::Uuid::nil()
            )
        };
        let text = format!("{{\"a\":1}}\n{{\"b\": 2}}\n{}{{\"c\":3}}\n{}", link(1), link(2));
        let found = messages(&text).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].body, b"{\"a\":1}\n{\"b\": 2}\n");
        assert_eq!(found[1].place.as_ref().unwrap().sequence, 2);
        // As the agent writes it, and with more lines than a batch of a file without links.
        let link = link(1).replace("\": ", "\":");
        let found = messages(&("{\"a\": 1}\n".repeat(BATCH + 1) + &link)).unwrap();
        assert_eq!((found.len(), found[0].place.is_some()), (1, true));
        let plain = "{\"a\": 1}\n\n".repeat(BATCH + 1);
        assert_eq!(messages(&plain).unwrap().len(), 2);
        assert_eq!(messages("[]\n{\"payload\": []}\n").unwrap().len(), 2);
    }

    #[test]
    fn errors_have_a_line_and_a_remedy() {
        let python = messages("{\"a\": 1}\n{'a': x}\n").unwrap_err().to_string();
        assert!(python.contains(":2: not Python's notation: no value at character 7"), "{python}");
        assert!(messages("{").unwrap_err().to_string().contains(":1: not JSON"));
        let error = messages("{\"nephometer\": {\"link\": {}}}\n").unwrap_err().to_string();
        assert!(error.contains("an incomplete link"), "{error}");
    }
}
