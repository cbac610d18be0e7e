//! The client's side of the control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{ControlError, Request, Response};

/// Sends a request to a running agent. Has no time limit: a reload may compile.
///
/// # Errors
/// If no agent listens, the response is invalid, or the agent returns an error.
pub fn send(path: &Path, request: &Request) -> Result<Value, ControlError> {
    open(path, request).map(|(answer, _)| answer)
}

/// The same for a request whose answer is followed by lines.
///
/// # Errors
/// As [`send`].
pub fn open(path: &Path, request: &Request) -> Result<(Value, ControlLines), ControlError> {
    let absent = |source| ControlError::Absent { path: path.to_owned(), source };
    let invalid = |reason: String| ControlError::InvalidResponse { path: path.to_owned(), reason };
    let mut stream = UnixStream::connect(path).map_err(absent)?;
    let mut text = serde_json::to_string(request).map_err(|error| invalid(error.to_string()))?;
    text.push('\n');
    stream.write_all(text.as_bytes()).map_err(absent)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).map_err(absent)?;
    if line.is_empty() {
        return Err(invalid("the connection was closed without one".to_owned()));
    }
    let response: Response =
        serde_json::from_str(&line).map_err(|error| invalid(error.to_string()))?;
    match (response.answer, response.error) {
        (Some(answer), _) => Ok((answer, ControlLines { reader, path: path.to_owned() })),
        (None, Some(reason)) => Err(ControlError::Refused(reason)),
        (None, None) => Err(invalid("it has neither an answer nor an error".to_owned())),
    }
}

/// The lines after an answer, until the agent closes the connection.
#[derive(Debug)]
pub struct ControlLines {
    reader: BufReader<UnixStream>,
    path: PathBuf,
}

impl Iterator for ControlLines {
    type Item = Result<Value, ControlError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).map_err(|error| {
                let reason = error.to_string();
                ControlError::InvalidResponse { path: self.path.clone(), reason }
            })),
            Err(source) => Some(Err(ControlError::Absent { path: self.path.clone(), source })),
        }
    }
}
