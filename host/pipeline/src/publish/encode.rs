//! Encodes samples into envelopes, which enter a publisher's spool.
//!
//! Ids and times derive from the samples and their origin only: the same samples always give the
//! same envelopes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::{iter, mem};

use nephometer_config::{FileSpec, NotificationForm, NotifierSpec};
use nephometer_model::{Batch, HostId, Moment, Release, Sample};
use nephometer_store::{Envelope, Manifest, encode_batch};

use bytes::Bytes;

use super::records::RecordForm;
use super::sockets::MAX_DATAGRAM_BYTES;
use nephometer_wire::Notation;
use nephometer_wire::frames;
use nephometer_wire::{Head, Notifications, with_ids};
use nephometer_wire::{MessageForm, Messages, as_dict};

/// Maximum number of samples in one envelope: the batch size of current Ceilometer agents, some 75
/// kB, which consumers are used to, and which is small enough to send again.
pub(crate) const MAX_SAMPLES: usize = 50;
/// Size in bytes at which an envelope is closed: it holds fewer samples with much metadata.
const FULL_BYTES: usize = 1 << 20;

/// Encodes the envelopes of one publisher.
#[derive(Debug)]
pub struct Encoder {
    host_id: HostId,
    /// The publisher's URL without secrets. It is part of the ids, which differ between publishers.
    label: Arc<str>,
    form: EncodingForm,
}

#[derive(Debug)]
enum EncodingForm {
    Notifications(Box<NotificationSettings>),
    Lines(Notation, Release),
    Batches,
    Frames(Box<FrameForm>),
    Counts,
}

/// Messages in MessagePack, each preceded by its length.
#[derive(Debug)]
struct FrameForm {
    messages: MessageForm,
    /// Included in every message, for receivers of a stream.
    publisher_id: Option<String>,
    /// Maximum size of a message in bytes, if there is one.
    max_bytes: Option<usize>,
}

#[derive(Debug)]
struct NotificationSettings {
    /// Keeps what it rendered of resources from batch to batch.
    writer: Mutex<Notifications>,
    publisher_id: String,
    /// One per topic.
    routing_keys: Vec<Arc<str>>,
    per_meter: bool,
    form: NotificationForm,
}

/// The origin of samples that are encoded: part of the ids of their envelopes.
#[derive(Debug, Clone, Copy)]
pub struct SampleOrigin<'a> {
    /// The sink's name.
    pub sink: &'a str,
    /// The source's name.
    pub source: &'a str,
    /// Start of the polling cycle.
    pub cycle_start: Moment,
    /// Number of envelopes that the publisher already got of the same source and cycle.
    pub sequence: u64,
    /// Ids of resources that were removed. They go with the last envelope of these samples, if a
    /// component gets it.
    pub removed: &'a [Arc<str>],
}

