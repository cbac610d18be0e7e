//! Measures `rate_of_change` on batches of several sizes: as a component through the host, from samples
//! to samples, and the same code compiled natively, from columns to columns.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use nephometer_guest as guest;
use nephometer_guest::Transformer as _;
use nephometer_model::{
    Batch, HostId, Meter, MeterType, Moment, Resource, Sample, Timestamp, Volume,
};
use nephometer_pipeline::transform::{Chain, ComponentTransformer, JournaledBatch, Transformer};
use nephometer_wasm::ComponentHost;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::{SCALE, cache, components, runtime};

const ROWS: [usize; 4] = [10, 100, 1_000, 10_000];
/// The number of meters per resource: an instance has one `cpu`, a disk has four meters. Most of the
/// transferred data is the dictionary, so this number matters.
const METERS: [usize; 2] = [1, 4];
const SECOND: u64 = 1_000_000_000;

pub(super) fn options() -> Value {
    json!({"target": {"name": "cpu_util", "unit": "%", "type": "gauge", "scale": SCALE}})
}

fn id(row: usize) -> String {
    format!("6f1b2c3d-0000-4000-8000-{row:012}")
}

/// `rows` samples, `meters` of each resource, with metadata as long as Nova's.
pub(super) fn samples(rows: usize, meters: usize) -> Vec<Sample> {
    let meter = |meter| Arc::new(Meter::new(format!("m{meter}"), MeterType::Cumulative, "ns"));
    let known: Vec<Arc<Meter>> = (0..meters).map(meter).collect();
    let resource = |row: usize| {
        let metadata: Map<String, Value> = serde_json::from_value(json!({
            "display_name": format!("server-{row}"), "name": format!("instance-{row:08}"),
            "instance_id": id(row), "instance_type": "m1.tiny", "instance_host": "compute-1",
            "flavor": {"id": "1", "name": "m1.tiny", "vcpus": 1, "ram": 96, "disk": 1,
                       "ephemeral": 0, "swap": 0},
            "status": "active", "state": "running", "task_state": "", "image": null,
            "architecture": "x86_64", "os_type": "hvm", "vcpus": 1, "memory_mb": 96, "disk_gb": 1,
            "ephemeral_gb": 0, "root_gb": 1, "cpu_number": 1,
        }))
        .unwrap();
        Arc::new(Resource {
            id: id(row).into(),
            source: "openstack".into(),
            project_id: Some("e4b5aff3f414f53d2ce8e924fdba976b".into()),
            user_id: Some("59589899d858a59fdf0c88cbe4b5aff3".into()),
            metadata,
            ..Resource::default()
        })
    };
    let resources: Vec<Arc<Resource>> = (0..rows.div_ceil(meters)).map(resource).collect();
    (0..rows)
        .map(|row| Sample {
            id: Uuid::from_u128(row as u128),
            meter: Arc::clone(&known[row % meters]),
            resource: Arc::clone(&resources[row / meters]),
            volume: Volume::Integer(0),
            taken: Moment::default(),
        })
        .collect()
}

/// The batch of one polling cycle: its times and volumes grow with the number of the cycle.
pub(super) fn batch_of_cycle(samples: &[Sample], cycle: u64) -> Arc<Batch> {
    let time = 1_443_700_800 * SECOND + cycle * SECOND;
    let taken =
        Moment { wall: Timestamp::from_nanos(time), continuous: Some(time), monotonic: None };
    let volume = Volume::from(cycle * SECOND / 4);
    let samples = samples.iter().map(|sample| Sample { volume, taken, ..sample.clone() }).collect();
    Arc::new(Batch { source: "bench".into(), cycle_start: taken, samples, removed: Vec::new() })
}

/// The dictionary of the samples: their meters and resources with ascending numbers.
pub(super) fn changes(rows: usize, meters: usize) -> guest::Changes {
    let resource = |row: usize| guest::NumberedResource {
        number: row as u32,
        entry: guest::Resource {
            id: id(row),
            source: "openstack".into(),
            project_id: Some("e4b5aff3f414f53d2ce8e924fdba976b".into()),
            user_id: Some("59589899d858a59fdf0c88cbe4b5aff3".into()),
            metadata: r#"{"cpu_number":1}"#.into(),
        },
    };
    let meter = |meter: usize| guest::NumberedMeter {
        number: meter as u32,
        entry: guest::Meter {
            name: format!("m{meter}"),
            unit: "ns".into(),
            type_: guest::MeterType::Cumulative,
        },
    };
    guest::Changes {
        forgotten_meters: Vec::new(),
        forgotten_resources: Vec::new(),
        meters: (0..meters).map(meter).collect(),
        resources: (0..rows.div_ceil(meters)).map(resource).collect(),
    }
}

