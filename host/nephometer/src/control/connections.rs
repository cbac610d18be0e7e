//! The connections of the control socket: how many there may be, how long one may take, and who makes
//! room for whom. Knows requests and answers as bytes and types; who answers is the caller's.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::{Request, Response};
use nephometer_model::{Bound, clean};
use nephometer_telemetry::events::control as events;

/// How long a client may take to ask, and to take its answer.
const PATIENCE: Duration = Duration::from_millis(Bound::ControlTime.most());

/// All that are open. They end when this is dropped.
pub(super) struct Connections<A> {
    answer: Arc<A>,
    tasks: JoinSet<()>,
    open: Arc<Mutex<Open>>,
    next: u64,
}

#[derive(Debug, Default)]
struct Open {
    /// Those whose request has not come yet, the oldest first.
    waiting: BTreeMap<u64, AbortHandle>,
    /// Those that have asked.
    asked: usize,
}

impl<A, F> Connections<A>
where
    A: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    pub(super) fn new(answer: A) -> Self {
        Self { answer: Arc::new(answer), tasks: JoinSet::new(), open: Arc::default(), next: 0 }
    }

    /// Waits for something, and meanwhile clears away what has ended.
    pub(super) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(ended) = self.tasks.join_next() => match ended {
                    // The client sees that the connection is closed.
                    Err(error) if error.is_panic() => events::answer_panicked(&error),
                    _ => {}
                },
            }
        }
    }

    /// Begins one. Where there are too many, the oldest that has not asked makes room; if all have
    /// asked, the new one is refused.
    pub(super) fn begin(&mut self, stream: UnixStream) {
        if !is_ours(&stream) {
            return;
        }
        // Held until the task is in the list: it takes itself off.
        let mut open = held(&self.open);
        if let Err(over) = Bound::ControlConnections.check(open.waiting.len() + open.asked + 1) {
            match open.waiting.pop_first() {
                Some((_, oldest)) => oldest.abort(),
                None => {
                    events::connection_refused(open.asked);
                    return refuse(stream, over.to_string());
                }
            }
        }
        let number = self.next;
        self.next += 1;
        let answer = Arc::clone(&self.answer);
        let place = Place { open: Arc::clone(&self.open), number, asked: false };
        let task = async move {
            if let Err(error) = converse(stream, &*answer, place).await {
                events::conversation_failed(&error);
            }
        };
        open.waiting.insert(number, self.tasks.spawn(task));
    }
}

/// Only this user and root may ask: the mode of the socket says so, but not while it is being made.
fn is_ours(stream: &UnixStream) -> bool {
    let me = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == me || peer.uid() == 0)
}

/// Best effort: a client that comes at such a time may as well see no more than the end.
fn refuse(stream: UnixStream, reason: String) {
    let Ok(mut stream) = stream.into_std() else { return };
    let mut text = serde_json::to_vec(&Response::failed(reason)).unwrap_or_default();
    text.push(b'\n');
    drop(stream.write_all(&text));
}

fn held(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One among the open connections.
struct Place {
    open: Arc<Mutex<Open>>,
    number: u64,
    asked: bool,
}

impl Place {
    /// The request has come: from now on it is not closed to make room. `None` if it was already.
    fn asked(mut self) -> Option<Self> {
        let mut open = held(&self.open);
        open.waiting.remove(&self.number)?;
        open.asked += 1;
        drop(open);
        self.asked = true;
        Some(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = held(&self.open);
        if self.asked {
            open.asked -= 1;
        } else {
            open.waiting.remove(&self.number);
        }
    }
}

/// One request, one answer.
async fn converse<F: Future<Output = Response>>(
    mut stream: UnixStream,
    answer: &(impl Fn(Request) -> F + Sync),
    place: Place,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let request = within(request(reader)).await?;
    let Some(_place) = place.asked() else { return Ok(()) };
    let response = match request {
        Ok(request) => answer(request).await,
        Err(reason) => Response::failed(reason),
    };
    within(reply(&mut writer, &response)).await
}

async fn within<T>(work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    timeout(PATIENCE, work).await.map_err(|_| Error::from(ErrorKind::TimedOut))?
}

/// Reads a request, or says why there is none.
pub(super) async fn request(
    reader: impl AsyncRead + Unpin,
) -> std::io::Result<Result<Request, String>> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(Bound::ControlBytes.most() + 1));
    reader.read_until(b'\n', &mut line).await?;
    if let Err(over) = Bound::ControlBytes.check(line.len()) {
        return Ok(Err(over.to_string()));
    }
    Ok(serde_json::from_slice(&line).map_err(|error| {
        // It repeats what it does not know.
        format!("request not understood: {}", clean(&error.to_string()))
    }))
}

