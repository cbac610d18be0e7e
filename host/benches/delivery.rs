//! What the spool costs: in front of nothing, in front of a real broker, and at a start with much held.
//! `scripts/bench-delivery` brings the broker, and oslo.messaging to compare with.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nephometer_config::{BrokerSpec, Secret};
use nephometer_pipeline::publish::{AmqpPublisher, Driver, Envelope, Publisher};
use nephometer_store::{Manifest, SpoolBounds, Spools, Store, WhenFull};
use nephometer_telemetry::PublisherCount;
use uuid::Uuid;

use super::{percentiles, runtime, say};
use nephometer_model::DeliveryResult;

const BOUNDS: SpoolBounds =
    SpoolBounds { bytes: 8 << 30, count: None, age: None, evict_last: Vec::new() };
/// Envelopes that one event of a sink makes: 1,000 samples.
const EVENT: u64 = 20;
/// Bytes of an envelope with 50 signed samples, about.
const BODY: usize = 60_000;
/// What is held at the start that is measured.
const HELD: u64 = 100_000;
/// Of these, bytes.
const HELD_BODY: usize = 2_000;
/// Envelopes that go to the broker.
const SENT: u64 = 4_000;

fn envelopes(numbers: std::ops::Range<u64>, body: usize, address: &str) -> Vec<Envelope> {
    let like = Envelope {
        address: address.into(),
        body: vec![b'x'; body].into(),
        samples: 50,
        manifest: Arc::new(Manifest::default()),
        ..Envelope::default()
    };
    let make = |number| Envelope { id: Uuid::from_u64_pair(7, number), ..like.clone() };
    numbers.map(make).collect()
}

/// In and out again, an event at a time.
async fn cycles(spools: &Spools, rounds: u64) -> Vec<Duration> {
    let counts = Arc::new(PublisherCount::default());
    let (writer, mut reader) =
        spools.open("bench", BOUNDS, WhenFull::DropOldest, &counts).await.unwrap();
    let mut taken = Vec::new();
    for round in 0..rounds {
        let given = envelopes(round * EVENT..(round + 1) * EVENT, BODY, "");
        let begun = Instant::now();
        writer.push(given).await;
        let lent = reader.lease(100).await.unwrap();
        reader.acknowledge(&vec![DeliveryResult::Acknowledged; black_box(lent).len()]).await;
        taken.push(begun.elapsed());
    }
    taken
}

/// Envelopes a second through a spool to a broker and its confirms.
async fn deliver(spools: &Spools, url: &str) -> f64 {
    let counts = Arc::new(PublisherCount::default());
    let (writer, reader) = spools.open("broker", BOUNDS, WhenFull::Wait, &counts).await.unwrap();
    let label = Arc::from("notifier://");
    let broker = BrokerSpec { urls: vec![Secret::new(url)], ..BrokerSpec::default() };
    let mut publisher = AmqpPublisher::new(&broker, &label, Uuid::nil()).unwrap();
    // Connected and declared before the clock runs.
    let first = envelopes(u64::MAX - 1..u64::MAX, 10, "bench.sample");
    drop(publisher.publish(&first).await);
    let driver = Driver::new(&label, Box::new(publisher), reader, false);
    let begun = Instant::now();
    let driving = tokio::spawn(driver.run());
    for round in 0..SENT / EVENT {
        writer.push(envelopes(round * EVENT..(round + 1) * EVENT, BODY, "bench.sample")).await;
    }
    drop(writer);
    driving.await.unwrap();
    SENT as f64 / begun.elapsed().as_secs_f64()
}

fn megabytes(path: &Path) -> f64 {
    std::fs::metadata(path).unwrap().len() as f64 / 1e6
}

/// Prints it.
pub(super) fn measure() {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let folder = target.join("bench-spool");
    // What an earlier run has left.
    drop(std::fs::remove_dir_all(&folder));
    let runtime = runtime();
    runtime.block_on(async {
        let store = Store::open(&folder).unwrap();
        let disk = cycles(&store.spools(), 500).await;
        let memory = cycles(&Spools::in_memory(), 500).await;
        let what = format!("spool, {EVENT} envelopes of {BODY} bytes in and out");
        say(&format!("{what}, on disk: {}\n", percentiles(disk)));
        say(&format!("{what}, in memory: {}\n", percentiles(memory)));
        #[expect(clippy::disallowed_methods, reason = "criterion has the command line")]
        let broker = std::env::var("NEPHOMETER_BENCH_AMQP");
        if let Ok(url) = broker {
            let disk = deliver(&store.spools(), &url).await;
            let memory = deliver(&Spools::in_memory(), &url).await;
            let what = format!("{SENT} envelopes of {BODY} bytes to a broker, envelopes a second");
            say(&format!("{what}: {disk:.0} through the disk, {memory:.0} through memory\n"));
        }
    });
    drop(std::fs::remove_dir_all(&folder));
    runtime.block_on(async {
        let store = Store::open(&folder).unwrap();
        let counts = Arc::new(PublisherCount::default());
        let (writer, _reader) =
            store.spools().open("held", BOUNDS, WhenFull::DropOldest, &counts).await.unwrap();
        for round in 0..HELD / 1_000 {
            writer.push(envelopes(round * 1_000..(round + 1) * 1_000, HELD_BODY, "a.sample")).await;
        }
        // As a crash leaves it.
        let crashed = folder.join("crashed");
        std::fs::create_dir(&crashed).unwrap();
        for name in ["agent.redb", "host-generation"] {
            std::fs::copy(folder.join(name), crashed.join(name)).unwrap();
        }
    });
    for (how, folder) in [("an end in order", folder.clone()), ("a crash", folder.join("crashed"))]
    {
        let begun = Instant::now();
        let store = Store::open(&folder).unwrap();
        let counts = Arc::new(PublisherCount::default());
        let ends = runtime
            .block_on(store.spools().open("held", BOUNDS, WhenFull::DropOldest, &counts))
            .unwrap();
        let (took, held) = (begun.elapsed(), ends.1.pending());
        let size = megabytes(&folder.join("agent.redb"));
        say(&format!("start with {held} held ({size:.0} MB) after {how}: {took:?}\n"));
    }
    drop(std::fs::remove_dir_all(&folder));
}
