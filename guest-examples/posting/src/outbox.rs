//! Delivers one envelope with several requests. Requests that succeeded are not repeated.

use std::time::Duration;

use nephometer_guest::{Failure, later, log};
use nephometer_guest_http::{HttpError, Request, Response, Stopwatch, outcome, send};

use crate::Receiver;

/// The time budget of a call, slightly less than the default of the host's `limits.wall`. A call
/// that exceeds the limit ends the instance, and with it the progress kept here.
const CALL_BUDGET: Duration = Duration::from_millis(9_500);

/// Response bodies are cut after this many bytes: enough for an error message.
const READ_AT_MOST: usize = 4_096;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Appended to the path of the receiver, escaped.
    pub below: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Post {
    /// A request to the path of the receiver.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { below: String::new(), body: body.into() }
    }

    /// The body, if it is text; for tests.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default()
    }
}

/// The time of one call of a publisher.
#[derive(Debug)]
pub struct CallTime {
    started: Stopwatch,
    timeout: Duration,
}

impl CallTime {
    /// Starts now. `timeout` is that of one request.
    pub fn start(timeout: Duration) -> Self {
        Self { started: Stopwatch::start(), timeout }
    }

    /// Whether one more request will end within the limit of the call, however slow it is.
    pub fn is_enough(&self) -> bool {
        self.started.elapsed() + self.timeout <= CALL_BUDGET
    }
}

impl Receiver {
    /// Sends a request, and waits for the response.
    ///
    /// # Errors
    /// As for [`send`].
    pub fn send(&self, post: &Post, headers: &[(&str, &str)]) -> Result<Response, HttpError> {
        let mut headers = headers.to_vec();
        headers.extend(self.authorization().map(|value| ("authorization", value)));
        send(&Request {
            method: "POST",
            tls: self.tls,
            authority: &self.authority,
            path_with_query: &self.path_with_query(&post.below),
            headers: &headers,
            body: &post.body,
            timeout: self.timeout,
            read_at_most: READ_AT_MOST,
        })
    }
}

/// The progress of the current envelope. One is enough: the host delivers one envelope at a time,
/// and repeats it until it is acknowledged or rejected.
#[derive(Debug, Default)]
pub struct Outbox {
    id: String,
    done: usize,
    refused: usize,
    first_reason: Option<String>,
}

impl Outbox {
    /// Sends the requests of an envelope that were not sent yet, in order. `content_type` is that
    /// of all bodies. `accept` checks 2xx responses; its error is a permanent failure.
    ///
    /// # Errors
    /// Retryable if a request failed or time ran out: the next call with the same `id` resumes.
    /// Permanent if the receiver refused some requests for good; the others were sent.
    pub fn deliver(
        &mut self,
        receiver: &Receiver,
        id: &str,
        (content_type, posts): (&str, &[Post]),
        accept: impl Fn(&Response) -> Result<(), String>,
    ) -> Result<(), Failure> {
        let time = CallTime::start(receiver.timeout);
        self.resume(
            id,
            posts,
            |post| {
                let response = receiver.send(post, &[("content-type", content_type)]);
                let response = outcome(&receiver.authority, response)?;
                accept(&response).map_err(Failure::Permanent)
            },
            || time.is_enough(),
        )
    }

    fn resume(
        &mut self,
        id: &str,
        posts: &[Post],
        mut send: impl FnMut(&Post) -> Result<(), Failure>,
        has_time: impl Fn() -> bool,
    ) -> Result<(), Failure> {
        if self.id != id {
            *self = Self { id: id.to_owned(), ..Self::default() };
        }
        let already_done = self.done;
        for post in posts.iter().skip(already_done) {
            if self.done > already_done && !has_time() {
                let reason =
                    format!("sent {} of {} requests, more to come", self.done, posts.len());
                return Err(later(reason, Some(0)));
            }
            match send(post) {
                Ok(()) => {}
                Err(Failure::Permanent(reason)) => {
                    self.refused += 1;
                    if posts.len() > 1 {
                        log::warn(&reason);
                    }
                    self.first_reason.get_or_insert(reason);
                }
                Err(other) => return Err(other),
            }
            self.done += 1;
        }
        let finished = std::mem::take(self);
        match finished.first_reason {
            None => Ok(()),
            Some(reason) if posts.len() == 1 => Err(Failure::Permanent(reason)),
            Some(reason) => Err(Failure::Permanent(format!(
                "{} of {} requests were refused, first: {reason}",
                finished.refused,
                posts.len()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    fn posts() -> Vec<Post> {
        ["a", "b", "c"].map(Post::new).to_vec()
    }

    #[test]
    fn successful_requests_are_not_repeated() {
        let (sent, fails) = (RefCell::new(String::new()), Cell::new(true));
        let send = |post: &Post| {
            if post.text() == "b" && fails.replace(false) {
                return Err(later("away", None));
            }
            sent.borrow_mut().push_str(post.text());
            Ok(())
        };
        let mut outbox = Outbox::default();
        assert_eq!(outbox.resume("1", &posts(), send, || true), Err(later("away", None)));
        assert_eq!(outbox.resume("1", &posts(), send, || true), Ok(()));
        assert_eq!(*sent.borrow(), "abc");
        assert_eq!(outbox.resume("2", &posts(), send, || true), Ok(()));
        assert_eq!(*sent.borrow(), "abcabc");
    }

    #[test]
    fn each_call_sends_at_least_one_request_and_the_next_one_resumes() {
        let sent = Cell::new(0);
        let send = |_: &Post| {
            sent.set(sent.get() + 1);
            Ok(())
        };
        let mut outbox = Outbox::default();
        for wanted in 1..=2 {
            let unfinished = outbox.resume("1", &posts(), send, || false);
            assert!(matches!(unfinished, Err(Failure::Retryable(_))));
            assert_eq!(sent.get(), wanted);
        }
        assert_eq!(outbox.resume("1", &posts(), send, || false), Ok(()));
        assert_eq!(sent.get(), 3);
    }

    #[test]
    fn one_refused_request_does_not_stop_the_others() {
        let sent = Cell::new(0);
        let send = |post: &Post| {
            sent.set(sent.get() + 1);
            if post.text() == "a" { Err(Failure::Permanent("no".to_owned())) } else { Ok(()) }
        };
        let mut outbox = Outbox::default();
        let refused = outbox.resume("1", &posts(), send, || true);
        let reason = "1 of 3 requests were refused, first: no";
        assert_eq!(refused, Err(Failure::Permanent(reason.to_owned())));
        assert_eq!(sent.get(), 3);
        // The progress was reset, so the same id starts again.
        assert_eq!(outbox.resume("1", &posts()[1..], send, || true), Ok(()));
    }
}
