//! The exchange itself. Resources are dropped child before parent, as `wasi:io` asks for: a
//! pollable before its stream, a stream before its body.

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

/// Makes a request and waits for the answer.
///
/// # Errors
/// If the host refuses it, or there is no answer before the time is over. An answer of any status
/// is none; nor is a body that ends early once there is a status.
pub fn send(request: &Request<'_>) -> Result<Response, HttpError> {
    let nanoseconds = u64::try_from(request.timeout.as_nanos()).unwrap_or(u64::MAX);
    let clock = Deadline(monotonic_clock::subscribe_duration(nanoseconds));
    let outgoing = prepare(request)?;
    let body = outgoing.body().map_err(|()| refused("the request has no body"))?;
    let options = RequestOptions::new();
    // These are hints; the deadline holds anyway.
    let _ = options.set_connect_timeout(Some(nanoseconds));
    let _ = options.set_first_byte_timeout(Some(nanoseconds));
    let _ = options.set_between_bytes_timeout(Some(nanoseconds));
    // Only now does anyone read what is written into the body.
    let future = outgoing_handler::handle(outgoing, Some(options)).map_err(sort)?;
    write(body, request.body, &clock)?;
    let response = wait(&future, &clock)?;
    Ok(read(&response, request.read_at_most, &clock))
}

/// Time that passes, by the clock that never goes back.
#[derive(Debug)]
pub struct Stopwatch(u64);

impl Stopwatch {
    /// Begins now.
    pub fn start() -> Self {
        Self(monotonic_clock::now())
    }

    /// What has passed since.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(monotonic_clock::now().saturating_sub(self.0))
    }
}

fn prepare(request: &Request<'_>) -> Result<OutgoingRequest, HttpError> {
    let headers = Fields::new();
    let length = request.body.len().to_string();
    let own = [("content-length", length.as_str())];
    for (name, value) in request.headers.iter().chain(&own) {
        headers
            .append(name, value.as_bytes())
            .map_err(|error| refused(format!("the header {name} is refused: {error:?}")))?;
    }
    let outgoing = OutgoingRequest::new(headers);
    let scheme = if request.tls { Scheme::Https } else { Scheme::Http };
    let set = outgoing
        .set_method(&method(request.method))
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(request.authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(request.path_with_query)));
    set.map_err(|()| refused(format!("{:?} is no address to ask", request.authority)))?;
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

/// Writes the body. A stream that closes early is no failure yet: a server may answer before it
/// has read everything, and if it did not, the answer is an error that says more.
fn write(body: OutgoingBody, mut bytes: &[u8], clock: &Deadline) -> Result<(), HttpError> {
    let stream = body.write().map_err(|()| refused("the body cannot be written"))?;
    while !bytes.is_empty() {
        match stream.check_write() {
            Ok(0) => clock.wait(&stream.subscribe())?,
            Ok(room) => {
                let room = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
                if stream.write(&bytes[..room]).is_err() {
                    return Ok(());
                }
                bytes = &bytes[room..];
            }
            Err(_) => return Ok(()),
        }
    }
    if stream.flush().is_err() {
        return Ok(());
    }
    while matches!(stream.check_write(), Ok(0)) {
        clock.wait(&stream.subscribe())?;
    }
    drop(stream);
    // An error here comes again with the response.
    let _ = OutgoingBody::finish(body, None);
    Ok(())
}

fn wait(future: &FutureIncomingResponse, clock: &Deadline) -> Result<IncomingResponse, HttpError> {
    loop {
        match future.get() {
            Some(Ok(answer)) => return answer.map_err(sort),
            Some(Err(())) => return Err(HttpError::Failed("the answer is gone".to_owned())),
            None => clock.wait(&future.subscribe())?,
        }
    }
}

fn read(response: &IncomingResponse, at_most: usize, clock: &Deadline) -> Response {
    let headers = response.headers();
    let first = |name: &str| {
        let value = headers.get(name).into_iter().next()?;
        String::from_utf8(value).ok()
    };
    let retry_after_ms =
        first("retry-after").and_then(|value| retry_after(&value, first("date").as_deref()));
    drop(headers);
    Response {
        status: response.status(),
        retry_after_ms,
        body: beginning(response, at_most, clock),
    }
}

fn beginning(response: &IncomingResponse, at_most: usize, clock: &Deadline) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Ok(body) = response.consume() else { return bytes };
    let Ok(stream) = body.stream() else { return bytes };
    while bytes.len() < at_most {
        match stream.read((at_most - bytes.len()) as u64) {
            Ok(some) if some.is_empty() => {
                if clock.wait(&stream.subscribe()).is_err() {
                    break;
                }
            }
            Ok(some) => bytes.extend(some),
            Err(StreamError::Closed | StreamError::LastOperationFailed(_)) => break,
        }
    }
    drop(stream);
    bytes
}

/// The time that the whole exchange has.
struct Deadline(Pollable);

impl Deadline {
    fn wait(&self, for_what: &Pollable) -> Result<(), HttpError> {
        let ready = poll(&[for_what, &self.0]);
        if ready.contains(&0) { Ok(()) } else { Err(HttpError::Failed("timed out".to_owned())) }
    }
}

fn refused(reason: impl Into<String>) -> HttpError {
    HttpError::Refused(reason.into())
}

/// Whether someone has to act, or time may help.
fn sort(code: ErrorCode) -> HttpError {
    match code {
        ErrorCode::DestinationIpProhibited | ErrorCode::HttpRequestDenied => {
            refused("the host does not grant this address to the component")
        }
        ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong
        | ErrorCode::HttpRequestHeaderSize(_)
        | ErrorCode::HttpRequestHeaderSectionSize(_)
        | ErrorCode::ConfigurationError => refused(words(&code)),
        other => HttpError::Failed(words(&other)),
    }
}

/// The generated name of an error is `ErrorCode::ConnectionRefused` and the like: of that, words.
fn words(code: &ErrorCode) -> String {
    match code {
        ErrorCode::InternalError(Some(reason)) => return reason.clone(),
        ErrorCode::DnsError(_) | ErrorCode::DnsTimeout => {
            return "the name is not known".to_owned();
        }
        _ => {}
    }
    let name = format!("{code:?}");
    let name = name.rsplit("::").next().unwrap_or(&name);
    let mut words = String::new();
    for letter in name.chars().take(100) {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_who_can_help_and_told_in_words() {
        assert!(matches!(sort(ErrorCode::HttpRequestDenied), HttpError::Refused(_)));
        assert_eq!(
            sort(ErrorCode::ConnectionRefused),
            HttpError::Failed("connection refused".to_owned())
        );
        let own = ErrorCode::InternalError(Some("because".to_owned()));
        assert_eq!(sort(own), HttpError::Failed("because".to_owned()));
    }
}
