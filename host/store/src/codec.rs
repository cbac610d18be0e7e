//! Encodes batches for the journal, dead letters and recordings.
//!
//! Meters and resources are stored once per batch; samples refer to them by index. Decoding any bytes
//! gives a batch or an error, never a panic.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use nephometer_model::{Batch, Meter, MeterType, Moment, Resource, Sample, Timestamp, Volume};

/// The version of the encoding, in the first byte.
const VERSION: u8 = 1;
/// The version with the names of the owners of all resources behind the batch. Written only if there
/// is a name, so that an agent without names reads what it wrote.
const VERSION_WITH_NAMES: u8 = 2;

/// The names of project and user of one resource.
type Names<'a> = (Option<&'a str>, Option<&'a str>);

#[derive(Serialize, Deserialize)]
struct StoredBatch<'a> {
    #[serde(borrow)]
    source: &'a str,
    cycle_start: Clocks,
    #[serde(borrow)]
    meters: Vec<StoredMeter<'a>>,
    #[serde(borrow)]
    resources: Vec<StoredResource<'a>>,
    samples: Vec<StoredSample>,
    #[serde(borrow)]
    removed: Vec<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct StoredMeter<'a> {
    name: &'a str,
    unit: &'a str,
    kind: u8,
}

#[derive(Serialize, Deserialize)]
struct StoredResource<'a> {
    id: &'a str,
    source: &'a str,
    project_id: Option<&'a str>,
    user_id: Option<&'a str>,
    /// A JSON object, in its order.
    metadata: String,
}

#[derive(Serialize, Deserialize)]
struct StoredSample {
    id: [u8; 16],
    meter: u32,
    resource: u32,
    volume: StoredVolume,
    taken: Clocks,
}

#[derive(Serialize, Deserialize)]
enum StoredVolume {
    Integer(i128),
    Float(f64),
}

/// Wall, continuous and monotonic time.
type Clocks = (u64, Option<u64>, Option<u64>);

fn clocks(moment: Moment) -> Clocks {
    (moment.wall.as_nanos(), moment.continuous, moment.monotonic)
}

fn moment((wall, continuous, monotonic): Clocks) -> Moment {
    Moment { wall: Timestamp::from_nanos(wall), continuous, monotonic }
}

/// Assigns indexes to shared values, by address: nearly all samples of a batch share theirs.
struct Interner<'a, T> {
    entries: Vec<&'a T>,
    by_address: HashMap<usize, u32>,
}

impl<'a, T> Interner<'a, T> {
    fn new() -> Self {
        Self { entries: Vec::new(), by_address: HashMap::new() }
    }

    fn index_of(&mut self, one: &'a Arc<T>) -> u32 {
        *self.by_address.entry(Arc::as_ptr(one).addr()).or_insert_with(|| {
            self.entries.push(one);
            u32::try_from(self.entries.len() - 1).expect("a batch holds fewer than 2^32 samples")
        })
    }
}

/// Encodes a batch.
pub fn encode(batch: &Batch) -> Vec<u8> {
    let (mut meters, mut resources) = (Interner::new(), Interner::new());
    let sample = |sample| stored_sample(sample, &mut meters, &mut resources);
    let samples: Vec<StoredSample> = batch.samples.iter().map(sample).collect();
    let meter = |meter: &&'_ Meter| (meter.kind as u8, meter.name.clone(), meter.unit.clone());
    let known: Vec<_> = meters.entries.iter().map(meter).collect();
    let stored = StoredBatch {
        source: &batch.source,
        cycle_start: clocks(batch.cycle_start),
        meters: known
            .iter()
            .map(|(kind, name, unit)| StoredMeter { name, unit, kind: *kind })
            .collect(),
        resources: resources.entries.iter().map(|resource| stored_resource(resource)).collect(),
        samples,
        removed: batch.removed.iter().map(AsRef::as_ref).collect(),
    };
    let names: Vec<Names<'_>> = resources.entries.iter().map(|resource| names(resource)).collect();
    let named = names.iter().any(|names| *names != (None, None));
    let version = if named { VERSION_WITH_NAMES } else { VERSION };
    let bytes = postcard::to_extend(&stored, vec![version]).expect(MEMORY);
    if named { postcard::to_extend(&names, bytes).expect(MEMORY) } else { bytes }
}

const MEMORY: &str = "writing to memory never fails";

fn stored_sample<'a>(
    sample: &'a Sample,
    meters: &mut Interner<'a, Meter>,
    resources: &mut Interner<'a, Resource>,
) -> StoredSample {
    StoredSample {
        id: sample.id.into_bytes(),
        meter: meters.index_of(&sample.meter),
        resource: resources.index_of(&sample.resource),
        volume: match sample.volume {
            Volume::Integer(whole) => StoredVolume::Integer(whole),
            Volume::Float(float) => StoredVolume::Float(float),
        },
        taken: clocks(sample.taken),
    }
}

fn names(resource: &Resource) -> Names<'_> {
    (resource.project_name.as_deref(), resource.user_name.as_deref())
}

fn stored_resource(resource: &Resource) -> StoredResource<'_> {
    StoredResource {
        id: &resource.id,
        source: &resource.source,
        project_id: resource.project_id.as_deref(),
        user_id: resource.user_id.as_deref(),
        metadata: serde_json::to_string(&resource.metadata).expect("JSON serializes as JSON"),
    }
}

