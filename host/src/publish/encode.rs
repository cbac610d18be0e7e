//! Samples into envelopes: what enters a publisher's spool. Ids and times come from what is sent,
//! so that the same samples make the same envelopes again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::config::{FileSpec, NotificationForm, NotifierSpec};
use crate::model::{Batch, HostGeneration, Moment, Release, Sample};
use crate::store::{Envelope, Manifest, encode_batch};

use super::message::{MessageForm, Messages, as_dict};
use super::notification::{Head, notification};
use super::python::Notation;
use super::sockets::{self, LARGEST};

/// Samples in one envelope at most: the batch size of current Ceilometer agents, some 75 kB. What
/// consumers are used to, and little enough to send once more.
pub const MAX_SAMPLES: usize = 50;

/// Makes the envelopes of one publisher.
#[derive(Debug)]
pub struct Encoder {
    generation: HostGeneration,
    /// The publisher's, without secrets: tells the ids of several publishers in a sink apart.
    label: Arc<str>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Notifications(Box<Notifications>),
    Lines(Notation, Release),
    Batches,
    Frames(Box<Frames>),
    Counts,
}

/// Messages in MessagePack, each with its length in front.
#[derive(Debug)]
struct Frames {
    messages: MessageForm,
    /// In every message, for receivers that get one.
    publisher_id: Option<String>,
    /// What a message may have, if there is a bound, bytes.
    largest: Option<usize>,
}

#[derive(Debug)]
struct Notifications {
    messages: MessageForm,
    publisher_id: String,
    /// One for each topic.
    routing_keys: Vec<Arc<str>>,
    per_meter: bool,
    form: NotificationForm,
}

/// Whose samples are encoded.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The sink's name.
    pub sink: &'a str,
    /// The source's name.
    pub source: &'a str,
    /// The start of the tick.
    pub tick: Moment,
    /// How many envelopes the same publisher was given of the same tick before.
    pub sequence: u64,
}

impl Encoder {
    /// Notifications for a message bus.
    pub fn notifier(
        spec: &NotifierSpec,
        label: &Arc<str>,
        host: &str,
        messages: MessageForm,
        generation: HostGeneration,
    ) -> Self {
        let form = Form::Notifications(Box::new(Notifications {
            messages,
            publisher_id: match spec.form {
                NotificationForm::Metering => format!("telemetry.publisher.{host}"),
                NotificationForm::Polling { .. } => "ceilometer.polling".to_owned(),
            },
            routing_keys: spec
                .topics
                .iter()
                .map(|topic| format!("{topic}.sample").into())
                .collect(),
            per_meter: spec.per_meter_topic,
            form: spec.form,
        }));
        Self { generation, label: Arc::clone(label), form }
    }

    /// Lines of a file, each with its end.
    pub fn lines(
        spec: &FileSpec,
        label: &Arc<str>,
        release: Release,
        generation: HostGeneration,
    ) -> Self {
        let notation = if spec.json { Notation::Json } else { Notation::Repr };
        let form = Form::Lines(notation, release);
        Self { generation, label: Arc::clone(label), form }
    }

    /// Samples as they are, for components.
    pub fn batches(label: &Arc<str>, generation: HostGeneration) -> Self {
        Self { generation, label: Arc::clone(label), form: Form::Batches }
    }

    /// Messages of which each becomes a datagram.
    pub fn datagrams(label: &Arc<str>, messages: MessageForm, generation: HostGeneration) -> Self {
        let frames = Frames { messages, publisher_id: None, largest: Some(LARGEST) };
        let form = Form::Frames(Box::new(frames));
        Self { generation, label: Arc::clone(label), form }
    }

    /// Messages for a stream: they name this host.
    pub fn stream(
        label: &Arc<str>,
        host: &str,
        messages: MessageForm,
        generation: HostGeneration,
    ) -> Self {
        let frames = Frames { messages, publisher_id: Some(host.to_owned()), largest: None };
        let form = Form::Frames(Box::new(frames));
        Self { generation, label: Arc::clone(label), form }
    }

