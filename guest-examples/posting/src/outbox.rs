//! One envelope by several requests: what was sent is not sent again.

use std::time::Duration;

use nephometer_guest::{Failure, later, log};
use nephometer_guest_http::{Request, Response, Stopwatch, outcome, send};

use crate::Receiver;

/// What a call may take, a little less than the host's `limits.wall` unless configured otherwise:
/// a call that takes longer is ended, and what it did is forgotten.
const CALL: Duration = Duration::from_millis(9_500);

/// The most of an answer that is read: enough for its error.
const READ_AT_MOST: usize = 4_096;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// What comes behind the path of the receiver, escaped.
    pub below: String,
    /// The body.
    pub body: String,
}

impl Post {
    /// To the receiver's own path.
    pub fn new(body: String) -> Self {
        Self { below: String::new(), body }
    }
}

/// How far the envelope is that is being delivered. The host delivers one at a time, and the same
/// again until it is settled, so that there is one to remember.
#[derive(Debug, Default)]
pub struct Outbox {
    id: String,
    done: usize,
    refused: usize,
    why: Option<String>,
}

impl Outbox {
    /// Sends what of an envelope was not sent yet, in order. `content_type` is that of all bodies;
    /// `accept` says what a 2xx means, such as that it is none in truth.
    ///
    /// # Errors
    /// If there is more to do: then the next call for the same `id` goes on from here. If the
    /// receiver refused some of the requests for good: the others were sent all the same.
    pub fn deliver(
        &mut self,
        receiver: &Receiver,
        id: &str,
        (content_type, posts): (&str, &[Post]),
        accept: impl Fn(&Response) -> Result<(), String>,
    ) -> Result<(), Failure> {
        let started = Stopwatch::start();
        self.go_on(
            id,
            posts,
            |post| {
                let path = receiver.path_with_query(&post.below);
                let mut headers = vec![("content-type", content_type)];
                headers.extend(receiver.authorization().map(|value| ("authorization", value)));
                let answer = send(&Request {
                    method: "POST",
                    tls: receiver.tls,
                    authority: &receiver.authority,
                    path_with_query: &path,
                    headers: &headers,
                    body: post.body.as_bytes(),
                    timeout: receiver.timeout,
                    read_at_most: READ_AT_MOST,
                });
                let answer = outcome(&receiver.authority, answer)?;
                accept(&answer).map_err(Failure::Permanent)
            },
            || started.elapsed() + receiver.timeout <= CALL,
        )
    }

    fn go_on(
        &mut self,
        id: &str,
        posts: &[Post],
        mut send: impl FnMut(&Post) -> Result<(), Failure>,
        has_time: impl Fn() -> bool,
    ) -> Result<(), Failure> {
        if self.id != id {
            *self = Self { id: id.to_owned(), ..Self::default() };
        }
        let began_at = self.done;
        for post in posts.iter().skip(began_at) {
            if self.done > began_at && !has_time() {
                let reason = format!(
                    "{} of {} requests are sent, there is more to do",
                    self.done,
                    posts.len()
                );
                return Err(later(reason, Some(0)));
            }
            match send(post) {
                Ok(()) => {}
                Err(Failure::Permanent(reason)) => {
                    self.refused += 1;
                    if posts.len() > 1 {
                        log::warn(&reason);
                    }
                    self.why.get_or_insert(reason);
                }
                Err(other) => return Err(other),
            }
            self.done += 1;
        }
        let ended = std::mem::take(self);
        match ended.why {
            None => Ok(()),
            Some(reason) if posts.len() == 1 => Err(Failure::Permanent(reason)),
            Some(reason) => Err(Failure::Permanent(format!(
                "{} of {} requests were refused, the first: {reason}",
                ended.refused,
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
        ["a", "b", "c"].map(|body| Post::new(body.to_owned())).to_vec()
    }

    #[test]
    fn what_was_sent_is_not_sent_again() {
        let (sent, fails) = (RefCell::new(String::new()), Cell::new(true));
        let send = |post: &Post| {
            if post.body == "b" && fails.replace(false) {
                return Err(later("away", None));
            }
            sent.borrow_mut().push_str(&post.body);
            Ok(())
        };
        let mut outbox = Outbox::default();
        assert_eq!(outbox.go_on("1", &posts(), send, || true), Err(later("away", None)));
        assert_eq!(outbox.go_on("1", &posts(), send, || true), Ok(()));
        assert_eq!(*sent.borrow(), "abc");
        assert_eq!(outbox.go_on("2", &posts(), send, || true), Ok(()));
        assert_eq!(*sent.borrow(), "abcabc");
    }

    #[test]
    fn a_call_without_time_left_goes_on_in_the_next_and_does_one_at_least() {
        let sent = Cell::new(0);
        let send = |_: &Post| {
            sent.set(sent.get() + 1);
            Ok(())
        };
        let mut outbox = Outbox::default();
        for wanted in 1..=2 {
            let more = outbox.go_on("1", &posts(), send, || false);
            assert!(matches!(more, Err(Failure::Retryable(_))));
            assert_eq!(sent.get(), wanted);
        }
        assert_eq!(outbox.go_on("1", &posts(), send, || false), Ok(()));
        assert_eq!(sent.get(), 3);
    }

    #[test]
    fn one_refusal_does_not_keep_the_others_back() {
        let sent = Cell::new(0);
        let send = |post: &Post| {
            sent.set(sent.get() + 1);
            if post.body == "a" { Err(Failure::Permanent("no".to_owned())) } else { Ok(()) }
        };
        let mut outbox = Outbox::default();
        let refused = outbox.go_on("1", &posts(), send, || true);
        let reason = "1 of 3 requests were refused, the first: no";
        assert_eq!(refused, Err(Failure::Permanent(reason.to_owned())));
        assert_eq!(sent.get(), 3);
        // It is over with that envelope, whatever comes next.
        assert_eq!(outbox.go_on("1", &posts()[1..], send, || true), Ok(()));
    }
}
