//! What a spool holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use nephometer_model::{Batch, Gap, GapReason, Offset, Sample, Timestamp};

/// One envelope as it goes to one receiver. Stored once, never made anew: a retry sends the same
/// bytes with the same ids.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    /// The same on every attempt.
    pub id: Uuid,
    /// Where within the receiver: a routing key for AMQP, empty elsewhere.
    pub address: Arc<str>,
    /// The bytes on the wire.
    pub body: Bytes,
    /// The samples, of an envelope that has not been to the disk: for receivers that take samples and not
    /// bytes.
    pub batch: Option<Arc<Batch>>,
    /// How many samples are in it.
    pub samples: u64,
    /// The batch in the journal that it was made from.
    pub offset: Offset,
    /// Its number among all that this publisher was given, from 1 on, given by the spool. A receiver
    /// that sees one left out has a gap.
    pub sequence: u64,
    /// Which samples they are.
    pub manifest: Arc<Manifest>,
}

/// The decoded batch is the same as the bytes.
impl PartialEq for Envelope {
    fn eq(&self, other: &Self) -> bool {
        let key = |one: &Self| (one.id, one.samples, one.offset, one.sequence);
        key(self) == key(other)
            && self.address == other.address
            && self.body == other.body
            && self.manifest == other.manifest
    }
}

impl Eq for Envelope {}

/// Which samples are in an envelope: what can be said of them once they are lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Ids of resources.
    resources: Vec<String>,
    /// Names of meters.
    meters: Vec<String>,
    /// Per sample: which resource, which meter, and when, nanoseconds since the epoch.
    rows: Vec<(u32, u32, u64)>,
}

impl Manifest {
    /// That of these samples.
    pub fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut manifest = Self::default();
        let (mut resources, mut meters) = (HashMap::new(), HashMap::new());
        for sample in samples {
            let resource = number(&mut manifest.resources, &mut resources, &sample.resource.id);
            let meter = number(&mut manifest.meters, &mut meters, &sample.meter.name);
            manifest.rows.push((resource, meter, sample.taken.wall.as_nanos()));
        }
        manifest
    }

    /// The names of its meters.
    pub fn meters(&self) -> impl Iterator<Item = &str> {
        self.meters.iter().map(String::as_str)
    }

    /// How many samples of each meter.
    pub fn by_meter(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for (_, meter, _) in &self.rows {
            let name = self.meters.get(*meter as usize).map_or("", String::as_str);
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    /// Resource, meter and time of every sample, nanoseconds since the epoch.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.rows.iter().filter_map(|(resource, meter, time)| {
            let resource = self.resources.get(*resource as usize)?;
            Some((resource.as_str(), self.meters.get(*meter as usize)?.as_str(), *time))
        })
    }

    /// What is missing once it is lost, resource by resource.
    pub(super) fn gaps(&self, spool: &str) -> Vec<Gap> {
        let mut by_resource: BTreeMap<&str, (BTreeSet<&str>, u64, u64)> = BTreeMap::new();
        for (resource, meter, time) in self.rows() {
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

    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> u64 {
        let texts = self.resources.iter().chain(&self.meters).map(|text| text.len() + 24);
        (texts.sum::<usize>() + self.rows.len() * 16) as u64
    }
}

/// The number of a text among those that were seen.
fn number<'a>(seen: &mut Vec<String>, known: &mut HashMap<&'a str, u32>, text: &'a str) -> u32 {
    *known.entry(text).or_insert_with(|| {
        seen.push(text.to_owned());
        u32::try_from(seen.len() - 1).expect("an envelope holds fewer samples")
    })
}
