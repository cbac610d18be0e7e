//! Long, eventful runs of one instance: resources that appear, disappear, return, change, or are
//! replaced by equal ones; late samples; saved states and new instances. The expected digests were
//! recorded with contract 0.1, in which every batch contained its own dictionary.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use nephometer_config::ComponentsSpec;
use nephometer_model::{Batch, Meter, MeterType, Moment, Resource, Sample, Timestamp, Volume};
use nephometer_pipeline::transform::{ComponentTransformer, Transformer};
use nephometer_wasm::{ComponentHost, Numbering};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Folder, root};

const SECOND: u64 = 1_000_000_000;
const BATCHES: u64 = 600;

/// A generator with the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// FNV-1a over texts.
struct Digest(u64);

impl Digest {
    fn add(&mut self, text: &str) {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

fn resource(id: u64, revision: u64) -> Arc<Resource> {
    let metadata = json!({"cpu_number": revision % 4, "flavor": {"name": "m1"}, "x": revision});
    Arc::new(Resource {
        id: format!("resource-{id}").into(),
        source: "openstack".into(),
        project_id: (!revision.is_multiple_of(3)).then(|| "p".into()),
        metadata: metadata.as_object().unwrap().clone(),
        ..Resource::default()
    })
}

/// Generates batches that depend only on the seed.
struct Life {
    random: Random,
    meters: Vec<Arc<Meter>>,
    known: Vec<(u64, u64, Arc<Resource>)>,
    next: u64,
}

impl Life {
    fn new() -> Self {
        let kinds = [MeterType::Cumulative, MeterType::Gauge, MeterType::Delta];
        let meter =
            |n: usize| Meter::new(format!("m{}.x", n / 2), kinds[n % 3], ["B", "ns"][n % 2]);
        Self {
            random: Random(42),
            meters: (0..7).map(|n| Arc::new(meter(n))).collect(),
            known: (0..200).map(|id| (id, 0, resource(id, 0))).collect(),
            next: 200,
        }
    }

    /// Changes the resources before a batch; returns the ids of removed ones.
    fn change(&mut self) -> Vec<Arc<str>> {
        let mut removed = Vec::new();
        for _ in 0..self.random.below(30) {
            let at = usize::try_from(self.random.below(self.known.len() as u64)).unwrap();
            let (id, revision, known) = self.known[at].clone();
            match self.random.below(4) {
                0 => {
                    removed.push(Arc::clone(&known.id));
                    // Some return with the same id.
                    let id = if self.random.below(3) == 0 { id } else { self.next };
                    self.next += 1;
                    self.known[at] = (id, 0, resource(id, 0));
                }
                1 => self.known[at] = (id, revision + 1, resource(id, revision + 1)),
                // An equal resource at another address.
                _ => self.known[at].2 = resource(id, revision),
            }
        }
        removed
    }

    fn batch(&mut self, step: u64) -> Arc<Batch> {
        let time = 1_443_700_800 * SECOND + step * SECOND;
        let removed = self.change();
        let (mut samples, random) = (Vec::new(), &mut self.random);
        for (_, _, resource) in &self.known {
            if random.below(10) == 0 {
                continue;
            }
            for meter in &self.meters {
                if random.below(5) == 0 {
                    continue;
                }
                let late = if random.below(40) == 0 { 5 * SECOND } else { 0 };
                let volume = match random.below(3) {
                    0 => Volume::Float(random.below(1_000_000) as f64 / 7.0),
                    _ => Volume::Integer(i128::from(step * 1_000 + random.below(5_000))),
                };
                let continuous = (random.below(3) > 0).then_some(time - late);
                let wall = Timestamp::from_nanos(time - late);
                samples.push(Sample {
                    id: Uuid::from_u128(u128::from(random.below(1 << 30))),
                    meter: Arc::clone(meter),
                    resource: Arc::clone(resource),
                    volume,
                    taken: Moment { wall, continuous, monotonic: continuous },
                });
            }
        }
        let cycle_start = Moment { wall: Timestamp::from_nanos(time), ..Moment::default() };
        Arc::new(Batch { source: "life".into(), cycle_start, samples, removed })
    }
}

/// The number of output samples, the number of refusals, and the digest of the output.
async fn live(
    host: &ComponentHost,
    (name, options): (&str, &Value),
    numbering: Numbering,
) -> (usize, usize, u64) {
    let loaded = host.load(name).await.unwrap();
    let options = options.as_object().unwrap();
    let made =
        ComponentTransformer::with_numbering(host, &loaded, options, "life/0", numbering).await;
    let (mut one, mut life) = (made.unwrap(), Life::new());
    let (mut out, mut refused, mut digest) = (0, 0, Digest(0xcbf2_9ce4_8422_2325));
    let mut text = String::new();
    for step in 0..BATCHES {
        let batch = life.batch(step);
        let made = match one.transform(&batch).await {
            Ok(made) => made.into_samples(&batch),
            Err(_) => {
                refused += 1;
                Vec::new()
            }
        };
        let flushed = one.flush(batch.cycle_start).await.unwrap();
        for sample in made.iter().chain(&flushed) {
            out += 1;
            text.clear();
            // The digests are of samples as they were: without names of owners.
            write!(text, "{sample:?}").unwrap();
            let text = text.replace(", project_name: None, user_name: None", "");
            digest.add(&text);
        }
        if step % 97 == 96 {
            let state = one.save().await.unwrap();
            one.rebuild(state.as_ref()).await.unwrap();
        }
    }
    (out, refused, digest.0)
}

#[test]
fn long_run_matches_the_previous_contract_version() {
    let rename = json!({"source": {"map_from": {"name": "(.*)\\.x", "unit": "(.*)"}},
                        "target": {"map_to": {"name": "\\1.rate", "unit": "\\1/s"}, "type": "gauge",
                                   "scale": "100.0 / (10**9 * (resource_metadata.cpu_number or 1))"}});
    let volume = json!({"target": {"name": "same", "max": 1e9,
                                   "scale": "volume / (resource_metadata.cpu_number or 1)"}});
    let groups = json!({"size": 3_000, "resource_metadata": "last", "timestamp": "last"});
    let cases = [
        ("rate_of_change", &rename, EXPECTED[0]),
        ("rate_of_change", &volume, EXPECTED[1]),
        ("rate_of_change", &json!({}), EXPECTED[2]),
        ("unit_conversion", &rename, EXPECTED[3]),
        ("delta", &json!({"target": {"name": "d"}, "growth_only": true}), EXPECTED[4]),
        ("aggregator", &groups, EXPECTED[5]),
        ("accumulator", &json!({"size": 2_000}), EXPECTED[6]),
    ];
    let folder = Folder::new("life");
    let spec = ComponentsSpec {
        path: vec![root().join("target/components")],
        ..ComponentsSpec::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let host = ComponentHost::start(&spec, Path::new(&folder.at("cache"))).unwrap();
    for (name, options, expected) in cases {
        for numbering in [Numbering::Ascending, Numbering::Shuffled(7)] {
            let lived = runtime.block_on(live(&host, (name, options), numbering));
            assert_eq!(lived, expected, "{name} {options} {numbering:?}");
        }
    }
}

const EXPECTED: [(usize, usize, u64); 7] = [
    (580_809, 0, 385_075_840_374_843_040),
    (580_809, 0, 9_188_237_204_703_047_947),
    (580_809, 0, 4_190_134_209_465_579_424),
    (605_316, 0, 12_589_741_696_086_501_795),
    (326_303, 0, 11_199_808_338_480_085_545),
    (154_796, 0, 6_018_817_332_366_226_662),
    (604_287, 0, 8_112_505_191_894_420_604),
];
