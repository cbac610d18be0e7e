//! What a handler returns to a client: one response, or a response and a stream of lines.

use std::pin::Pin;

use futures_util::Stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The response: an answer or an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The result of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
    /// Why the request failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Response {
    /// A successful response.
    pub fn ok(answer: Value) -> Self {
        Self { answer: Some(answer), error: None }
    }

    /// A failed response.
    pub fn failed(reason: String) -> Self {
        Self { answer: None, error: Some(reason) }
    }
}

/// Lines that follow a response: JSON objects without their line feeds.
pub type Lines = Pin<Box<dyn Stream<Item = String> + Send>>;

/// What a handler returns.
pub enum ControlReply {
    /// One response. The connection is closed after it.
    One(Response),
    /// A response, then lines until they end or the client closes the connection. Lines are taken as fast
    /// as the client reads them.
    Stream(Response, Lines),
}

impl From<Response> for ControlReply {
    fn from(response: Response) -> Self {
        Self::One(response)
    }
}
