//! What the fuzz targets in `host/fuzz` call; only they see it.

use super::connections::{reply, request};
use super::{Request, Response};

/// Any bytes as what a client of the control socket sends: a request that comes back as it was, or a
/// refusal that fits one line.
pub fn control(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let answer = match request(data).await.expect("reading from memory") {
            Ok(request) => {
                let text = serde_json::to_vec(&request).expect("plain values");
                let again: Request = serde_json::from_slice(&text).expect("what was just written");
                assert_eq!(request, again);
                Response::well(true.into())
            }
            Err(reason) => Response::failed(reason),
        };
        let mut line = Vec::new();
        reply(&mut line, &answer).await.expect("writing to memory");
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(line.len() < 16 << 10, "{} bytes", line.len());
        let read: Response = serde_json::from_slice(&line).expect("an answer");
        assert_eq!(read, answer);
    });
}