impl Encoder {
    /// Encodes notifications for a message bus.
    pub fn notifier(
        spec: &NotifierSpec,
        label: &Arc<str>,
        host: &str,
        messages: MessageForm,
        host_id: HostId,
    ) -> Self {
        let form = EncodingForm::Notifications(Box::new(NotificationSettings {
            writer: Mutex::new(Notifications::new(messages)),
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
        Self { host_id, label: Arc::clone(label), form }
    }

    /// Encodes lines of a file.
    pub fn lines(spec: &FileSpec, label: &Arc<str>, release: Release, host_id: HostId) -> Self {
        let notation = if spec.json { Notation::Json } else { Notation::Repr };
        let form = EncodingForm::Lines(notation, release);
        Self { host_id, label: Arc::clone(label), form }
    }

    /// Encodes samples without loss, for components.
    pub fn batches(label: &Arc<str>, host_id: HostId) -> Self {
        Self { host_id, label: Arc::clone(label), form: EncodingForm::Batches }
    }

    /// Encodes messages of which each becomes a datagram.
    pub(crate) fn datagrams(label: &Arc<str>, messages: MessageForm, host_id: HostId) -> Self {
        let frames =
            FrameForm { messages, publisher_id: None, max_bytes: Some(MAX_DATAGRAM_BYTES) };
        let form = EncodingForm::Frames(Box::new(frames));
        Self { host_id, label: Arc::clone(label), form }
    }

    /// Encodes messages for a stream, each with the name of this host.
    pub fn stream(label: &Arc<str>, host: &str, messages: MessageForm, host_id: HostId) -> Self {
        let frames = FrameForm { messages, publisher_id: Some(host.to_owned()), max_bytes: None };
        let form = EncodingForm::Frames(Box::new(frames));
        Self { host_id, label: Arc::clone(label), form }
    }

    /// Encodes only the number of samples.
    pub fn counts(label: &Arc<str>, host_id: HostId) -> Self {
        Self { host_id, label: Arc::clone(label), form: EncodingForm::Counts }
    }

    /// Changes the form of messages. What is encoded already stays as it is.
    pub(super) fn set_messages(&mut self, messages: MessageForm) {
        match &mut self.form {
            EncodingForm::Notifications(form) => {
                let writer = form.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
                *writer = Notifications::new(messages);
            }
            EncodingForm::Frames(form) => form.messages = messages,
            EncodingForm::Lines(..) | EncodingForm::Batches | EncodingForm::Counts => {}
        }
    }

    /// The form of records in the stream; `None` if its receivers would not understand them.
    pub(super) fn record_form(&self) -> Option<RecordForm> {
        match &self.form {
            EncodingForm::Notifications(form) => {
                let routing_key = Arc::clone(form.routing_keys.first()?);
                let publisher_id = form.publisher_id.clone();
                Some(RecordForm::Notification { routing_key, publisher_id })
            }
            EncodingForm::Lines(..) => Some(RecordForm::Line),
            EncodingForm::Batches | EncodingForm::Frames(_) | EncodingForm::Counts => None,
        }
    }

    /// The envelopes of these samples, in the order in which they are to be sent. They are encoded
    /// on demand, because their total size may be many times that of the batch. No samples, no
    /// envelopes.
    pub fn envelopes<'a>(
        &'a self,
        samples: &'a [Sample],
        origin: SampleOrigin<'a>,
    ) -> Box<dyn Iterator<Item = Envelope> + Send + 'a> {
        match &self.form {
            EncodingForm::Lines(notation, release) => {
                Box::new(self.lines_of(samples, *notation, *release, origin))
            }
            EncodingForm::Batches => Box::new(self.batches_of(samples, origin)),
            EncodingForm::Notifications(form) => {
                Box::new(self.notifications(samples, form, origin))
            }
            EncodingForm::Frames(form) => Box::new(self.frames(samples, form, origin)),
            EncodingForm::Counts => {
                let address: Arc<str> = Arc::from("");
                let chunks = (0..).zip(samples.chunks(MAX_SAMPLES));
                Box::new(chunks.map(move |(at, chunk)| {
                    envelope(self.id("envelope", origin, at), &address, Bytes::new(), chunk)
                }))
            }
        }
    }

    /// All of [`Self::envelopes`] at once.
    pub fn encode(&self, samples: &[Sample], origin: SampleOrigin<'_>) -> Vec<Envelope> {
        self.envelopes(samples, origin).collect()
    }

    /// A message that is too large gets an envelope of its own, because the whole envelope will be
    /// rejected.
    fn frames<'a>(
        &'a self,
        samples: &'a [Sample],
        form: &'a FrameForm,
        origin: SampleOrigin<'a>,
    ) -> impl Iterator<Item = Envelope> + 'a {
        let address: Arc<str> = Arc::from("");
        let mut messages = Messages::packed(form.messages.clone(), form.publisher_id.clone());
        let mut envelope_count = 0;
        let mut close = move |body: Vec<u8>, samples: &[Sample]| {
            envelope_count += 1;
            envelope(self.id("envelope", origin, envelope_count - 1), &address, body, samples)
        };
        // The body holds the samples from `first` to `at`.
        let (mut body, mut first, mut at) = (Vec::new(), 0, 0);
        let mut alone: Option<(Vec<u8>, usize)> = None;
        iter::from_fn(move || {
            if let Some((body, at)) = alone.take() {
                return Some(close(body, &samples[at..=at]));
            }
            while let Some(sample) = samples.get(at) {
                let start = body.len();
                let length = frames::append(&mut body, |out| messages.write(out, sample));
                if form.max_bytes.is_some_and(|max| length > max) {
                    let large = body.split_off(start);
                    let before = &samples[first..at];
                    (first, at) = (at + 1, at + 1);
                    if before.is_empty() {
                        return Some(close(large, &samples[at - 1..at]));
                    }
                    alone = Some((large, at - 1));
                    return Some(close(mem::take(&mut body), before));
                }
                at += 1;
                if at - first == MAX_SAMPLES || body.len() >= FULL_BYTES {
                    break;
                }
            }
            let whole = &samples[mem::replace(&mut first, at)..at];
            (!whole.is_empty()).then(|| close(mem::take(&mut body), whole))
        })
    }

    fn lines_of<'a>(
        &'a self,
        samples: &'a [Sample],
        notation: Notation,
        release: Release,
        origin: SampleOrigin<'a>,
    ) -> impl Iterator<Item = Envelope> + 'a {
        let address: Arc<str> = Arc::from("");
        let (mut left, mut envelope_count) = (samples, 0);
        iter::from_fn(move || {
            let (mut body, mut count) = (Vec::new(), 0);
            for sample in left.iter().take(MAX_SAMPLES) {
                as_dict(&mut body, notation, release, sample);
                body.push(b'\n');
                count += 1;
                if body.len() >= FULL_BYTES {
                    break;
                }
            }
            let chunk = left.split_off(..count).filter(|chunk| !chunk.is_empty())?;
            envelope_count += 1;
            Some(envelope(self.id("envelope", origin, envelope_count - 1), &address, body, chunk))
        })
    }

    fn batches_of<'a>(
        &'a self,
        samples: &'a [Sample],
        origin: SampleOrigin<'a>,
    ) -> impl Iterator<Item = Envelope> + 'a {
        let address: Arc<str> = Arc::from("");
        let last = samples.len().div_ceil(MAX_SAMPLES).saturating_sub(1);
        (0..).zip(samples.chunks(MAX_SAMPLES)).map(move |(at, chunk)| {
            let removed = if at == last { origin.removed.to_vec() } else { Vec::new() };
            let (source, samples) = (origin.source.into(), chunk.to_vec());
            let batch = Batch { source, cycle_start: origin.cycle_start, samples, removed };
            let encoded =
                envelope(self.id("envelope", origin, at), &address, encode_batch(&batch), chunk);
            Envelope { batch: Some(Arc::new(batch)), ..encoded }
        })
    }

    /// A notification may go to several topics: it is encoded once for all of them.
    fn notifications<'a>(
        &'a self,
        samples: &'a [Sample],
        form: &'a NotificationSettings,
        origin: SampleOrigin<'a>,
    ) -> impl Iterator<Item = Envelope> + 'a {
        let (groups, most) = form.groups(samples);
        let (mut group, mut at, mut envelope_count) = (0, 0, 0);
        let mut next_ids = move || {
            envelope_count += 1;
            ["envelope", "unique"].map(|what| self.id(what, origin, envelope_count - 1))
        };
        let mut ready = VecDeque::with_capacity(form.routing_keys.len());
        iter::from_fn(move || {
            let (first_key, other_keys) = form.routing_keys.split_first()?;
            loop {
                if let Some(envelope) = ready.pop_front() {
                    return Some(envelope);
                }
                let (event_type, indexes) = groups.get(group)?;
                let left = indexes[at..].iter().map(|index| &samples[*index]).take(most);
                if left.len() == 0 {
                    (group, at) = (group + 1, 0);
                    continue;
                }
                let [id, unique_id] = next_ids();
                let head = Head {
                    message_id: id,
                    unique_id,
                    publisher_id: &form.publisher_id,
                    event_type,
                    wrap: form.form != NotificationForm::Metering,
                    time: origin.cycle_start.wall,
                };
                let mut writer = form.writer.lock().unwrap_or_else(PoisonError::into_inner);
                let (body, count) = writer.body(&head, left.clone(), FULL_BYTES);
                let first = envelope(id, first_key, body, left.take(count));
                at += count;
                ready.extend(other_keys.iter().map(|key| {
                    let [id, unique_id] = next_ids();
                    let body = with_ids(&first.body, id, unique_id).into();
                    Envelope { id, address: Arc::clone(key), body, ..first.clone() }
                }));
                return Some(first);
            }
        })
    }

    fn id(&self, what: &str, origin: SampleOrigin<'_>, before: usize) -> uuid::Uuid {
        let sequence = origin.sequence + u64::try_from(before).expect("a length fits");
        self.host_id.name(
            &[what, origin.sink, &self.label, origin.source],
            &[origin.cycle_start.wall.as_nanos(), sequence],
        )
    }
}

