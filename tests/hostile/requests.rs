//! Malicious publishers that exhaust the resources behind HTTP requests: texts, header fields,
//! bodies, and their number.

use super::measure_memory;
use super::outbound::{agent, bounds, failed, goes_on};
use super::publisher::publisher;
use crate::harness::Running;

const HTTP: &str = r#"
    (import "wasi:http/types@0.2.12" "[constructor]fields" (func $fields (result i32)))
    (import "wasi:http/types@0.2.12" "[method]fields.append"
      (func $append (param i32 i32 i32 i32 i32 i32)))
    (import "wasi:http/types@0.2.12" "[constructor]outgoing-request"
      (func $request (param i32) (result i32)))
    (import "wasi:http/types@0.2.12" "[method]outgoing-request.set-method"
      (func $method (param i32 i32 i32 i32) (result i32)))
    (import "wasi:http/types@0.2.12" "[method]outgoing-request.set-authority"
      (func $authority (param i32 i32 i32 i32) (result i32)))
    (import "wasi:http/types@0.2.12" "[method]outgoing-request.set-path-with-query"
      (func $path (param i32 i32 i32 i32) (result i32)))
    (import "wasi:http/types@0.2.12" "[method]outgoing-request.body" (func $body (param i32 i32)))
    (import "wasi:http/types@0.2.12" "[method]outgoing-body.write" (func $stream (param i32 i32)))
    (import "wasi:io/streams@0.2.12" "[method]output-stream.check-write"
      (func $check (param i32 i32)))
    (import "wasi:io/streams@0.2.12" "[method]output-stream.write"
      (func $write (param i32 i32 i32 i32)))
"#;

/// `$large` creates a request with the largest allowed texts and fields, and writes as much body as
/// the host accepts. `$fill` writes a slash and a run of the letter a from address 65535.
const LARGE: &str = r#"
    (func $is (param i32 i32) (if (i32.ne (local.get 0) (local.get 1)) (then unreachable)))
    (func $fill
      (i32.store8 (i32.const 65535) (i32.const 47))
      (memory.fill (i32.const 65536) (i32.const 97) (i32.const 131072)))
    (func $append-so-many (param $bytes i32) (result i32) (local $fields i32)
      (local.set $fields (call $fields))
      (call $append (local.get $fields) (i32.const 65536) (i32.const 1)
        (i32.const 65536) (local.get $bytes) (i32.const 4096))
      (call $is (i32.load8_u (i32.const 4096)) (i32.const 0))
      (local.get $fields))
    (func $large (local $request i32) (local $stream i32)
      (local.set $request (call $request (call $append-so-many (i32.const 32000))))
      (call $is (i32.const 0) (call $method
        (local.get $request) (i32.const 9) (i32.const 65536) (i32.const 16384)))
      (call $is (i32.const 0) (call $authority
        (local.get $request) (i32.const 1) (i32.const 65536) (i32.const 16384)))
      (call $is (i32.const 0) (call $path
        (local.get $request) (i32.const 1) (i32.const 65535) (i32.const 16384)))
      (call $body (local.get $request) (i32.const 4096))
      (call $stream (i32.load (i32.const 4100)) (i32.const 4096))
      (local.set $stream (i32.load (i32.const 4100)))
      (block $full
        (loop $more
          (call $check (local.get $stream) (i32.const 4096))
          (br_if $full (i64.eqz (i64.load (i32.const 4104))))
          (call $is (i32.wrap_i64 (i64.load (i32.const 4104))) (i32.const 65536))
          (call $write (local.get $stream) (i32.const 65536) (i32.const 65536) (i32.const 4096))
          (br $more))))
"#;

#[test]
fn memory_of_http_requests_is_bounded() {
    // The first call sets each text one byte too long and then creates the maximum number of
    // requests. The second call creates one resource too many; the fields of the next instance are
    // too large.
    let body = r"
        (call $fill)
        (if (i32.eq (global.get $calls) (i32.const 2))
          (then (loop $for-ever (drop (call $fields)) (br $for-ever))))
        (local.set $one (call $request (call $fields)))
        (call $is (i32.const 1) (call $method
          (local.get $one) (i32.const 9) (i32.const 65536) (i32.const 16385)))
        (call $is (i32.const 1) (call $authority
          (local.get $one) (i32.const 1) (i32.const 65536) (i32.const 16385)))
        (call $is (i32.const 1) (call $path
          (local.get $one) (i32.const 1) (i32.const 65535) (i32.const 16385)))
        (loop $more
          (call $large)
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $more (i32.lt_u (local.get $i) (i32.const 84))))
    ";
    let file = publisher(HTTP, LARGE, body);
    let agent = agent("http", &file, &["hostile://127.0.0.1:9".to_owned()])
        .set("components.by_name.hostile.limits.memory", "8MiB");
    let mut running = agent.run();
    goes_on(&agent, &mut running);
    failed(&agent, "at most 256 (resources)");
    assert_eq!(bounds(&running), ["http_text_bytes"]);
    running.terminate();
    let (ended, resident) = measure_memory(running, Running::ended);
    let ended = ended.code(0);
    let ledger = ended.ledger();
    let count = ledger.publisher("/hostile://");
    assert!(count.left > 0 && count.dropped == 0, "{count:?}\n{}", ended.stderr);
    assert!(resident < 160 << 10, "{resident} KiB");
}

#[test]
fn oversized_header_fields_end_the_call_with_the_bound() {
    let body = "(call $fill) (drop (call $append-so-many (i32.const 32768)))";
    let file = publisher(HTTP, LARGE, body);
    let agent = agent("fields", &file, &["hostile://127.0.0.1:9".to_owned()]);
    let mut running = agent.run();
    goes_on(&agent, &mut running);
    failed(&agent, "at most 32768 bytes (http_fields_bytes)");
    running.stop().code(0);
}
