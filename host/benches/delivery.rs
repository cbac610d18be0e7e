//! Measures the spool: alone, in front of a real broker, and at a start with many pending envelopes.
//! `scripts/bench-delivery` provides the broker, and compares with oslo.messaging.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nephometer_config::{BrokerSpec, Secret};
use nephometer_pipeline::publish::{AmqpPublisher, Driver, Envelope, Publisher};
use nephometer_store::{Manifest, SpoolBounds, Spools, Store, WhenFull};
use nephometer_telemetry::PublisherCount;
use uuid::Uuid;

use super::{percentiles, print, results, runtime};
use nephometer_model::DeliveryResult;

const BOUNDS: SpoolBounds =
    SpoolBounds { bytes: 8 << 30, count: None, age: None, evict_last: Vec::new() };
/// Envelopes of one batch of 1,000 samples.
const PER_BATCH: u64 = 20;
/// Bytes of an envelope with 50 signed samples, approximately.
const BODY: usize = 60_000;
/// Pending envelopes at the measured start.
const PENDING: u64 = 100_000;
/// Bytes of each of them.
const PENDING_BODY: usize = 2_000;
/// Envelopes that are sent to the broker.
const SENT: u64 = 4_000;

fn envelopes(numbers: std::ops::Range<u64>, body: usize, address: &str) -> Vec<Envelope> {
    let template = Envelope {
        address: address.into(),
        body: vec![b'x'; body].into(),
        samples: 50,
        manifest: Arc::new(Manifest::default()),
        ..Envelope::default()
    };
    let make = |number| Envelope { id: Uuid::from_u64_pair(7, number), ..template.clone() };
    numbers.map(make).collect()
}

/// The times to push the envelopes of a batch and to acknowledge them.
async fn push_and_acknowledge(spools: &Spools, rounds: u64) -> Vec<Duration> {
    let counts = Arc::new(PublisherCount::default());
    let (writer, mut reader) =
        spools.open("bench", BOUNDS, WhenFull::DropOldest, (&counts, None)).await.unwrap();
    let mut times = Vec::new();
    for round in 0..rounds {
        let batch = envelopes(round * PER_BATCH..(round + 1) * PER_BATCH, BODY, "");
        let begun = Instant::now();
        writer.push(batch).await;
        let leased = reader.lease(100).await.unwrap();
        reader.acknowledge(&vec![DeliveryResult::Acknowledged; black_box(leased).len()]).await;
        times.push(begun.elapsed());
    }
    times
}

/// Envelopes per second through a spool to a broker that confirms them.
async fn deliver(spools: &Spools, url: &str) -> f64 {
    let counts = Arc::new(PublisherCount::default());
    let (writer, reader) =
        spools.open("broker", BOUNDS, WhenFull::Wait, (&counts, None)).await.unwrap();
    let label = Arc::from("notifier://");
    let broker = BrokerSpec { urls: vec![Secret::new(url)], ..BrokerSpec::default() };
    let mut publisher = AmqpPublisher::new(&broker, &label, Uuid::nil()).unwrap();
    // Connects and declares the queue before the measurement.
    let first = envelopes(u64::MAX - 1..u64::MAX, 10, "bench.sample");
    drop(publisher.publish(&first).await);
    let driver = Driver::new(&label, Box::new(publisher), reader, false);
    let begun = Instant::now();
    let driving = tokio::spawn(driver.run());
    for round in 0..SENT / PER_BATCH {
        writer
            .push(envelopes(round * PER_BATCH..(round + 1) * PER_BATCH, BODY, "bench.sample"))
            .await;
    }
    drop(writer);
    driving.await.unwrap();
    SENT as f64 / begun.elapsed().as_secs_f64()
}

fn megabytes(path: &Path) -> f64 {
    std::fs::metadata(path).unwrap().len() as f64 / 1e6
}

/// Measures and prints the results.
pub(super) fn measure() {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let folder = target.join("bench-spool");
    // Removes the folder of an earlier run.
    drop(std::fs::remove_dir_all(&folder));
    let runtime = runtime();
    runtime.block_on(async {
        let store = Store::open(&folder).unwrap();
        let disk = push_and_acknowledge(&store.spools(), 500).await;
        let memory = push_and_acknowledge(&Spools::in_memory(), 500).await;
        let what = format!("spool, {PER_BATCH} envelopes of {BODY} bytes, push and acknowledge");
        let disk = percentiles("delivery/a batch through a spool on disk", disk);
        let memory = percentiles("delivery/a batch through a spool in memory", memory);
        print(&format!("{what}, on disk: {disk}\n{what}, in memory: {memory}\n"));
        #[expect(clippy::disallowed_methods, reason = "criterion has the command line")]
        let broker = std::env::var("NEPHOMETER_BENCH_AMQP");
        if let Ok(url) = broker {
            let disk = deliver(&store.spools(), &url).await;
            let memory = deliver(&Spools::in_memory(), &url).await;
            let what =
                format!("{SENT} envelopes of {BODY} bytes to a broker, envelopes per second");
            print(&format!("{what}: {disk:.0} through a spool on disk, {memory:.0} in memory\n"));
            for (how, value) in [("through disk", disk), ("through memory", memory)] {
                let figure = format!("delivery/to a broker {how}/envelopes");
                results::record_of(&figure, value, "/s", "make bench-delivery");
            }
        }
    });
    drop(std::fs::remove_dir_all(&folder));
    runtime.block_on(async {
        let store = Store::open(&folder).unwrap();
        let counts = Arc::new(PublisherCount::default());
        let spools = store.spools();
        let opened = spools.open("held", BOUNDS, WhenFull::DropOldest, (&counts, None)).await;
        let (writer, _reader) = opened.unwrap();
        for round in 0..PENDING / 1_000 {
            writer
                .push(envelopes(round * 1_000..(round + 1) * 1_000, PENDING_BODY, "a.sample"))
                .await;
        }
        // A copy of the open store, as a crash leaves it.
        let crashed = folder.join("crashed");
        std::fs::create_dir(&crashed).unwrap();
        for name in ["agent.redb", "host-generation"] {
            std::fs::copy(folder.join(name), crashed.join(name)).unwrap();
        }
    });
    for (how, folder) in [("a clean end", folder.clone()), ("a crash", folder.join("crashed"))] {
        let begun = Instant::now();
        let store = Store::open(&folder).unwrap();
        let counts = Arc::new(PublisherCount::default());
        let spool = runtime
            .block_on(store.spools().open("held", BOUNDS, WhenFull::DropOldest, (&counts, None)))
            .unwrap();
        let (took, pending) = (begun.elapsed(), spool.1.pending());
        let size = megabytes(&folder.join("agent.redb"));
        print(&format!(
            "start with {pending} pending envelopes ({size:.0} MB) after {how}: {took:?}\n"
        ));
        let figure = format!("delivery/start after {how}/time");
        results::record(&figure, took.as_secs_f64() * 1e3, "ms");
    }
    drop(std::fs::remove_dir_all(&folder));
}