fn envelope<'a>(
    id: uuid::Uuid,
    address: &Arc<str>,
    body: impl Into<Bytes>,
    samples: impl IntoIterator<Item = &'a Sample>,
) -> Envelope {
    let manifest = Manifest::from_samples(samples);
    Envelope {
        id,
        address: Arc::clone(address),
        body: body.into(),
        samples: manifest.samples().count() as u64,
        manifest: manifest.into(),
        ..Envelope::default()
    }
}

impl NotificationSettings {
    /// Indexes of samples by event type, and the maximum number of samples in one notification.
    fn groups(&self, samples: &[Sample]) -> (Vec<(String, Vec<usize>)>, usize) {
        if let NotificationForm::Polling { batch_size } = self.form {
            // In Ceilometer each pollster sends its own samples: no message has two meters.
            let groups = by_meter(samples).into_iter();
            let groups =
                groups.map(|(_, indexes)| ("telemetry.polling".to_owned(), indexes)).collect();
            return (groups, batch_size);
        }
        let mut groups = vec![("metering".to_owned(), (0..samples.len()).collect())];
        if self.per_meter {
            groups.extend(by_meter(samples));
        }
        (groups, MAX_SAMPLES)
    }
}

/// Indexes of samples by event type, in the order of the meters' names.
fn by_meter(samples: &[Sample]) -> Vec<(String, Vec<usize>)> {
    let mut meters: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, sample) in samples.iter().enumerate() {
        meters.entry(&sample.meter.name).or_default().push(index);
    }
    meters.into_iter().map(|(name, indexes)| (format!("metering.{name}"), indexes)).collect()
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