    /// The number of samples and nothing of them.
    pub fn counts(label: &Arc<str>, generation: HostGeneration) -> Self {
        Self { generation, label: Arc::clone(label), form: Form::Counts }
    }

    /// The envelopes of these samples, in the order in which they are to be sent. None without
    /// samples.
    pub fn encode(&self, samples: &[Sample], origin: Origin<'_>) -> Vec<Envelope> {
        match &self.form {
            Form::Lines(notation, release) => {
                self.line_envelopes(samples, (*notation, *release), origin)
            }
            Form::Batches => self.batch_envelopes(samples, origin),
            Form::Notifications(form) => self.notifications(samples, form, origin),
            Form::Frames(form) => self.frames(samples, form, origin),
            Form::Counts => {
                let address: Arc<str> = Arc::from("");
                let chunks = (0..).zip(samples.chunks(MAX_SAMPLES));
                let envelopes = chunks.map(|(at, chunk)| {
                    envelope(self.id("envelope", origin, at), &address, &[], chunk)
                });
                envelopes.collect()
            }
        }
    }

    /// A message that is too large has an envelope of its own: it will be refused, and must not
    /// take others with it.
    fn frames(&self, samples: &[Sample], form: &Frames, origin: Origin<'_>) -> Vec<Envelope> {
        let address: Arc<str> = Arc::from("");
        let mut messages = Messages::packed(&form.messages, form.publisher_id.as_deref());
        let mut made = Vec::with_capacity(samples.len().div_ceil(MAX_SAMPLES));
        let mut close = |body: &mut Vec<u8>, samples: &[Sample]| {
            if !samples.is_empty() {
                let id = self.id("envelope", origin, made.len());
                made.push(envelope(id, &address, body, samples));
            }
            body.clear();
        };
        // The first of the samples that are in the body.
        let (mut body, mut first) = (Vec::with_capacity(MAX_SAMPLES * 1_024), 0);
        for (at, sample) in samples.iter().enumerate() {
            let start = body.len();
            let length = sockets::append(&mut body, |out| messages.write(out, sample));
            if form.largest.is_some_and(|largest| length > largest) {
                let mut alone = body.split_off(start);
                close(&mut body, &samples[first..at]);
                close(&mut alone, &samples[at..=at]);
                first = at + 1;
            } else if at + 1 - first == MAX_SAMPLES {
                close(&mut body, &samples[first..=at]);
                first = at + 1;
            }
        }
        close(&mut body, &samples[first..]);
        made
    }

    fn line_envelopes(
        &self,
        samples: &[Sample],
        (notation, release): (Notation, Release),
        origin: Origin<'_>,
    ) -> Vec<Envelope> {
        let address: Arc<str> = Arc::from("");
        let mut made = Vec::with_capacity(samples.len().div_ceil(MAX_SAMPLES));
        for chunk in samples.chunks(MAX_SAMPLES) {
            let mut body = Vec::with_capacity(chunk.len() * 1_024);
            for sample in chunk {
                as_dict(&mut body, notation, release, sample);
                body.push(b'\n');
            }
            let id = self.id("envelope", origin, made.len());
            made.push(envelope(id, &address, &body, chunk));
        }
        made
    }

    fn batch_envelopes(&self, samples: &[Sample], origin: Origin<'_>) -> Vec<Envelope> {
        let address: Arc<str> = Arc::from("");
        let envelopes = (0..).zip(samples.chunks(MAX_SAMPLES)).map(|(at, chunk)| {
            let (source, samples, gone) = (origin.source.into(), chunk.to_vec(), Vec::new());
            let body = encode_batch(&Batch { source, tick: origin.tick, samples, gone });
            envelope(self.id("envelope", origin, at), &address, &body, chunk)
        });
        envelopes.collect()
    }

