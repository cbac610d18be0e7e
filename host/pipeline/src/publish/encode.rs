//! Samples into envelopes: what enters a publisher's spool. Ids and times come from what is sent,
//! so that the same samples make the same envelopes again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::{iter, mem};

use nephometer_config::{FileSpec, NotificationForm, NotifierSpec};
use nephometer_model::{Batch, HostId, Moment, Release, Sample};
use nephometer_store::{Envelope, Manifest, encode_batch};

use bytes::Bytes;

use super::sockets::LARGEST;
use nephometer_wire::Notation;
use nephometer_wire::frames;
use nephometer_wire::{Head, notification};
use nephometer_wire::{MessageForm, Messages, as_dict};

/// Samples in one envelope at most: the batch size of current Ceilometer agents, some 75 kB. What
/// consumers are used to, and little enough to send once more.
pub(crate) const MAX_SAMPLES: usize = 50;
/// Bytes after which an envelope takes no further sample: samples with much metadata are fewer in one.
const FULL: usize = 1 << 20;

/// Makes the envelopes of one publisher.
#[derive(Debug)]
pub struct Encoder {
    host_id: HostId,
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
pub struct SampleOrigin<'a> {
    /// The sink's name.
    pub sink: &'a str,
    /// The source's name.
    pub source: &'a str,
    /// The start of the tick.
    pub cycle_start: Moment,
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
        host_id: HostId,
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
        Self { host_id, label: Arc::clone(label), form }
    }

    /// Lines of a file, each with its end.
    pub fn lines(spec: &FileSpec, label: &Arc<str>, release: Release, host_id: HostId) -> Self {
        let notation = if spec.json { Notation::Json } else { Notation::Repr };
        let form = Form::Lines(notation, release);
        Self { host_id, label: Arc::clone(label), form }
    }

    /// Samples as they are, for components.
    pub fn batches(label: &Arc<str>, host_id: HostId) -> Self {
        Self { host_id, label: Arc::clone(label), form: Form::Batches }
    }

    /// Messages of which each becomes a datagram.
    pub(crate) fn datagrams(label: &Arc<str>, messages: MessageForm, host_id: HostId) -> Self {
        let frames = Frames { messages, publisher_id: None, largest: Some(LARGEST) };
        let form = Form::Frames(Box::new(frames));
        Self { host_id, label: Arc::clone(label), form }
    }

    /// Messages for a stream: they name this host.
    pub fn stream(label: &Arc<str>, host: &str, messages: MessageForm, host_id: HostId) -> Self {
        let frames = Frames { messages, publisher_id: Some(host.to_owned()), largest: None };
        let form = Form::Frames(Box::new(frames));
        Self { host_id, label: Arc::clone(label), form }
    }

    /// The number of samples and nothing of them.
    pub fn counts(label: &Arc<str>, host_id: HostId) -> Self {
        Self { host_id, label: Arc::clone(label), form: Form::Counts }
    }

    /// The envelopes of these samples, in the order in which they are to be sent, each made when it is
    /// asked for: what a batch stands for may be many times its size. None without samples.
    pub fn envelopes<'a>(
        &'a self,
        samples: &'a [Sample],
        origin: SampleOrigin<'a>,
    ) -> Box<dyn Iterator<Item = Envelope> + Send + 'a> {
        match &self.form {
            Form::Lines(notation, release) => {
                Box::new(self.lines_of(samples, *notation, *release, origin))
            }
            Form::Batches => Box::new(self.batches_of(samples, origin)),
            Form::Notifications(form) => Box::new(self.notifications(samples, form, origin)),
            Form::Frames(form) => Box::new(self.frames(samples, form, origin)),
            Form::Counts => {
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

    /// A message that is too large has an envelope of its own: it will be refused, and must not
    /// take others with it.
    fn frames<'a>(
        &'a self,
        samples: &'a [Sample],
        form: &'a Frames,
        origin: SampleOrigin<'a>,
    ) -> impl Iterator<Item = Envelope> + 'a {
        let address: Arc<str> = Arc::from("");
        let mut messages = Messages::packed(&form.messages, form.publisher_id.as_deref());
        let mut made = 0;
        let mut close = move |body: Vec<u8>, samples: &[Sample]| {
            made += 1;
            envelope(self.id("envelope", origin, made - 1), &address, body, samples)
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
                if form.largest.is_some_and(|largest| length > largest) {
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
                if at - first == MAX_SAMPLES || body.len() >= FULL {
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
        let (mut left, mut made) = (samples, 0);
        iter::from_fn(move || {
            let (mut body, mut count) = (Vec::new(), 0);
            for sample in left.iter().take(MAX_SAMPLES) {
                as_dict(&mut body, notation, release, sample);
                body.push(b'\n');
                count += 1;
                if body.len() >= FULL {
                    break;
                }
            }
            let chunk = left.split_off(..count).filter(|chunk| !chunk.is_empty())?;
            made += 1;
            Some(envelope(self.id("envelope", origin, made - 1), &address, body, chunk))
        })
    }

    fn batches_of<'a>(
        &'a self,
        samples: &'a [Sample],
        origin: SampleOrigin<'a>,
    ) -> impl Iterator<Item = Envelope> + 'a {
        let address: Arc<str> = Arc::from("");
        (0..).zip(samples.chunks(MAX_SAMPLES)).map(move |(at, chunk)| {
            let (source, samples, gone) = (origin.source.into(), chunk.to_vec(), Vec::new());
            let batch = Batch { source, cycle_start: origin.cycle_start, samples, gone };
            let made =
                envelope(self.id("envelope", origin, at), &address, encode_batch(&batch), chunk);
            Envelope { batch: Some(Arc::new(batch)), ..made }
        })
    }

    /// One message may go to several topics: its text is made once for all of them.
    fn notifications<'a>(
        &'a self,
        samples: &'a [Sample],
        form: &'a Notifications,
        origin: SampleOrigin<'a>,
    ) -> impl Iterator<Item = Envelope> + 'a {
        let mut messages = Messages::new(&form.messages);
        let (groups, most) = form.groups(samples);
        let (mut group, mut at, mut made) = (0, 0, 0);
        let mut ready = VecDeque::with_capacity(form.routing_keys.len());
        iter::from_fn(move || {
            loop {
                if let Some(envelope) = ready.pop_front() {
                    return Some(envelope);
                }
                let (event_type, rows) = groups.get(group)?;
                let texts =
                    Texts::new(&mut messages, rows[at..].iter().map(|row| &samples[*row]), most);
                let chunk = &rows[at..at + texts.ends.len()];
                at += chunk.len();
                if chunk.is_empty() {
                    (group, at) = (group + 1, 0);
                }
                for key in form.routing_keys.iter().filter(|_| !chunk.is_empty()) {
                    let id = self.id("envelope", origin, made);
                    let head = Head {
                        message_id: id,
                        unique_id: self.id("unique", origin, made),
                        publisher_id: &form.publisher_id,
                        event_type,
                        wrap: form.form != NotificationForm::Metering,
                        time: origin.cycle_start.wall,
                    };
                    let body = notification(&head, texts.iter());
                    let chunk = chunk.iter().map(|row| &samples[*row]);
                    ready.push_back(envelope(id, key, body, chunk));
                    made += 1;
                }
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

/// The messages of the samples of one envelope.
struct Texts {
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Texts {
    /// Of the first `most` samples, or of fewer large ones.
    fn new<'a>(
        messages: &mut Messages<'_>,
        samples: impl Iterator<Item = &'a Sample>,
        most: usize,
    ) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for sample in samples.take(most) {
            messages.write(&mut bytes, sample);
            ends.push(bytes.len());
            if bytes.len() >= FULL {
                break;
            }
        }
        Self { bytes, ends }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
