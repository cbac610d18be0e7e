//! Entry points of the fuzz targets in `host/fuzz`; tests compile them, too.

use super::connections::{read_request, write_response};
use super::{Request, Response};

/// Any bytes from a client are a request that survives a round trip, or get an error of one line.
pub fn control(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let answer = match read_request(data).await.expect("reading from memory") {
            Ok(request) => {
                let text = serde_json::to_vec(&request).expect("plain values");
                let again: Request = serde_json::from_slice(&text).expect("what was just written");
                assert_eq!(request, again);
                Response::ok(true.into())
            }
            Err(reason) => Response::failed(reason),
        };
        let mut line = Vec::new();
        write_response(&mut line, &answer).await.expect("writing to memory");
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(line.len() < 16 << 10, "{} bytes", line.len());
        let read: Response = serde_json::from_slice(&line).expect("an answer");
        assert_eq!(read, answer);
    });
}
