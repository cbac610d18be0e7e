//! The agent's UNIX socket: one request and one response per connection, each a line of JSON. After the
//! response to `tap` more lines follow.
//!
//! Owns the protocol, the server and the client. A handler that the caller provides answers the
//! requests; this module knows nothing of the agent.

mod client;
mod connections;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod reply;

use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::net::UnixListener;

pub use client::{ControlLines, open, send};
use connections::Connections;
use nephometer_telemetry::events::control as events;
pub use reply::{ControlReply, Lines, Response};

/// A request to a running agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// The state of the sinks, the last reload, and the ledger: `ledger` has its numbers, `ledger_text`
    /// is what `nephometer status` prints.
    Status,
    /// The resources that components use.
    ComponentStatus,
    /// Reload the configuration and the components.
    Reload {
        /// Only report what would change.
        plan: bool,
    },
    /// What shadows have found, with costs.
    ComponentShadow {
        /// Only those of this component.
        component: Option<String>,
    },
    /// The last guarded change of each sink, with sums and costs.
    ComponentGuard,
    /// Run a component with the code of its shadow from now on; the answer is that of `reload`.
    ComponentPromote {
        /// The component.
        component: String,
        /// Run it as configured again.
        #[serde(default)]
        undo: bool,
    },
    /// The addresses of the agent's page, and the token that opens it.
    Page,
    /// List the domains that were polled, those with missing values first: at most 200 of `all`, which
    /// is null if the agent remembers none, because `telemetry.listen` is `none`.
    Domains,
    /// List the spools.
    Spools,
    /// Read envelopes of a spool, page by page.
    SpoolPage {
        /// The name of the spool.
        spool: String,
        /// The last envelope of the page before: whether it is a rejected one, and its number.
        after: Option<(bool, u64)>,
    },
    /// Read every envelope and report damaged ones.
    SpoolCheck,
    /// Send rejected envelopes again, or move those of a removed publisher to another spool.
    SpoolRequeue {
        /// The spool to take envelopes from.
        from: String,
        /// The spool to put them into.
        to: String,
    },
    /// List periods with missing samples.
    Gaps,
    /// List the keys that sign the records of streams.
    Keys,
    /// Replace the key that signs.
    RotateKey,
    /// Revoke a key.
    RevokeKey {
        /// The id of the key.
        key: String,
        /// The time from which its signatures are not to be trusted; now if it is left out.
        since: Option<String>,
    },
    /// Run a dead letter through its transformer again.
    #[serde(alias = "replay_dead_letter")]
    RetryDeadLetter {
        /// The number of the dead letter, from `dead-letters ls`.
        number: u64,
    },
    /// Show samples that pass a point of the pipeline. After the answer, each line is an object: a sample,
    /// a number of samples that were not shown, or the end. The client keeps its side open.
    Tap {
        /// Where: `source` (as polled), `before` the first transformer of a sink, `after` a transformer,
        /// or `output` (as the publishers get them); `output` if it is left out.
        at: Option<String>,
        /// With `after`: the name of the transformer, or its index in the sink, from 0.
        transformer: Option<String>,
        /// Only samples of this sink.
        sink: Option<String>,
        /// Only samples of meters that this pattern matches.
        meter: Option<String>,
        /// Only samples of this resource: its id, or the UUID or a name of its instance.
        resource: Option<String>,
        /// The samples after which it ends.
        count: Option<u64>,
        /// The seconds after which it ends; `tap_time` if it is left out.
        seconds: Option<u64>,
        /// The most samples that are shown in a second; 1,000 if it is left out.
        rate: Option<u64>,
    },
    /// Report how the value of a meter comes about, or why there is none.
    Explain {
        /// The name of the meter.
        meter: String,
        /// The UUID or a name of an instance, or the id of a resource.
        resource: String,
        /// Wait for the next polling cycle first.
        #[serde(default)]
        wait: bool,
    },
}