    fn notifications(
        &self,
        samples: &[Sample],
        form: &Notifications,
        origin: Origin<'_>,
    ) -> Vec<Envelope> {
        let texts = Texts::new(samples, &form.messages);
        let (groups, most) = form.groups(samples);
        let mut made = Vec::new();
        for (event_type, rows) in &groups {
            for chunk in rows.chunks(most) {
                for key in &form.routing_keys {
                    let id = self.id("envelope", origin, made.len());
                    let head = Head {
                        message_id: id,
                        unique_id: self.id("unique", origin, made.len()),
                        publisher_id: &form.publisher_id,
                        event_type,
                        wrap: form.form != NotificationForm::Metering,
                        time: origin.tick.wall,
                    };
                    let body = notification(&head, chunk.iter().map(|row| texts.get(*row)));
                    made.push(envelope(id, key, &body, chunk.iter().map(|row| &samples[*row])));
                }
            }
        }
        made
    }

    fn id(&self, what: &str, origin: Origin<'_>, before: usize) -> uuid::Uuid {
        let sequence = origin.sequence + u64::try_from(before).expect("a length fits");
        self.generation.name(
            &[what, origin.sink, &self.label, origin.source],
            &[origin.tick.wall.as_nanos(), sequence],
        )
    }
}

fn envelope<'a>(
    id: uuid::Uuid,
    address: &Arc<str>,
    body: &[u8],
    samples: impl IntoIterator<Item = &'a Sample>,
) -> Envelope {
    let manifest = Manifest::of(samples);
    Envelope {
        id,
        address: Arc::clone(address),
        body: Arc::from(body),
        samples: manifest.rows().count() as u64,
        manifest: manifest.into(),
        ..Envelope::default()
    }
}

impl Notifications {
    /// Rows by event type, and how many of them go into one notification at most.
    fn groups(&self, samples: &[Sample]) -> (Vec<(String, Vec<usize>)>, usize) {
        if let NotificationForm::Polling { batch_size } = self.form {
            // Each pollster sends for itself: no message has two meters.
            let groups = by_meter(samples).into_iter();
            let groups = groups.map(|(_, rows)| ("telemetry.polling".to_owned(), rows)).collect();
            return (groups, batch_size);
        }
        let mut groups = vec![("metering".to_owned(), (0..samples.len()).collect())];
        if self.per_meter {
            groups.extend(by_meter(samples));
        }
        (groups, MAX_SAMPLES)
    }
}

/// Rows by event type, in the order of the meters' names.
fn by_meter(samples: &[Sample]) -> Vec<(String, Vec<usize>)> {
    let mut meters: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (row, sample) in samples.iter().enumerate() {
        meters.entry(&sample.meter.name).or_default().push(row);
    }
    meters.into_iter().map(|(name, rows)| (format!("metering.{name}"), rows)).collect()
}

/// The messages of some samples, rendered once however often they are sent.
struct Texts {
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
}

impl Texts {
    fn new(samples: &[Sample], form: &MessageForm) -> Self {
        let mut bytes = Vec::with_capacity(samples.len() * 1_536);
        let mut messages = Messages::new(form);
        let ranges = samples
            .iter()
            .map(|sample| {
                let start = bytes.len();
                messages.write(&mut bytes, sample);
                start..bytes.len()
            })
            .collect();
        Self { bytes, ranges }
    }

    fn get(&self, row: usize) -> &[u8] {
        &self.bytes[self.ranges[row].clone()]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;
    use uuid::Uuid;

    use super::super::read::sample_from_json;
    use super::super::signature::Signer;
    use super::*;
    use crate::config::{BrokerSpec, Policy, Secret, SignatureForm};
    use crate::model::Timestamp;

    fn samples() -> Vec<Sample> {
        include_str!("../../../tests/vectors/samples.json.txt")
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
        };
        let signer = Signer::new(&Secret::new("golden-secret"), SignatureForm::default());
        let messages = MessageForm { signer, release: Release::Current };
        let generation = HostGeneration(Uuid::from_u128(7));
        Encoder::notifier(&spec, &Arc::from("notifier://"), "compute-1", messages, generation)
    }