/// The batch of one polling cycle as columns.
pub(super) fn columns(rows: usize, meters: usize, cycle: u64) -> guest::Samples {
    let time = 1_443_700_800 * SECOND + cycle * SECOND;
    guest::Samples {
        meter: (0..rows).map(|row| (row % meters) as u32).collect(),
        resource: (0..rows).map(|row| (row / meters) as u32).collect(),
        time: vec![time; rows],
        monotonic: vec![time; rows],
        volume: vec![(cycle * SECOND / 4) as f64; rows],
        exact: Vec::new(),
        removed: Vec::new(),
    }
}

/// Times `call` over all iterations, without making its input and freeing its output.
fn timed<I, O>(
    iterations: u64,
    mut make: impl FnMut() -> I,
    mut call: impl FnMut(&I) -> O,
) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..iterations {
        let input = make();
        let start = Instant::now();
        let output = black_box(call(black_box(&input)));
        spent += start.elapsed();
        drop(output);
    }
    spent
}

/// `rate_of_change` as a component.
async fn component(host: &ComponentHost) -> ComponentTransformer {
    let options = options().as_object().unwrap().clone();
    let loaded = host.load("rate_of_change").await.unwrap();
    ComponentTransformer::from_loaded(host, &loaded, &options, "bench/0").await.unwrap()
}

/// Runs on the threads of components, as a sink does, so that switching threads is not measured.
pub(super) fn benches(criterion: &mut Criterion) {
    let runtime = runtime();
    let host = ComponentHost::start(&components(), &cache()).unwrap();
    let threads = host.guest_threads();
    for meters in METERS {
        let mut group = criterion.benchmark_group(format!("rate_of_change/{meters}_a_resource"));
        for rows in ROWS {
            group.throughput(Throughput::Elements(rows as u64));
            group.bench_function(BenchmarkId::new("component", rows), |bencher| {
                let mut state = Some((runtime.block_on(component(&host)), 0));
                let samples = Arc::new(samples(rows, meters));
                bencher.iter_custom(|iterations| {
                    let (mut one, mut now) = state.take().unwrap();
                    let samples = Arc::clone(&samples);
                    let work = async move {
                        let mut spent = Duration::ZERO;
                        for _ in 0..iterations {
                            now += 1;
                            let batch = batch_of_cycle(&samples, now);
                            let start = Instant::now();
                            let output = black_box(one.transform(black_box(&batch)).await.unwrap());
                            spent += start.elapsed();
                            drop(output);
                        }
                        (one, now, spent)
                    };
                    let (one, now, spent) = runtime.block_on(threads.run(work));
                    state = Some((one, now));
                    spent
                });
            });
            group.bench_function(BenchmarkId::new("native", rows), |bencher| {
                let mut dictionary = guest::Dictionary::default();
                dictionary.learn(changes(rows, meters));
                let mut native = rate_of_change::RateOfChange::configure(&options()).unwrap().0;
                let mut now = 0;
                bencher.iter_custom(|iterations| {
                    let next = || {
                        now += 1;
                        columns(rows, meters, now)
                    };
                    timed(iterations, next, |samples| {
                        let batch = guest::Batch { dictionary: &dictionary, samples };
                        native.transform(&batch).unwrap()
                    })
                });
            });
        }
        group.finish();
    }
    criterion.bench_function("guest_threads/switch", |bencher| {
        bencher.iter(|| runtime.block_on(threads.run(async { black_box(1) })));
    });
    chain(criterion, &runtime, &host);
}

/// A chain of two transformers, which assigns ids and saves states from time to time.
fn chain(criterion: &mut Criterion, runtime: &Runtime, host: &ComponentHost) {
    let mut group = criterion.benchmark_group("chain");
    let threads = host.guest_threads();
    for rows in [100, 1_000] {
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::new("two_transformers", rows), |bencher| {
            let chain = runtime.block_on(async {
                let convert = json!({"target": {"name": "load", "unit": "1", "scale": 0.01}});
                let loaded = host.load("unit_conversion").await.unwrap();
                let options = convert.as_object().unwrap();
                let second = ComponentTransformer::from_loaded(host, &loaded, options, "bench/1");
                let transformers: Vec<(Box<dyn Transformer>, _)> = vec![
                    (Box::new(component(host).await), Arc::default()),
                    (Box::new(second.await.unwrap()), Arc::default()),
                ];
                Chain::new(&"bench".into(), HostId(Uuid::from_u128(1)), transformers)
            });
            let mut state = Some((chain, 0));
            let samples = Arc::new(samples(rows, 1));
            bencher.iter_custom(|iterations| {
                let (mut chain, mut now) = state.take().unwrap();
                let samples = Arc::clone(&samples);
                let work = async move {
                    let mut spent = Duration::ZERO;
                    for _ in 0..iterations {
                        now += 1;
                        let event = JournaledBatch::new(now, &batch_of_cycle(&samples, now), &[]);
                        let start = Instant::now();
                        let output = black_box(chain.process(black_box(event)).await.unwrap());
                        spent += start.elapsed();
                        drop(output);
                    }
                    (chain, now, spent)
                };
                let (chain, now, spent) = runtime.block_on(threads.run(work));
                state = Some((chain, now));
                spent
            });
        });
    }
    group.finish();
}