/// Why a request got no answer, or the socket could not be created.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The socket cannot be created.
    #[error("cannot create the control socket {path}; check control.socket")]
    Bind {
        /// The path of the socket.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// No agent listens on the socket.
    #[error("no agent answers at {path}; start one, or name its control.socket with --socket")]
    Absent {
        /// The path of the socket.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The response cannot be read, such as that of another version.
    #[error("invalid response from the agent at {path}: {reason}")]
    InvalidResponse {
        /// The path of the socket.
        path: PathBuf,
        /// What is wrong with the response.
        reason: String,
    },
    /// The agent returned an error.
    #[error("{0}")]
    Refused(String),
}

/// A listening control socket. Dropping it removes the socket.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Creates the socket, accessible to this user only. Replaces the socket of an agent that has
    /// crashed; the lock on the store ensures that no other agent runs.
    ///
    /// # Errors
    /// If another agent listens on the socket, or the system refuses it.
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

    /// Serves requests until it is dropped. A client that sends no request is disconnected when others
    /// need its connection.
    pub async fn serve<F>(self, handler: impl Fn(Request) -> F + Send + Sync + 'static)
    where
        F: Future<Output: Into<ControlReply>> + Send + 'static,
    {
        let mut connections = Connections::new(handler);
        loop {
            match connections.run_until(self.listener.accept()).await {
                Ok((stream, _)) => connections.accept(stream),
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
        // Best effort: the next agent replaces the socket.
        drop(std::fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};

    use serde_json::json;

    use super::*;

    #[test]
    fn earlier_request_names_are_understood() {
        let earlier = r#"{"command": "replay_dead_letter", "number": 3}"#;
        let request: Request = serde_json::from_str(earlier).unwrap();
        assert_eq!(request, Request::RetryDeadLetter { number: 3 });
        assert!(serde_json::to_string(&request).unwrap().contains("retry_dead_letter"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_gets_a_response_and_an_unknown_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/agent.sock");
        let server = Server::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let serving = tokio::spawn(server.serve(|request| async move {
            match request {
                Request::Reload { plan } => Response::ok(json!(plan)),
                _ => Response::failed("no".to_owned()),
            }
        }));
        let send = |request| {
            let path = path.clone();
            tokio::task::spawn_blocking(move || super::send(&path, &request))
        };
        assert_eq!(send(Request::Reload { plan: true }).await.unwrap().unwrap(), json!(true));
        let refused = send(Request::Status).await.unwrap().unwrap_err();
        assert_eq!(refused.to_string(), "no");
        let socket = path.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = StdStream::connect(socket).unwrap();
            stream.write_all(b"{\"command\": \"explode\"}\n").unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            line
        });
        assert!(answer.await.unwrap().contains("not understood"));
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
        assert!(!path.exists(), "the server removes its socket");
        assert!(send(Request::Status).await.unwrap().unwrap_err().to_string().contains("no agent"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_has_lines_after_its_answer_and_ends_with_its_client() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let server = Server::bind(&path).unwrap();
        let open_streams = std::sync::Arc::new(());
        let held = std::sync::Arc::clone(&open_streams);
        tokio::spawn(server.serve(move |_| {
            let held = std::sync::Arc::clone(&held);
            async move {
                let lines = futures_util::stream::unfold((0, held), |(at, held)| async move {
                    if at == 2 {
                        std::future::pending::<()>().await;
                    }
                    Some((format!("{{\"n\":{at}}}"), (at + 1, held)))
                });
                ControlReply::Stream(Response::ok(json!("begun")), Box::pin(lines))
            }
        }));
        let read = tokio::task::spawn_blocking(move || {
            let (answer, lines) = open(&path, &Request::Status).unwrap();
            let lines: Vec<_> = lines.take(2).map(Result::unwrap).collect();
            (answer, lines)
        });
        let (answer, lines) = read.await.unwrap();
        assert_eq!((answer, lines), (json!("begun"), vec![json!({"n": 0}), json!({"n": 1})]));
        // The handler has one, and each open stream.
        while std::sync::Arc::strong_count(&open_streams) > 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
