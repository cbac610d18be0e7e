//! Sends one request over `wasi:http` and reads the response, within one deadline.
//!
//! Resources must be dropped child before parent, as `wasi:io` requires: a pollable before its
//! stream, a stream before its body.

use std::time::Duration;

use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme,
};
use crate::bindings::wasi::io::poll::{Pollable, poll};
use crate::bindings::wasi::io::streams::StreamError;
use crate::{HttpError, Request, Response, retry_after};

/// Sends a request and waits for the response.
///
/// # Errors
/// [`HttpError::Refused`] if the host refuses the request, [`HttpError::Failed`] if there is no
/// response within [`Request::timeout`]. A response of any status is `Ok`, and so is one whose body
/// ends early.
pub fn send(request: &Request<'_>) -> Result<Response, HttpError> {
    let nanoseconds = u64::try_from(request.timeout.as_nanos()).unwrap_or(u64::MAX);
    let deadline = Deadline(monotonic_clock::subscribe_duration(nanoseconds));
    let outgoing = prepare(request)?;
    let body = outgoing.body().map_err(|()| refused("the request has no body"))?;
    let options = RequestOptions::new();
    // These are hints; the deadline applies in any case.
    let _ = options.set_connect_timeout(Some(nanoseconds));
    let _ = options.set_first_byte_timeout(Some(nanoseconds));
    let _ = options.set_between_bytes_timeout(Some(nanoseconds));
    // The body is read from here on, so it must not be written earlier.
    let future = outgoing_handler::handle(outgoing, Some(options)).map_err(classify)?;
    write(body, request.body, &deadline)?;
    let response = wait(&future, &deadline)?;
    Ok(read(&response, request.read_at_most, &deadline))
}

/// Measures elapsed time on the monotonic deadline.
#[derive(Debug)]
pub struct Stopwatch(u64);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self(monotonic_clock::now())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(monotonic_clock::now().saturating_sub(self.0))
    }
}

fn prepare(request: &Request<'_>) -> Result<OutgoingRequest, HttpError> {
    let headers = Fields::new();
    let length = request.body.len().to_string();
    let added = [("content-length", length.as_str())];
    for (name, value) in request.headers.iter().chain(&added) {
        headers
            .append(name, value.as_bytes())
            .map_err(|error| refused(format!("invalid header {name}: {error:?}")))?;
    }
    let outgoing = OutgoingRequest::new(headers);
    let scheme = if request.tls { Scheme::Https } else { Scheme::Http };
    let set = outgoing
        .set_method(&method(request.method))
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(request.authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(request.path_with_query)));
    set.map_err(|()| refused(format!("{:?} is not HOST[:PORT]", request.authority)))?;
    Ok(outgoing)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

/// Writes the body. A stream that closes early is not an error here: a server may respond before
/// it has read everything, and otherwise waiting for the response returns a more precise error.
fn write(body: OutgoingBody, mut bytes: &[u8], deadline: &Deadline) -> Result<(), HttpError> {
    let stream = body.write().map_err(|()| refused("the body cannot be written"))?;
    while !bytes.is_empty() {
        match stream.check_write() {
            Ok(0) => deadline.wait(&stream.subscribe())?,
            Ok(writable) => {
                let length = usize::try_from(writable).unwrap_or(usize::MAX).min(bytes.len());
                if stream.write(&bytes[..length]).is_err() {
                    return Ok(());
                }
                bytes = &bytes[length..];
            }
            Err(_) => return Ok(()),
        }
    }
    if stream.flush().is_err() {
        return Ok(());
    }
    while matches!(stream.check_write(), Ok(0)) {
        deadline.wait(&stream.subscribe())?;
    }
    drop(stream);
    // An error here is reported again with the response.
    let _ = OutgoingBody::finish(body, None);
    Ok(())
}

fn wait(
    future: &FutureIncomingResponse,
    deadline: &Deadline,
) -> Result<IncomingResponse, HttpError> {
    loop {
        match future.get() {
            Some(Ok(response)) => return response.map_err(classify),
            Some(Err(())) => return Err(HttpError::Failed("response already taken".to_owned())),
            None => deadline.wait(&future.subscribe())?,
        }
    }
}

fn read(response: &IncomingResponse, at_most: usize, deadline: &Deadline) -> Response {
    let entries = response.headers().entries().into_iter();
    // Values that are not text mean nothing to a publisher.
    let headers = entries.filter_map(|(name, value)| {
        Some((name.to_ascii_lowercase(), String::from_utf8(value).ok()?))
    });
    let mut response_read =
        Response { status: response.status(), headers: headers.collect(), ..Response::default() };
    let delay = response_read.header("retry-after");
    let delay = delay.and_then(|value| retry_after(value, response_read.header("date")));
    response_read.retry_after_ms = delay;
    response_read.body = read_body(response, at_most, deadline);
    response_read
}

/// The first `at_most` bytes of the body.
fn read_body(response: &IncomingResponse, at_most: usize, deadline: &Deadline) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Ok(body) = response.consume() else { return bytes };
    let Ok(stream) = body.stream() else { return bytes };
    while bytes.len() < at_most {
        match stream.read((at_most - bytes.len()) as u64) {
            Ok(chunk) if chunk.is_empty() => {
                if deadline.wait(&stream.subscribe()).is_err() {
                    break;
                }
            }
            Ok(chunk) => bytes.extend(chunk),
            Err(StreamError::Closed | StreamError::LastOperationFailed(_)) => break,
        }
    }
    drop(stream);
    bytes
}

/// When the whole exchange must be finished.
struct Deadline(Pollable);

impl Deadline {
    fn wait(&self, pollable: &Pollable) -> Result<(), HttpError> {
        let ready = poll(&[pollable, &self.0]);
        if ready.contains(&0) { Ok(()) } else { Err(HttpError::Failed("timed out".to_owned())) }
    }
}

fn refused(reason: impl Into<String>) -> HttpError {
    HttpError::Refused(reason.into())
}

/// Classifies an error: refused requests need an operator, failed ones may succeed later.
fn classify(code: ErrorCode) -> HttpError {
    match code {
        ErrorCode::DestinationIpProhibited | ErrorCode::HttpRequestDenied => {
            refused("the host does not grant this address to the component")
        }
        ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong
        | ErrorCode::HttpRequestHeaderSize(_)
        | ErrorCode::HttpRequestHeaderSectionSize(_)
        | ErrorCode::ConfigurationError => refused(message(&code)),
        other => HttpError::Failed(message(&other)),
    }
}

/// A readable message, made of the generated name: `ErrorCode::ConnectionRefused` becomes
/// `connection refused`.
fn message(code: &ErrorCode) -> String {
    match code {
        ErrorCode::InternalError(Some(reason)) => return reason.clone(),
        ErrorCode::DnsError(_) | ErrorCode::DnsTimeout => {
            return "host name not found".to_owned();
        }
        _ => {}
    }
    let name = format!("{code:?}");
    let name = name.rsplit("::").next().unwrap_or(&name);
    let mut message = String::new();
    for letter in name.chars().take(100) {
        if letter.is_uppercase() && !message.is_empty() {
            message.push(' ');
        }
        message.extend(letter.to_lowercase());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_classified_and_have_readable_messages() {
        assert!(matches!(classify(ErrorCode::HttpRequestDenied), HttpError::Refused(_)));
        assert_eq!(
            classify(ErrorCode::ConnectionRefused),
            HttpError::Failed("connection refused".to_owned())
        );
        let internal = ErrorCode::InternalError(Some("because".to_owned()));
        assert_eq!(classify(internal), HttpError::Failed("because".to_owned()));
    }
}
