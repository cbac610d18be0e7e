//! The agent's UNIX socket: one question a connection, one answer, a line of JSON each.
//!
//! Given: questions. Gives back: answers, which somebody else makes. Must not know what it is that
//! answers.

mod connections;
#[cfg(fuzzing)]
pub mod fuzz;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::net::UnixListener;

use connections::Connections;
use nephometer_telemetry::events::control as events;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// How sinks are, and the ledger.
    Status,
    /// What components use.
    ComponentStatus,
    /// Read the configuration and the components again.
    Reload {
        /// Only say what would happen.
        plan: bool,
    },
    /// What spools hold.
    Spools,
    /// Envelopes of a spool, some at a time.
    SpoolPage {
        /// The spool's name.
        spool: String,
        /// Where the page before has ended: whether with one that was refused, and its number.
        after: Option<(bool, u64)>,
    },
    /// Whether all that spools hold can be read.
    SpoolCheck,
    /// Put back what was refused, or what waits where nobody reads any more.
    SpoolRequeue {
        /// From this spool.
        from: String,
        /// Into this one.
        to: String,
    },
    /// What is missing.
    Gaps,
    /// Give rows that were set aside to their sink again.
    #[serde(alias = "replay_dead_letter")]
    RetryDeadLetter {
        /// As `dead-letters ls` shows it.
        number: u64,
    },
}

/// The answer: one of the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// What was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Response {
    /// What was asked for.
    pub fn well(answer: Value) -> Self {
        Self { answer: Some(answer), error: None }
    }

    /// Why there is no answer.
    pub fn failed(reason: String) -> Self {
        Self { answer: None, error: Some(reason) }
    }
}

/// Why the socket is of no use.
#[derive(Debug, Error)]
pub enum ControlError {
    /// It cannot be made.
    #[error("cannot create the control socket {path}; check control.socket")]
    Bind {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// No agent answers there.
    #[error("no agent answers at {path}; start one, or name its control.socket with --socket")]
    Absent {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// An agent of another version.
    #[error("invalid response from the agent at {path}: {reason}")]
    InvalidResponse {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It answers that it cannot.
    #[error("{0}")]
    Refused(String),
}

/// The socket, listening.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Makes the socket, for this user alone. What an agent left behind that has ended otherwise
    /// is taken away; the store's lock makes sure that none is at work.
    pub fn bind(path: &Path) -> Result<Self, ControlError> {
        let failed = |source| ControlError::Bind { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o755).create(folder).map_err(failed)?;
        }
        if StdStream::connect(path).is_ok() {
            return Err(failed(std::io::Error::other("another agent is listening on it")));
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, mode).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers until it is dropped. A client that does not ask loses its place to one that comes
    /// later.
    pub async fn serve<F>(self, answer: impl Fn(Request) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let mut conversations = Connections::new(answer);
        loop {
            match conversations.beside(self.listener.accept()).await {
                Ok((stream, _)) => conversations.begin(stream),
                Err(error) => {
                    events::accept_failed(&error);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Best effort: the next agent takes it away as well.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Asks a running agent. Waits for as long as it takes: a reload compiles.
pub fn ask(path: &Path, request: &Request) -> Result<Value, ControlError> {
    let absent = |source| ControlError::Absent { path: path.to_owned(), source };
    let strange = |reason: String| ControlError::InvalidResponse { path: path.to_owned(), reason };
    let mut stream = StdStream::connect(path).map_err(absent)?;
    let mut text = serde_json::to_string(request).map_err(|error| strange(error.to_string()))?;
    text.push('\n');
    stream.write_all(text.as_bytes()).map_err(absent)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(absent)?;
    if line.is_empty() {
        return Err(strange("the connection was closed without one".to_owned()));
    }
    let response: Response =
        serde_json::from_str(&line).map_err(|error| strange(error.to_string()))?;
    match (response.answer, response.error) {
        (Some(answer), _) => Ok(answer),
        (None, Some(reason)) => Err(ControlError::Refused(reason)),
        (None, None) => Err(strange("it has neither an answer nor an error".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_question_is_answered_and_nonsense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/agent.sock");
        let server = Server::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let serving = tokio::spawn(server.serve(|request| async move {
            match request {
                Request::Reload { plan } => Response::well(json!(plan)),
                _ => Response::failed("no".to_owned()),
            }
        }));
        let asked = |request| {
            let path = path.clone();
            tokio::task::spawn_blocking(move || ask(&path, &request))
        };
        assert_eq!(asked(Request::Reload { plan: true }).await.unwrap().unwrap(), json!(true));
        let refused = asked(Request::Status).await.unwrap().unwrap_err();
        assert_eq!(refused.to_string(), "no");
        let nonsense = path.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = StdStream::connect(nonsense).unwrap();
            stream.write_all(b"{\"command\": \"explode\"}\n").unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            line
        });
        assert!(answer.await.unwrap().contains("not understood"));
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
        assert!(!path.exists(), "taken away by the one who made it");
        assert!(
            asked(Request::Status).await.unwrap().unwrap_err().to_string().contains("no agent")
        );
    }
}