/// Decodes a batch.
///
/// # Errors
/// If the bytes are not an encoded batch, with the reason as text.
pub fn decode(bytes: &[u8]) -> Result<Batch, String> {
    let (version, rest) = match bytes.split_first() {
        Some((version, rest)) if [VERSION, VERSION_WITH_NAMES].contains(version) => (version, rest),
        _ => return Err("unknown encoding version".to_owned()),
    };
    let (stored, rest): (StoredBatch<'_>, _) =
        postcard::take_from_bytes(rest).map_err(|error| error.to_string())?;
    let names: Vec<Names<'_>> = match *version {
        VERSION => Vec::new(),
        _ => postcard::from_bytes(rest).map_err(|error| error.to_string())?,
    };
    let names = names.into_iter().chain(std::iter::repeat((None, None)));
    let meters = stored.meters.iter().map(meter).collect::<Result<Vec<_>, _>>()?;
    let resources =
        stored.resources.iter().zip(names).map(resource).collect::<Result<Vec<_>, _>>()?;
    let sample = |stored: &StoredSample| sample(stored, &meters, &resources);
    Ok(Batch {
        source: stored.source.into(),
        cycle_start: moment(stored.cycle_start),
        samples: stored.samples.iter().map(sample).collect::<Result<_, _>>()?,
        removed: stored.removed.into_iter().map(Into::into).collect(),
    })
}

fn meter(stored: &StoredMeter<'_>) -> Result<Arc<Meter>, String> {
    let kinds = [MeterType::Gauge, MeterType::Delta, MeterType::Cumulative];
    let kind = kinds.into_iter().find(|kind| *kind as u8 == stored.kind);
    let kind = kind.ok_or_else(|| format!("unknown meter type {}", stored.kind))?;
    Ok(Arc::new(Meter::new(stored.name, kind, stored.unit)))
}

fn resource(
    (stored, (project_name, user_name)): (&StoredResource<'_>, Names<'_>),
) -> Result<Arc<Resource>, String> {
    Ok(Arc::new(Resource {
        id: stored.id.into(),
        source: stored.source.into(),
        project_id: stored.project_id.map(Into::into),
        user_id: stored.user_id.map(Into::into),
        project_name: project_name.map(Into::into),
        user_name: user_name.map(Into::into),
        metadata: serde_json::from_str(&stored.metadata).map_err(|error| error.to_string())?,
    }))
}

fn sample(
    stored: &StoredSample,
    meters: &[Arc<Meter>],
    resources: &[Arc<Resource>],
) -> Result<Sample, String> {
    let missing = || "sample refers to a missing meter or resource".to_owned();
    Ok(Sample {
        id: Uuid::from_bytes(stored.id),
        meter: Arc::clone(meters.get(stored.meter as usize).ok_or_else(missing)?),
        resource: Arc::clone(resources.get(stored.resource as usize).ok_or_else(missing)?),
        volume: match stored.volume {
            StoredVolume::Integer(whole) => Volume::Integer(whole),
            StoredVolume::Float(float) if float.is_finite() => Volume::Float(float),
            StoredVolume::Float(float) => return Err(format!("volume {float} is not finite")),
        },
        taken: moment(stored.taken),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn any_sample() -> impl Strategy<Value = (u128, String, bool, i128, f64, [Option<u64>; 2])> {
        let float = prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO;
        (any::<u128>(), ".{0,9}", any::<bool>(), any::<i128>(), float, any::<[Option<u64>; 2]>())
    }

    proptest! {
        #[test]
        fn encoded_batch_decodes_unchanged(
            given in prop::collection::vec(any_sample(), 0..20),
            name in prop::option::of("[a-zä]{0,5}"),
        ) {
            let resource = |id: &str| {
                let mut metadata = serde_json::Map::new();
                metadata.insert(id.to_owned(), json!({"x": [1, null, 1e300, 0.1]}));
                Arc::new(Resource {
                    id: id.into(), source: "openstack".into(), project_id: Some(id.into()),
                    user_id: None, project_name: name.as_deref().map(Into::into), user_name: None, metadata,
                })
            };
            let resources = [resource("a"), resource("bä")];
            let samples: Vec<Sample> = given.into_iter().map(|(id, name, first, whole, float, clock)| Sample {
                id: Uuid::from_u128(id),
                meter: Arc::new(Meter::new(name, MeterType::Delta, "B")),
                resource: Arc::clone(&resources[usize::from(first)]),
                volume: if first { Volume::Integer(whole) } else { Volume::Float(float) },
                taken: Moment { wall: Timestamp::from_nanos(7), continuous: clock[0], monotonic: clock[1] },
            }).collect();
            let batch = Batch { source: "s".into(), cycle_start: Moment::default(), samples, removed: vec!["g".into()] };
            let back = decode(&encode(&batch)).unwrap();
            // Debug prints every field, and floats exactly.
            prop_assert_eq!(format!("{batch:?}"), format!("{back:?}"));
        }

        #[test]
        fn decoding_any_bytes_never_panics(bytes: Vec<u8>, cut in 0_usize..200) {
            let batch = Batch { source: "s".into(), cycle_start: Moment::default(), samples: Vec::new(), removed: vec!["gone".into()] };
            let mut good = encode(&batch);
            good.truncate(cut.min(good.len()));
            good.extend(&bytes);
            drop(decode(&good));
            drop(decode(&bytes));
        }
    }
}
