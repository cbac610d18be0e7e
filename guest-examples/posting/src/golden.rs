//! Golden data for the tests of the publishers that use this crate: samples, and the requests that
//! a real Ceilometer 27.0.0 sent for them. `tests/golden.json` was captured and must not be edited.

use nephometer_guest::{DeliveryBatch, Meter, Resource, type_from_word};
use serde_json::Value;

/// One captured request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// `/path?query`.
    pub path: String,
    /// The value of `content-type`.
    pub content_type: String,
    /// The value of `authorization`.
    pub authorization: Option<String>,
    /// The body.
    pub body: String,
}

fn golden() -> Value {
    serde_json::from_str(include_str!("../tests/golden.json")).expect("it is JSON")
}

/// The requests of the publisher whose URL begins with `url`, in order.
pub fn received(url: &str) -> Vec<Received> {
    let golden = golden();
    let all = golden["publishers"].as_object().expect("URLs");
    let (_, requests) = all.iter().find(|(key, _)| key.starts_with(url)).expect("such a URL");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let one = |request: &Value| {
        let line = request["line"].as_str()?;
        let path = line.strip_prefix("POST ")?.strip_suffix(" HTTP/1.1")?.to_owned();
        let headers = &request["headers"];
        Some(Received {
            path,
            content_type: text(&headers["Content-type"])?,
            authorization: text(&headers["Authorization"]),
            body: text(&request["body"])?,
        })
    };
    requests
        .as_array()
        .into_iter()
        .flatten()
        .map(|request| one(request).expect("all parts"))
        .collect()
}

/// The samples as the host delivers them: columns, and texts as Ceilometer wrote them.
pub fn samples() -> (DeliveryBatch, Vec<String>) {
    let golden = golden();
    let samples = golden["samples"].as_array().expect("samples");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let count = samples.len();
    let numbers: Vec<u32> = (0u32..).take(count).collect();
    let mut batch = DeliveryBatch {
        meters: Vec::new(),
        resources: Vec::new(),
        meter: numbers.clone(),
        resource: numbers,
        time: Vec::new(),
        monotonic: vec![0; count],
        volume: Vec::new(),
        exact: Vec::new(),
        removed: Vec::new(),
    };
    for sample in samples {
        let field = |key: &str| text(&sample[key]);
        batch.meters.push(Meter {
            name: field("name").expect("a name"),
            unit: field("unit").expect("a unit"),
            type_: field("type").as_deref().and_then(type_from_word).expect("a type"),
        });
        batch.resources.push(Resource {
            id: field("resource_id").expect("an id"),
            source: field("source").expect("a source"),
            project_id: field("project_id"),
            user_id: field("user_id"),
            metadata: sample["resource_metadata"].to_string(),
        });
        batch.volume.push(sample["volume"].as_f64().expect("a volume"));
        batch.time.push(time(&field("timestamp").expect("a time")));
    }
    // `batch=False` posted each sample separately.
    let texts = received("http://127.0.0.1:8000/metrics?batch=False");
    (batch, texts.into_iter().map(|one| one.body).collect())
}

/// Parses a timestamp. All of them are within one hour, 2026-11-22T20 UTC.
fn time(text: &str) -> u64 {
    const HOUR: u64 = 1_795_377_600;
    let rest = text.strip_prefix("2026-11-22T20:").expect("that hour");
    let (minutes, seconds) = rest.split_once(':').expect("minutes and seconds");
    let (seconds, micros) = seconds.split_once('.').expect("a fraction");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    ((HOUR + number(minutes) * 60 + number(seconds)) * 1_000_000 + number(micros)) * 1_000
}
