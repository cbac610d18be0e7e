//! Replies: status, fields and body.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use tokio::sync::mpsc;

use super::exchange::Exchange;

/// The reply to a request.
#[derive(Debug)]
pub struct Reply {
    pub(super) status: StatusCode,
    fields: Vec<(HeaderName, HeaderValue)>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Whole(Bytes),
    Parts(mpsc::Receiver<Bytes>),
}

impl Reply {
    /// A whole reply.
    pub fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self::with(content_type, Content::Whole(body.into()))
    }

    /// A reply in parts, such as server-sent events. It ends when the sender is dropped. The channel
    /// bounds what waits for a slow client.
    pub fn stream(content_type: &'static str, parts: mpsc::Receiver<Bytes>) -> Self {
        Self::with(content_type, Content::Parts(parts))
    }

    /// JSON.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::new("application/json", value.to_string() + "\n")
    }

    /// An error, as text.
    pub fn error(status: StatusCode, reason: &str) -> Self {
        Self::new("text/plain; charset=utf-8", format!("{reason}\n")).status(status)
    }

    /// The same reply with another status.
    pub fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same reply with one more field. A value that HTTP does not allow is left out.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.fields.push((HeaderName::from_static(name), value));
        }
        self
    }

    fn with(content_type: &'static str, content: Content) -> Self {
        let fields = vec![
            (CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        Self { status: StatusCode::OK, fields, content }
    }

    /// The response, whose body holds the exchange open until it has been sent.
    pub(super) fn response(self, exchange: Exchange) -> hyper::Response<ReplyBody> {
        if matches!(self.content, Content::Parts(_)) {
            exchange.never_ends();
        }
        let mut response =
            hyper::Response::new(ReplyBody { content: self.content, _exchange: exchange });
        *response.status_mut() = self.status;
        for (name, value) in self.fields {
            response.headers_mut().append(name, value);
        }
        response
    }
}

/// The body of a response.
pub(super) struct ReplyBody {
    content: Content,
    /// Dropped when the body has been sent.
    _exchange: Exchange,
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.content {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Parts(parts) => {
                parts.poll_recv(context).map(|part| part.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Parts(_) => SizeHint::default(),
        }
    }
}