pub(super) async fn reply(
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

    async fn asked(bytes: &[u8]) -> Result<Request, String> {
        request(bytes).await.unwrap()
    }

    #[tokio::test]
    async fn a_request_has_at_most_so_many_bytes() {
        let request = "{\"command\": \"status\"";
        let padded = |length: usize| {
            let gap = length - request.len() - "}\n".len();
            format!("{request}{}}}\n", " ".repeat(gap)).into_bytes()
        };
        let most = Bound::ControlBytes.size();
        assert_eq!(asked(&padded(most)).await.unwrap(), Request::Status);
        let refused = asked(&padded(most + 1)).await.unwrap_err();
        assert!(refused.contains("control_request_bytes"), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_takes_at_most_so_long() {
        let gap = Duration::from_millis(1);
        for (after, fine) in [(PATIENCE - gap, true), (PATIENCE + gap, false)] {
            let (mut client, server) = tokio::io::duplex(1_000);
            let asking = async {
                tokio::time::sleep(after).await;
                client.write_all(b"{\"command\": \"status\"}\n").await
            };
            let (request, asked) = tokio::join!(within(request(server)), asking);
            asked.unwrap_or_else(|error| assert!(!fine, "{error}"));
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

    // 200 connections that did not ask once kept `status` unanswered for a minute.
    #[tokio::test]
    async fn those_who_do_not_ask_make_room_and_those_who_have_asked_do_not() {
        let most = Bound::ControlConnections.size();
        let (hold, held) = tokio::sync::watch::channel(true);
        let mut conversations = Connections::new(move |request| {
            let mut held = held.clone();
            async move {
                if request == Request::Gaps {
                    held.wait_for(|held| !held).await.unwrap();
                }
                Response::well(serde_json::Value::Null)
            }
        });
        let mut clients = Vec::new();
        let mut connect = |conversations: &mut Connections<_>| {
            let (client, server) = UnixStream::pair().unwrap();
            conversations.begin(server);
            clients.push(client);
        };
        for _ in 0..most {
            connect(&mut conversations);
        }
        let open = Arc::clone(&conversations.open);
        assert_eq!(super::held(&open).waiting.len(), most, "the limit is accepted");
        connect(&mut conversations);
        assert_eq!(super::held(&open).waiting.len(), most);
        let mut newest = clients.pop().unwrap();
        assert_eq!(line(&mut clients[0]).await, "", "the oldest made room");
        newest.write_all(STATUS).await.unwrap();
        assert_eq!(line(&mut newest).await, "{\"answer\":null}\n");

        // Now all have asked, and wait for their answers.
        clients.remove(0);
        for client in &mut clients {
            client.write_all(GAPS).await.unwrap();
        }
        let (mut last, server) = UnixStream::pair().unwrap();
        last.write_all(GAPS).await.unwrap();
        conversations.begin(server);
        while super::held(&open).asked < most {
            tokio::task::yield_now().await;
        }
        let (mut refused, server) = UnixStream::pair().unwrap();
        conversations.begin(server);
        assert!(line(&mut refused).await.contains("control_connections"));
        hold.send_replace(false);
        assert_eq!(line(&mut last).await, "{\"answer\":null}\n");
        for client in &mut clients {
            assert_eq!(line(client).await, "{\"answer\":null}\n");
        }
    }

    #[tokio::test]
    async fn an_answer_that_panics_ends_its_own_connection_only() {
        let mut conversations = Connections::new(|request| async move {
            assert_ne!(request, Request::Gaps, "on purpose");
            Response::well(serde_json::Value::Null)
        });
        for (request, answer) in [(GAPS, ""), (STATUS, "{\"answer\":null}\n")] {
            let (mut client, server) = UnixStream::pair().unwrap();
            client.write_all(request).await.unwrap();
            conversations.begin(server);
            assert_eq!(conversations.beside(line(&mut client)).await, answer);
        }
        while let Some(ended) = conversations.tasks.join_next().await {
            ended.unwrap();
        }
    }

    // The name of an unknown command was once repeated in full, with all that moves a cursor.
    #[tokio::test]
    async fn what_is_not_understood_is_repeated_in_part_and_clean() {
        let request = format!("{{\"command\": \"\\u001b[2J{}\"}}\n", "x".repeat(60_000));
        let refused = asked(request.as_bytes()).await.unwrap_err();
        assert!(refused.len() < 2 * Bound::TextBytes.size() && !refused.contains('\u{1b}'));
        for bytes in [&b""[..], b"\n", b"\xff\n", b"[[[[[[[[", b"null\n"] {
            assert!(asked(bytes).await.unwrap_err().contains("not understood"));
        }
    }
}