    fn origin(sequence: u64) -> Origin<'static> {
        let wall = Timestamp::from_nanos(1_795_381_206_324_583_000);
        let tick = Moment { wall, continuous: None, monotonic: None };
        Origin { sink: "sink", source: "source", tick, sequence }
    }

    /// The text within the text, and the object in it.
    fn inner(body: &[u8]) -> (String, Value) {
        let outer: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(outer["oslo.version"], "2.0");
        let text = outer["oslo.message"].as_str().unwrap().to_owned();
        let value = serde_json::from_str(&text).unwrap();
        (text, value)
    }

    #[test]
    fn the_golden_notification_differs_in_its_ids_alone() {
        let made = notifier(&["metering"], false).encode(&samples(), origin(0));
        let [envelope] = made.as_slice() else { panic!("{} envelopes", made.len()) };
        assert_eq!((&*envelope.address, envelope.samples), ("metering.sample", 5));
        let golden = include_str!("../../../tests/vectors/notification.json");
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
    fn each_topic_gets_all_and_each_meter_once_more() {
        let made = notifier(&["a", "b"], true).encode(&samples(), origin(0));
        let seen: Vec<(String, String)> = made
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
    fn ids_are_the_same_again_and_never_twice() {
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
        let sizes = |made: Vec<Envelope>| made.iter().map(|made| made.samples).collect::<Vec<_>>();
        assert_eq!(sizes(notifier(&["a"], false).encode(&many, origin(0))), [50, 50, 1]);
        let spec = FileSpec { path: "/f".into(), rotation: None, json: true };
        let generation = HostGeneration(Uuid::from_u128(7));
        let lines = Encoder::lines(&spec, &Arc::from("file:///f"), Release::Current, generation);
        let made = lines.encode(&many, origin(0));
        assert_eq!(made[0].body.iter().filter(|byte| **byte == b'\n').count(), 50);
        assert_eq!(sizes(made), [50, 50, 1]);
        assert!(lines.encode(&[], origin(0)).is_empty());
    }

    #[test]
    fn a_message_that_is_too_large_is_alone() {
        let signer = Signer::new(&Secret::new("golden-secret"), SignatureForm::default());
        let messages = MessageForm { signer, release: Release::Current };
        let generation = HostGeneration(Uuid::from_u128(7));
        let label = Arc::from("udp://host");
        let datagrams = Encoder::datagrams(&label, messages.clone(), generation);
        let mut many: Vec<Sample> = samples().into_iter().cycle().take(MAX_SAMPLES + 3).collect();
        let mut resource = (*many[2].resource).clone();
        resource.metadata.insert("large".to_owned(), "x".repeat(LARGEST).into());
        many[2].resource = Arc::new(resource);
        let sizes = |made: &[Envelope]| made.iter().map(|made| made.samples).collect::<Vec<_>>();
        let made = datagrams.encode(&many, origin(0));
        assert_eq!(sizes(&made), [2, 1, 50]);
        assert_eq!(made, datagrams.encode(&many, origin(0)));
        let ids: HashSet<Uuid> = made.iter().map(|envelope| envelope.id).collect();
        assert_eq!(ids.len(), 3);
        assert!(datagrams.encode(&[], origin(0)).is_empty());
        // A stream takes it, and names the host in every message.
        let stream = Encoder::stream(&label, "compute-1", messages, generation);
        assert_eq!(sizes(&stream.encode(&many, origin(0))), [50, 3]);
        let counts = Encoder::counts(&label, generation).encode(&many, origin(0));
        assert_eq!(sizes(&counts), [50, 3]);
        assert!(counts.iter().all(|envelope| envelope.body.is_empty()));
    }
}
