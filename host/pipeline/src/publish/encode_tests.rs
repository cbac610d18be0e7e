//! Envelopes of all forms, compared with the golden messages of Ceilometer.

use std::collections::HashSet;

use serde_json::Value;
use uuid::Uuid;

use super::super::Encoding;
use super::*;
use crate::transform::SampleList;
use nephometer_config::{BrokerSpec, Policy, Secret, SignatureForm};
use nephometer_model::Timestamp;
use nephometer_wire::Signer;
use nephometer_wire::sample_from_json;

fn samples() -> Vec<Sample> {
    include_str!("../../../../tests/vectors/samples.json.txt")
        .lines()
        .map(|line| sample_from_json(line, &Arc::from("openstack")).unwrap())
        .collect()
}

fn notifier(topics: &[&str], per_meter_topic: bool) -> Encoder {
    let spec = NotifierSpec {
        broker: BrokerSpec::default(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        per_meter_topic,
        policy: Policy::Default,
        max_queue_length: None,
        form: NotificationForm::Metering,
        provable: true,
    };
    let signer = Signer::new(&Secret::new("golden-secret"), SignatureForm::default());
    let messages = MessageForm { signer, release: Release::Current };
    let host_id = HostId(Uuid::from_u128(7));
    Encoder::notifier(&spec, &Arc::from("notifier://"), "compute-1", messages, host_id)
}

fn origin(sequence: u64) -> SampleOrigin<'static> {
    let wall = Timestamp::from_nanos(1_795_381_206_324_583_000);
    let cycle_start = Moment { wall, continuous: None, monotonic: None };
    SampleOrigin { sink: "sink", source: "source", cycle_start, sequence, removed: &[] }
}

/// The inner message of a notification: its text, and the parsed value.
fn inner(body: &[u8]) -> (String, Value) {
    let outer: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(outer["oslo.version"], "2.0");
    let text = outer["oslo.message"].as_str().unwrap().to_owned();
    let value = serde_json::from_str(&text).unwrap();
    (text, value)
}

#[test]
fn a_notification_equals_the_golden_one_except_for_its_ids() {
    let envelopes = notifier(&["metering"], false).encode(&samples(), origin(0));
    let [envelope] = envelopes.as_slice() else { panic!("{} envelopes", envelopes.len()) };
    assert_eq!((&*envelope.address, envelope.samples), ("metering.sample", 5));
    let golden = include_str!("../../../../tests/vectors/notification.json");
    let (_, theirs) = inner(golden.as_bytes());
    let (_, ours) = inner(&envelope.body);
    let text = String::from_utf8(envelope.body.to_vec()).unwrap();
    let mut expected = golden.to_owned();
    for key in ["message_id", "_unique_id"] {
        let (theirs, ours) = (theirs[key].as_str().unwrap(), ours[key].as_str().unwrap());
        assert_eq!(theirs.len(), ours.len());
        expected = expected.replace(theirs, ours);
    }
    assert_eq!(text, expected);
    assert_eq!(ours["message_id"], envelope.id.to_string());
}

