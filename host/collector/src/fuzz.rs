//! Entry points for the fuzz targets `message` and `query` in `host/fuzz`; nothing else uses them.

use std::sync::{Arc, OnceLock};

use nephometer_config::AccessSpec;
use nephometer_model::Bound;
use percent_encoding::percent_decode;
use serde_json::Value;

use super::api::{Access, AccessRules, Api, Request};
use super::ingest::Health;
use super::message::{Arrival, ReadMessage};
use super::signature::Verifier;
use super::store::{SqliteStore, flat_pairs};

/// Reads any bytes as a message: each sample of it is within the bounds of what is stored.
///
/// # Panics
/// If that is not so.
pub fn message(data: &[u8]) {
    let verifier = Verifier::new(&[], true);
    let arrival = Arrival { origin: "fuzz".into(), body: data.to_vec(), place: None };
    let message = match ReadMessage::read(&arrival, &verifier) {
        Ok(message) => message,
        Err(reason) => return assert!(!reason.is_empty()),
    };
    let count = message.samples.len() + message.refused.len();
    assert!(Bound::CollectorSamples.check(count).is_ok() && count <= data.len());
    for sample in &message.samples {
        let owner = &sample.owner;
        let texts = [&sample.meter.name, &sample.meter.unit, &owner.resource_id, &owner.source];
        let optional = [owner.project_id.as_ref(), owner.user_id.as_ref()];
        for text in texts.into_iter().chain(optional.into_iter().flatten()) {
            assert!(Bound::CollectorText.check(text.len()).is_ok(), "{}", text.len());
        }
        let metadata = &sample.metadata.text;
        assert!(Bound::CollectorMetadata.check(metadata.len()).is_ok(), "{}", metadata.len());
        let value: Value = serde_json::from_str(metadata).expect("metadata is kept as JSON");
        assert!(flat_pairs(&value).len() <= metadata.len());
    }
}

/// An API over a folder without databases, for a client that may do everything.
fn api() -> &'static Api {
    static API: OnceLock<Api> = OnceLock::new();
    API.get_or_init(|| {
        let access = AccessRules::new(Access::open(&AccessSpec::Loopback).expect("no files"));
        let folder = std::path::PathBuf::from("/");
        let open = Box::new(move || SqliteStore::read_only(&folder, 1_000));
        Api::new(access, 100, Arc::new(Health::default()), open)
    })
}

/// Asks what any bytes ask for: `METHOD TARGET`, and the body behind a line break. The answer is one
/// of the API, in JSON below /v1 and /v2.
///
/// # Panics
/// If that is not so.
pub fn query(data: &[u8]) {
    let (head, body) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[][..]),
    };
    let head = String::from_utf8_lossy(head);
    let (method, target) = head.split_once(' ').unwrap_or(("GET", &head));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = Request {
        method: method.to_owned(),
        path: percent_decode(path.as_bytes()).decode_utf8_lossy().into_owned(),
        parameters: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        host: Some("127.0.0.1".to_owned()),
        content_type: Some("application/json".to_owned()),
        body: body.to_vec(),
        ..Request::default()
    };
    let answer = api().answer(&request);
    let known = [200, 400, 404, 405, 410, 501, 503];
    assert!(known.contains(&answer.status), "{}", answer.status);
    if answer.kind == "application/json" {
        let value: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert!(answer.status == 200 || value["error_message"] != Value::Null, "{value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs that are honest, and ones that are cut, repeated and changed. `make fuzz` finds more.
    fn changed(seeds: &[&[u8]], count: usize, mut each: impl FnMut(&[u8])) {
        let mut state = 25_u64;
        let mut below = |end: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % end
        };
        for seed in seeds {
            each(seed);
        }
        for _ in 0..count {
            let mut input = seeds[below(seeds.len())].to_vec();
            for _ in 0..=below(4) {
                let at = below(input.len());
                match below(5) {
                    0 => input[at] = u8::try_from(below(256)).unwrap(),
                    1 => input.truncate(at + 1),
                    2 => input.insert(at, b"\"{}[]:,&=%?/\\0e\n"[below(16)]),
                    3 => drop(input.drain(at..(at + below(20)).min(input.len()))),
                    _ => input.extend_from_within(at..),
                }
                if input.is_empty() {
                    break;
                }
            }
            each(&input);
        }
    }

    #[test]
    fn any_bytes_are_messages_or_refused() {
        let golden = include_str!("../../../tests/vectors/messages.ndjson");
        let python = include_str!("../../../tests/vectors/samples.repr.txt");
        let sample = golden.lines().next().unwrap();
        let notification = format!(r#"{{"event_type": "metering", "payload": [{sample}]}}"#);
        let inner = Value::String(notification.clone());
        let envelope = format!(r#"{{"oslo.version": "2.0", "oslo.message": {inner}}}"#);
        let polling = format!(r#"{{"payload": {{"samples": [{sample}, 5]}}}}"#);
        let python = python.lines().next().unwrap();
        let texts = [sample, &notification, &envelope, &polling, python].map(str::as_bytes);
        let packed = b"\x83\xa4name\xa3cpu\xa6volume\xcb?\xf0\0\0\0\0\0\0\xabresource_id\xa1r";
        changed(&[&texts[..], &[packed]].concat(), 20_000, message);
    }

    #[test]
    fn any_bytes_are_questions_or_refused() {
        let seeds = [
            "GET /v2/meters?q.field=project_id&q.op=eq&q.type=&q.value=p1&limit=5&unique=True",
            "GET /v2/samples?q.field=metadata.flavor.ram&q.op=eq&q.type=integer&q.value=96",
            "GET /v2/samples?q.field=timestamp&q.op=ge&q.value=2026-11-28T00:00:00%2B01:00&\
             q.field=search_offset&q.op=eq&q.value=9223372036854775807",
            "GET /v2/meters/cpu/statistics?period=3600&groupby=resource_id&aggregate.func=cardinality\
             &aggregate.param=resource_id&q.field=timestamp&q.op=lt&q.value=2026-11-28",
            "GET /v2/resources/tap%2Fwith%20space?meter_links=0",
            "POST /v2/query/samples\n{\"filter\": \"{\\\"and\\\": [{\\\"=\\\": {\\\"meter\\\": \
             \\\"cpu\\\"}}, {\\\"=~\\\": {\\\"resource\\\": \\\"^r\\\"}}, {\\\"<\\\": {\\\"timestamp\\\": \
             \\\"2026-11-28T00:00:00\\\"}}]}\", \"orderby\": \"[{\\\"volume\\\": \\\"ASC\\\"}]\", \
             \"limit\": \"7\"}",
            "POST /v2/meters/foo\n[{\"counter_name\": \"foo\", \"counter_type\": \"gauge\"}]",
            "GET /v1/agents?text=a&state=late&limit=5",
            "GET /v1/gaps?q.field=meter&q.op=eq&q.value=cpu&q.field=resource_id&q.op=eq&q.value=r",
        ];
        changed(&seeds.map(str::as_bytes), 20_000, query);
    }
}
