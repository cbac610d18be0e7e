//! Requests: `WriteRequest` of `prometheus/prompb/remote.proto`, compressed.

use nephometer_guest::{FxHashMap, FxHashSet, MeterType};
use protobuf::Message;

use crate::series::NAME;
use crate::{Family, Series};

/// The headers that the protocol requires.
pub fn headers() -> &'static [(&'static str, &'static str)] {
    &[
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "0.1.0"),
        ("user-agent", concat!("nephometer/", env!("CARGO_PKG_VERSION"))),
    ]
}

/// The body of a request with these series, and the descriptions of their metrics.
pub fn body(series: &[Series], families: &FxHashMap<String, Family>) -> Vec<u8> {
    let message = message(series, families);
    let compressed = snap::raw::Encoder::new().compress_vec(&message);
    // It fails for 4 GiB and more only, and an envelope is far smaller.
    compressed.unwrap_or_default()
}

fn message(series: &[Series], families: &FxHashMap<String, Family>) -> Vec<u8> {
    let mut request = Message::new();
    let (mut names, mut described) = (Vec::new(), FxHashSet::default());
    for one in series {
        request.message(1, &time_series(one));
        let name = one.labels.iter().find(|(label, _)| label == NAME).map(|(_, value)| value);
        if let Some(family) = name.and_then(|name| families.get(name))
            && described.insert(&family.name)
        {
            names.push(family);
        }
    }
    for family in names {
        request.message(3, &description(family));
    }
    request.into_bytes()
}

fn time_series(series: &Series) -> Message {
    let mut message = Message::new();
    for (name, value) in &series.labels {
        let mut label = Message::new();
        label.text(1, name);
        label.text(2, value);
        message.message(1, &label);
    }
    for (time, value) in &series.samples {
        let mut sample = Message::new();
        sample.double(1, *value);
        sample.int64(2, *time);
        message.message(2, &sample);
    }
    message
}

/// `MetricMetadata`.
fn description(family: &Family) -> Message {
    // `MetricType`.
    const COUNTER: u8 = 1;
    const GAUGE: u8 = 2;
    let mut message = Message::new();
    message.choice(1, if family.type_ == MeterType::Cumulative { COUNTER } else { GAUGE });
    message.text(2, &family.name);
    message
        .text(4, &format!("meter {}, {}", family.meter, nephometer_guest::type_word(family.type_)));
    message.text(5, &family.unit);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Written};
    use posting::golden;
    use protobuf::{Field, fields};

    #[test]
    fn a_request_has_all_series_and_describes_each_metric_once() {
        let options = Options::read(&serde_json::json!({"host": "h"})).expect("good options");
        let (batch, _) = golden::samples();
        let written = Written::of(&batch, &options);
        let compressed = body(&written.series, &written.families);
        let plain = snap::raw::Decoder::new().decompress_vec(&compressed).expect("snappy");
        let count = |wanted: u64| fields(&plain).filter(|(field, _)| *field == wanted).count();
        assert_eq!((count(1), count(3)), (written.series.len(), written.families.len()));
        let Some((1, Field::Bytes(first))) = fields(&plain).next() else {
            unreachable!("a series")
        };
        let Some((1, Field::Bytes(label))) = fields(first).next() else { unreachable!("a label") };
        let texts: Vec<_> = fields(label).map(|(_, field)| field).collect();
        let name = &written.series[0].labels[0].1;
        assert_eq!(texts, [Field::Bytes(b"__name__"), Field::Bytes(name.as_bytes())]);
    }
}