#[test]
fn each_topic_gets_all_samples_and_then_those_of_each_meter() {
    let envelopes = notifier(&["a", "b"], true).encode(&samples(), origin(0));
    let seen: Vec<(String, String)> = envelopes
        .iter()
        .map(|envelope| {
            let event_type = inner(&envelope.body).1["event_type"].as_str().unwrap().to_owned();
            (envelope.address.to_string(), event_type)
        })
        .collect();
    let meters = [
        "metering",
        "metering.cpu",
        "metering.disk.device.capacity",
        "metering.disk.device.read.bytes",
        "metering.memory.resident",
        "metering.network.incoming.bytes.delta",
    ];
    let expected: Vec<(String, String)> = meters
        .iter()
        .flat_map(|meter| ["a.sample", "b.sample"].map(|key| (key.into(), (*meter).into())))
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn ids_are_deterministic_and_unique() {
    let encoder = notifier(&["a", "b"], true);
    let first = encoder.encode(&samples(), origin(0));
    assert_eq!(first, encoder.encode(&samples(), origin(0)));
    let more = encoder.encode(&samples(), origin(12));
    let ids: HashSet<Uuid> = first.iter().chain(&more).map(|envelope| envelope.id).collect();
    assert_eq!(ids.len(), first.len() + more.len());
}

#[test]
fn envelopes_hold_a_bounded_number_of_samples() {
    let many: Vec<Sample> = samples().into_iter().cycle().take(MAX_SAMPLES * 2 + 1).collect();
    let sizes = |envelopes: Vec<Envelope>| {
        envelopes.iter().map(|envelope| envelope.samples).collect::<Vec<_>>()
    };
    assert_eq!(sizes(notifier(&["a"], false).encode(&many, origin(0))), [50, 50, 1]);
    let spec = FileSpec { path: "/f".into(), rotation: None, json: true, provable: false };
    let host_id = HostId(Uuid::from_u128(7));
    let lines = Encoder::lines(&spec, &Arc::from("file:///f"), Release::Current, host_id);
    let envelopes = lines.encode(&many, origin(0));
    assert_eq!(envelopes[0].body.iter().filter(|byte| **byte == b'\n').count(), 50);
    assert_eq!(sizes(envelopes), [50, 50, 1]);
    assert!(lines.encode(&[], origin(0)).is_empty());
}

#[test]
fn a_message_that_is_too_large_gets_its_own_envelope() {
    let signer = Signer::new(&Secret::new("golden-secret"), SignatureForm::default());
    let messages = MessageForm { signer, release: Release::Current };
    let host_id = HostId(Uuid::from_u128(7));
    let label = Arc::from("udp://host");
    let datagrams = Encoder::datagrams(&label, messages.clone(), host_id);
    let mut many: Vec<Sample> = samples().into_iter().cycle().take(MAX_SAMPLES + 3).collect();
    let mut resource = (*many[2].resource).clone();
    resource.metadata.insert("large".to_owned(), "x".repeat(MAX_DATAGRAM_BYTES).into());
    many[2].resource = Arc::new(resource);
    let sizes = |envelopes: &[Envelope]| {
        envelopes.iter().map(|envelope| envelope.samples).collect::<Vec<_>>()
    };
    let envelopes = datagrams.encode(&many, origin(0));
    assert_eq!(sizes(&envelopes), [2, 1, 50]);
    assert_eq!(envelopes, datagrams.encode(&many, origin(0)));
    let ids: HashSet<Uuid> = envelopes.iter().map(|envelope| envelope.id).collect();
    assert_eq!(ids.len(), 3);
    assert!(datagrams.encode(&[], origin(0)).is_empty());
    // A stream has no such bound.
    let stream = Encoder::stream(&label, "compute-1", messages, host_id);
    assert_eq!(sizes(&stream.encode(&many, origin(0))), [50, 3]);
    let counts = Encoder::counts(&label, host_id).encode(&many, origin(0));
    assert_eq!(sizes(&counts), [50, 3]);
    assert!(counts.iter().all(|envelope| envelope.body.is_empty()));
}

/// Metadata that many samples share is encoded once per sample, so that envelopes are closed by
/// size.
#[test]
fn an_envelope_holds_fewer_large_samples_and_ids_stay_unique() {
    let mut resource = (*samples()[0].resource).clone();
    resource.metadata.insert("large".to_owned(), "x".repeat(100_000).into());
    let large = Sample { resource: Arc::new(resource), ..samples()[0].clone() };
    let many = vec![large; 101];
    let spec = FileSpec { path: "/f".into(), rotation: None, json: true, provable: false };
    let host_id = HostId(Uuid::from_u128(7));
    let signer = Signer::new(&Secret::new("golden-secret"), SignatureForm::default());
    let messages = MessageForm { signer, release: Release::Current };
    let label: Arc<str> = Arc::from("label");
    for encoder in [
        notifier(&["a"], false),
        Encoder::lines(&spec, &label, Release::Current, host_id),
        Encoder::stream(&label, "compute-1", messages, host_id),
    ] {
        let envelopes = encoder.encode(&many, origin(0));
        let sizes: Vec<u64> = envelopes.iter().map(|envelope| envelope.samples).collect();
        assert_eq!(sizes, [11, 11, 11, 11, 11, 11, 11, 11, 11, 2]);
        let ids: HashSet<Uuid> = envelopes.iter().map(|envelope| envelope.id).collect();
        assert_eq!(ids.len(), envelopes.len());
    }
}

// They follow the last samples of the removed resources, so that a publisher can end what it keeps
// for them. Publishers once never got them.
#[test]
fn removed_resources_go_with_the_last_envelope_of_a_batch() {
    use nephometer_store::Envelopes as _;

    let encoder = Encoder::batches(&Arc::from("influx://"), HostId(Uuid::from_u128(7)));
    let many: Vec<Sample> = samples().into_iter().cycle().take(MAX_SAMPLES + 1).collect();
    let removed: Vec<Arc<str>> = vec![Arc::from("gone"), Arc::from("gone-vda")];
    let lists = [SampleList::Own(many.clone()), SampleList::Own(many)];
    let origin = SampleOrigin { removed: &removed, ..origin(0) };
    let encoding = Encoding::new(&encoder, origin, 1, &lists, &[]);
    let encoded: Vec<Envelope> = encoding.iter().collect();
    let counts: Vec<usize> = encoded
        .iter()
        .map(|envelope| envelope.batch.as_ref().map_or(0, |batch| batch.removed.len()))
        .collect();
    assert_eq!(counts, [0, 0, 0, 2]);
    // What is read back after a restart is the same.
    let stored = nephometer_store::decode_batch(&encoded[3].body).unwrap();
    assert_eq!(stored.removed, removed);
}
