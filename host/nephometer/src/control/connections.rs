//! The connections of the control socket: their number, their time limits, and which one is closed
//! when there are too many.
//!
//! Reads requests and writes responses. The caller's handler makes the responses.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::{ControlReply, Lines, Request, Response};
use nephometer_model::{Bound, clean};
use nephometer_telemetry::events::control as events;

/// The time limit for a client to send its request, and to receive the response.
const IO_TIMEOUT: Duration = Duration::from_millis(Bound::ControlTime.most());

/// The longest time of a stream of lines. A tap ends by itself before, if its client reads the end.
const STREAM_TIMEOUT: Duration =
    Duration::from_millis(Bound::TapTime.most() + Bound::ControlTime.most());

/// All open connections. Dropping it closes them.
pub(super) struct Connections<A> {
    handler: Arc<A>,
    tasks: JoinSet<()>,
    open: Arc<Mutex<OpenConnections>>,
    next: u64,
}

#[derive(Debug, Default)]
struct OpenConnections {
    /// Connections without a complete request, oldest first.
    idle: BTreeMap<u64, AbortHandle>,
    /// The number of connections with a request.
    active: usize,
}

impl<A, F> Connections<A>
where
    A: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output: Into<ControlReply>> + Send + 'static,
{
    pub(super) fn new(handler: A) -> Self {
        Self { handler: Arc::new(handler), tasks: JoinSet::new(), open: Arc::default(), next: 0 }
    }

    /// Waits for a future, and joins ended connections meanwhile.
    pub(super) async fn run_until<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(ended) = self.tasks.join_next() => match ended {
                    // Its client sees a closed connection.
                    Err(error) if error.is_panic() => events::request_panicked(&error),
                    _ => {}
                },
            }
        }
    }

    /// Serves a new connection. If there are too many, closes the oldest one without a request; if all
    /// have sent requests, refuses the new one.
    pub(super) fn accept(&mut self, stream: UnixStream) {
        if !is_allowed(&stream) {
            return;
        }
        // Locked until the task is in the list, because the task removes itself from it.
        let mut open = lock(&self.open);
        if let Err(over) = Bound::ControlConnections.check(open.idle.len() + open.active + 1) {
            match open.idle.pop_first() {
                Some((_, oldest)) => oldest.abort(),
                None => {
                    events::connection_refused(open.active);
                    return refuse(stream, over.to_string());
                }
            }
        }
        let number = self.next;
        self.next += 1;
        let handler = Arc::clone(&self.handler);
        let slot = ConnectionSlot { open: Arc::clone(&self.open), number, active: false };
        let task = async move {
            if let Err(error) = serve(stream, &*handler, slot).await {
                events::connection_aborted(&error);
            }
        };
        open.idle.insert(number, self.tasks.spawn(task));
    }
}

/// Whether the peer is this user or root. The mode of the socket ensures that too, but is set only
/// after the socket was created.
fn is_allowed(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

/// Best effort: the client may see only a closed connection.
fn refuse(stream: UnixStream, reason: String) {
    let Ok(mut stream) = stream.into_std() else { return };
    let mut text = serde_json::to_vec(&Response::failed(reason)).unwrap_or_default();
    text.push(b'\n');
    drop(stream.write_all(&text));
}

fn lock(open: &Mutex<OpenConnections>) -> MutexGuard<'_, OpenConnections> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The entry of one connection among the open ones. Dropping it removes the entry.
struct ConnectionSlot {
    open: Arc<Mutex<OpenConnections>>,
    number: u64,
    active: bool,
}

impl ConnectionSlot {
    /// Marks the connection as active, so that it is not closed for another one. `None` if it has been
    /// closed already.
    fn activate(mut self) -> Option<Self> {
        let mut open = lock(&self.open);
        open.idle.remove(&self.number)?;
        open.active += 1;
        drop(open);
        self.active = true;
        Some(self)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        if self.active {
            open.active -= 1;
        } else {
            open.idle.remove(&self.number);
        }
    }
}

/// Reads one request and writes one response, and the lines after it.
async fn serve<F: Future<Output: Into<ControlReply>>>(
    mut stream: UnixStream,
    handler: &(impl Fn(Request) -> F + Sync),
    slot: ConnectionSlot,
) -> std::io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    let request = with_timeout(read_request(&mut reader)).await?;
    let Some(_slot) = slot.activate() else { return Ok(()) };
    let reply = match request {
        Ok(request) => handler(request).await.into(),
        Err(reason) => Response::failed(reason).into(),
    };
    let (response, lines) = match reply {
        ControlReply::One(response) => (response, None),
        ControlReply::Stream(response, lines) => (response, Some(lines)),
    };
    with_timeout(write_response(&mut writer, &response)).await?;
    let Some(lines) = lines else { return Ok(()) };
    tokio::select! {
        written = timeout(STREAM_TIMEOUT, write_lines(&mut writer, lines)) => written?,
        () = closed(&mut reader) => Ok(()),
    }
}

/// Writes lines as fast as the client reads them.
async fn write_lines(
    writer: &mut (impl AsyncWrite + Unpin),
    mut lines: Lines,
) -> std::io::Result<()> {
    while let Some(mut line) = lines.next().await {
        line.push('\n');
        writer.write_all(line.as_bytes()).await?;
    }
    Ok(())
}

/// Waits until the client has closed its side. What else it sends is ignored.
async fn closed(reader: &mut (impl AsyncRead + Unpin)) {
    let mut ignored = [0; 64];
    while reader.read(&mut ignored).await.is_ok_and(|length| length > 0) {}
}

async fn with_timeout<T>(work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    timeout(IO_TIMEOUT, work).await.map_err(|_| Error::from(ErrorKind::TimedOut))?
}

