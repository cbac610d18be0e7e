//! Reads the body of an answer up to a bound, and not for longer than it keeps coming.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use super::error::RegistryError;
use nephometer_model::{Bound, Exceeded};

/// Reads a whole body.
///
/// # Errors
/// If it is beyond the bound, stalls or breaks.
pub(crate) async fn read(
    mut body: Incoming,
    most: Bound,
    what: &str,
) -> Result<Vec<u8>, RegistryError> {
    let too_large = |amount: u64| RegistryError::TooLarge {
        what: what.to_owned(),
        source: Exceeded { bound: most, amount },
    };
    // What is announced is not read at all.
    let announced = body.size_hint().lower();
    if announced > most.most() {
        return Err(too_large(announced));
    }
    let stall = Duration::from_millis(Bound::RegistryStall.most());
    let mut read = Vec::new();
    loop {
        let frame = timeout(stall, body.frame()).await;
        let Ok(frame) = frame else {
            let what = format!("{what}, after {} bytes", read.len());
            return Err(RegistryError::Timeout { what, after: stall });
        };
        let Some(frame) = frame else { return Ok(read) };
        let broken = |source: hyper::Error| RegistryError::Http { host: what.to_owned(), source };
        // Trailers have no data.
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let length = (read.len() + data.len()) as u64;
        if length > most.most() {
            return Err(too_large(length));
        }
        read.extend_from_slice(&data);
    }
}
