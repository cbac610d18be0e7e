//! Envelopes, which spools store, and their manifests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use nephometer_model::{Batch, Gap, GapReason, Offset, Sample, Timestamp};
use nephometer_proof::Link;

/// One message to one receiver. It is encoded and stored once: a retry sends the same bytes with the
/// same ids.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    /// The same on every attempt.
    pub id: Uuid,
    /// The address within the receiver: a routing key for AMQP, empty elsewhere.
    pub address: Arc<str>,
    /// The bytes on the wire.
    pub body: Bytes,
    /// The samples, for receivers that take samples instead of bytes. `None` once the envelope has
    /// been read from disk.
    pub batch: Option<Arc<Batch>>,
    /// Number of samples.
    pub samples: u64,
    /// Offset of its batch in the journal.
    pub offset: Offset,
    /// Number among all envelopes of the publisher, from 1, assigned by the spool. A receiver that
    /// misses one has a gap.
    pub sequence: u64,
    /// What the samples are.
    pub manifest: Arc<Manifest>,
    /// Its place in the chain of the stream, assigned by the spool. `None`: the stream is not provable
    /// here.
    pub link: Option<Link>,
    /// The time of a record, which has no samples.
    pub time: Timestamp,
}

impl Envelope {
    /// Whether it is a record of its stream: only records have no samples.
    pub(super) fn is_record(&self) -> bool {
        self.samples == 0
    }
}

/// Ignores `batch`, which is a decoded copy of the bytes, and `time`, which only eviction needs.
impl PartialEq for Envelope {
    fn eq(&self, other: &Self) -> bool {
        let key = |one: &Self| (one.id, one.samples, one.offset, one.sequence);
        key(self) == key(other)
            && self.address == other.address
            && self.body == other.body
            && self.manifest == other.manifest
            && self.link == other.link
    }
}

impl Eq for Envelope {}

/// Resource, meter and time of every sample in an envelope: enough to record the gaps if it is
/// dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Ids of resources.
    resources: Vec<String>,
    /// Names of meters.
    meters: Vec<String>,
    /// Per sample: index of the resource, index of the meter, nanoseconds since the epoch.
    samples: Vec<(u32, u32, u64)>,
}

impl Manifest {
    /// The manifest of these samples.
    pub fn from_samples<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut manifest = Self::default();
        let (mut resources, mut meters) = (HashMap::new(), HashMap::new());
        for sample in samples {
            let resource = intern(&mut manifest.resources, &mut resources, &sample.resource.id);
            let meter = intern(&mut manifest.meters, &mut meters, &sample.meter.name);
            manifest.samples.push((resource, meter, sample.taken.wall.as_nanos()));
        }
        manifest
    }

    /// The names of its meters.
    pub fn meters(&self) -> impl Iterator<Item = &str> {
        self.meters.iter().map(String::as_str)
    }

    /// Number of samples of each meter.
    pub fn by_meter(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for (_, meter, _) in &self.samples {
            let name = self.meters.get(*meter as usize).map_or("", String::as_str);
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    /// Resource id, meter name and time (nanoseconds since the epoch) of every sample.
    pub fn samples(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.samples.iter().filter_map(|(resource, meter, time)| {
            let resource = self.resources.get(*resource as usize)?;
            Some((resource.as_str(), self.meters.get(*meter as usize)?.as_str(), *time))
        })
    }

    /// The gaps that the loss of the envelope leaves, one per resource.
    pub(super) fn gaps(&self, spool: &str) -> Vec<Gap> {
        let mut by_resource: BTreeMap<&str, (BTreeSet<&str>, u64, u64)> = BTreeMap::new();
        for (resource, meter, time) in self.samples() {
            let known = by_resource.entry(resource).or_insert((BTreeSet::new(), time, time));
            known.0.insert(meter);
            known.1 = known.1.min(time);
            known.2 = known.2.max(time);
        }
        let gap = |(resource, (meters, begin, until)): (&str, (BTreeSet<&str>, u64, u64))| Gap {
            resource: resource.to_owned(),
            source: spool.to_owned(),
            meters: meters.into_iter().map(str::to_owned).collect(),
            begin: Timestamp::from_nanos(begin),
            until: Timestamp::from_nanos(until),
            reason: GapReason::Dropped,
        };
        by_resource.into_iter().map(gap).collect()
    }

    /// Approximate size in bytes.
    pub(super) fn weight(&self) -> u64 {
        let texts = self.resources.iter().chain(&self.meters).map(|text| text.len() + 24);
        (texts.sum::<usize>() + self.samples.len() * 16) as u64
    }
}

/// The index of a text in `texts`, to which it is added if it is new.
fn intern<'a>(texts: &mut Vec<String>, known: &mut HashMap<&'a str, u32>, text: &'a str) -> u32 {
    *known.entry(text).or_insert_with(|| {
        texts.push(text.to_owned());
        u32::try_from(texts.len() - 1).expect("an envelope holds fewer than 2^32 samples")
    })
}