/// Reads a request. The inner error is the message for a client that sent an invalid one.
pub(super) async fn read_request(
    reader: impl AsyncRead + Unpin,
) -> std::io::Result<Result<Request, String>> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(Bound::ControlBytes.most() + 1));
    reader.read_until(b'\n', &mut line).await?;
    if let Err(over) = Bound::ControlBytes.check(line.len()) {
        return Ok(Err(over.to_string()));
    }
    Ok(serde_json::from_slice(&line).map_err(|error| {
        // The message quotes the input.
        format!("request not understood: {}", clean(&error.to_string()))
    }))
}

pub(super) async fn write_response(
    writer: &mut (impl AsyncWrite + Unpin),
    response: &Response,
) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(response).map_err(Error::other)?;
    text.push(b'\n');
    writer.write_all(&text).await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> Result<Request, String> {
        read_request(bytes).await.unwrap()
    }

    #[tokio::test]
    async fn a_request_has_a_size_limit() {
        let request = "{\"command\": \"status\"";
        let padded = |length: usize| {
            let gap = length - request.len() - "}\n".len();
            format!("{request}{}}}\n", " ".repeat(gap)).into_bytes()
        };
        let most = Bound::ControlBytes.size();
        assert_eq!(read(&padded(most)).await.unwrap(), Request::Status);
        let refused = read(&padded(most + 1)).await.unwrap_err();
        assert!(refused.contains("control_request_bytes"), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_a_time_limit() {
        let gap = Duration::from_millis(1);
        for (after, fine) in [(IO_TIMEOUT - gap, true), (IO_TIMEOUT + gap, false)] {
            let (mut client, server) = tokio::io::duplex(1_000);
            let sending = async {
                tokio::time::sleep(after).await;
                client.write_all(b"{\"command\": \"status\"}\n").await
            };
            let (request, sent) = tokio::join!(with_timeout(read_request(server)), sending);
            sent.unwrap_or_else(|error| assert!(!fine, "{error}"));
            assert_eq!(request.is_ok(), fine, "{after:?}");
        }
    }

    const STATUS: &[u8] = b"{\"command\": \"status\"}\n";
    const GAPS: &[u8] = b"{\"command\": \"gaps\"}\n";

    async fn line(client: &mut UnixStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    // 200 idle connections once blocked `status` for a minute.
    #[tokio::test]
    async fn idle_connections_are_closed_for_new_ones_and_active_ones_are_not() {
        let most = Bound::ControlConnections.size();
        let (block, blocked) = tokio::sync::watch::channel(true);
        let mut connections = Connections::new(move |request| {
            let mut blocked = blocked.clone();
            async move {
                if request == Request::Gaps {
                    blocked.wait_for(|blocked| !blocked).await.unwrap();
                }
                Response::ok(serde_json::Value::Null)
            }
        });
        let mut clients = Vec::new();
        let mut connect = |connections: &mut Connections<_>| {
            let (client, server) = UnixStream::pair().unwrap();
            connections.accept(server);
            clients.push(client);
        };
        for _ in 0..most {
            connect(&mut connections);
        }
        let open = Arc::clone(&connections.open);
        assert_eq!(super::lock(&open).idle.len(), most, "connections up to the limit are accepted");
        connect(&mut connections);
        assert_eq!(super::lock(&open).idle.len(), most);
        let mut newest = clients.pop().unwrap();
        assert_eq!(line(&mut clients[0]).await, "", "the oldest was closed");
        newest.write_all(STATUS).await.unwrap();
        assert_eq!(line(&mut newest).await, "{\"answer\":null}\n");

        // Now all are active, and wait for their responses.
        clients.remove(0);
        for client in &mut clients {
            client.write_all(GAPS).await.unwrap();
        }
        let (mut last, server) = UnixStream::pair().unwrap();
        last.write_all(GAPS).await.unwrap();
        connections.accept(server);
        while super::lock(&open).active < most {
            tokio::task::yield_now().await;
        }
        let (mut refused, server) = UnixStream::pair().unwrap();
        connections.accept(server);
        assert!(line(&mut refused).await.contains("control_connections"));
        block.send_replace(false);
        assert_eq!(line(&mut last).await, "{\"answer\":null}\n");
        for client in &mut clients {
            assert_eq!(line(client).await, "{\"answer\":null}\n");
        }
    }

    #[tokio::test]
    async fn a_panicking_handler_ends_its_own_connection_only() {
        let mut connections = Connections::new(|request| async move {
            assert_ne!(request, Request::Gaps, "on purpose");
            Response::ok(serde_json::Value::Null)
        });
        for (request, answer) in [(GAPS, ""), (STATUS, "{\"answer\":null}\n")] {
            let (mut client, server) = UnixStream::pair().unwrap();
            client.write_all(request).await.unwrap();
            connections.accept(server);
            assert_eq!(connections.run_until(line(&mut client)).await, answer);
        }
        while let Some(ended) = connections.tasks.join_next().await {
            ended.unwrap();
        }
    }

    // The name of an unknown command was once quoted in full, with its control characters.
    #[tokio::test]
    async fn an_invalid_request_is_quoted_shortened_and_escaped() {
        let request = format!("{{\"command\": \"\\u001b[2J{}\"}}\n", "x".repeat(60_000));
        let refused = read(request.as_bytes()).await.unwrap_err();
        assert!(refused.len() < 2 * Bound::TextBytes.size() && !refused.contains('\u{1b}'));
        for bytes in [&b""[..], b"\n", b"\xff\n", b"[[[[[[[[", b"null\n"] {
            assert!(read(bytes).await.unwrap_err().contains("not understood"));
        }
    }
}
