//! Measures how long a sink pauses when new transformers take over, and the cost of saving states.
//!
//! Uses a real sink with a journal in memory, and an observer instead of publishers. New chain revisions
//! are built, catch up and take over as in a reload of the agent.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use nephometer_model::Sample;
use nephometer_pipeline::transform::{Chain, ComponentTransformer, JournaledBatch, Transformer};
use nephometer_pipeline::{
    ChainRevision, PublisherFanout, Sink, SinkHandle, SinkOutput, SinkParts, Takeover,
};
use nephometer_store::{Journal, JournalBounds, Store, WhenFull};
use nephometer_telemetry::TransformerCount;
use nephometer_wasm::ComponentHost;
use tokio::sync::mpsc;

use super::crossing::{batch_of_cycle, options, samples};
use super::{cache, components, percentiles, print, runtime};

const SERIES: [usize; 2] = [1_000, 100_000];
const SAVED: [usize; 3] = [1_000, 10_000, 100_000];
/// Samples per batch.
const ROWS: usize = 1_000;
const SWAPS: usize = 200;
/// The number of swaps of a saturated sink. Each takes seconds, or fails.
const SATURATED_SWAPS: usize = 20;
/// The time between batches of a paced sink, which processes 1,000 samples in 1 to 2 ms.
const PACE: Duration = Duration::from_millis(10);
/// How many batches the writer is ahead of a saturated sink.
const AHEAD: u64 = 4;
/// The time between two swaps.
const REST: Duration = Duration::from_millis(250);
/// As in the agent: attempts to catch up before the sink waits.
const CATCH_UP_ROUNDS: usize = 10;
/// As in the agent: snapshots to start from before a swap is refused.
const SNAPSHOTS: usize = 3;

/// Builds a configured chain revision.
async fn revision(host: &ComponentHost, store: &Store) -> ChainRevision {
    let loaded = host.load("rate_of_change").await.unwrap();
    let options = options().as_object().unwrap().clone();
    let one = ComponentTransformer::from_loaded(host, &loaded, &options, "bench/0").await.unwrap();
    let transformers: Vec<(Box<dyn Transformer>, _)> =
        vec![(Box::new(one), Arc::new(TransformerCount::default()))];
    let chain = Chain::new(&"bench".into(), store.host_id(), transformers);
    ChainRevision {
        chain,
        on_error: vec![Default::default()],
        on_state_mismatch: vec![Default::default()],
    }
}

/// The times of one successful swap.
struct Swap {
    begun: Instant,
    /// When the successful takeover was requested.
    requested: Instant,
    done: Instant,
    /// The pause that the sink reports.
    pause: Duration,
    /// Whether the sink ran the last missing batches, because the new revision never caught up.
    finished_by_sink: bool,
}

/// Swaps the transformers. `None` if batches arrive faster than the new ones process them.
async fn swap(host: &ComponentHost, store: &Store, handle: &SinkHandle) -> Option<Swap> {
    let begun = Instant::now();
    let mut fresh = revision(host, store).await;
    for _ in 0..SNAPSHOTS {
        let snapshot = handle.snapshot_for_takeover().await.unwrap();
        fresh.restore(&snapshot).await.unwrap();
        let mut rounds = 0;
        fresh = loop {
            let (requested, finished_by_sink) = (Instant::now(), rounds >= CATCH_UP_ROUNDS);
            match handle.take_over(fresh, finished_by_sink, None).await {
                Takeover::Done(pause) => {
                    let done = Instant::now();
                    return Some(Swap { begun, requested, done, pause, finished_by_sink });
                }
                Takeover::Behind(behind, missing) => {
                    fresh = *behind;
                    fresh.process_missing(missing).await.unwrap();
                }
                Takeover::Stale(stale) => break *stale,
                Takeover::Failed(reason) => panic!("{reason}"),
            }
            rounds += 1;
        };
    }
    None
}

/// Writes batches until `stop` is set. Returns when each was written.
async fn feed(
    (journal, handle): (Journal, SinkHandle),
    series: Vec<Sample>,
    pace: Option<Duration>,
    stop: Arc<AtomicBool>,
) -> Vec<Instant> {
    let parts: Vec<&[Sample]> = series.chunks(ROWS).collect();
    let mut written = Vec::new();
    let mut due = tokio::time::Instant::now();
    for number in 0.. {
        // Two rounds of all series warm up the state, so that each later batch has rates.
        let warm = number >= 2 * parts.len();
        if warm && stop.load(Relaxed) {
            break;
        }
        let batch = batch_of_cycle(parts[number % parts.len()], number as u64);
        match pace {
            Some(pace) if warm => {
                due = (due + pace).max(tokio::time::Instant::now());
                tokio::time::sleep_until(due).await;
            }
            _ => {
                while number as u64 >= handle.status().offset + AHEAD {
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
        }
        if warm {
            written.push(Instant::now());
        }
        journal.append(batch, Vec::new()).await;
    }
    written
}

/// Records the times of the output on its own thread, so that only the sink delays them.
fn observe(mut output: mpsc::Receiver<SinkOutput>) -> JoinHandle<Vec<Instant>> {
    thread::spawn(move || {
        let mut times = Vec::new();
        while output.blocking_recv().is_some() {
            times.push(Instant::now());
        }
        times
    })
}

/// The results of one run.
struct Run {
    swaps: Vec<Swap>,
    /// The number of failed swaps.
    refused: usize,
    /// The time of each output, and how long it took: from the write of its batch if paced, from the
    /// output before if saturated.
    waits: Vec<(Instant, Duration)>,
}

fn run(host: &ComponentHost, series: usize, pace: Option<Duration>) -> Run {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = Store::in_memory(&cache());
    let bounds = JournalBounds { bytes: 1 << 30, samples: 5_000_000, age: None };
    let journal = store.journal(bounds, WhenFull::Wait).unwrap();
    let (observer, output) = mpsc::channel(1_000);
    let observed = observe(output);
    let (swaps, written) = runtime.block_on(async {
        let count = Arc::default();
        let sources = HashSet::from(["bench".into()]);
        let (sink, handle) = Sink::new(SinkParts {
            name: "bench".into(),
            journal: journal.reader(&"bench".into(), &sources, &count).unwrap(),
            revision: Some(revision(host, &store).await),
            fanout: PublisherFanout::new(Vec::new(), Some(observer)),
            count,
            dead_letters: store.dead_letters(),
            sink_events: mpsc::channel(1).0,
            guest_threads: Some(host.guest_threads()),
        });
        let sink = tokio::spawn(sink.run());
        let stop = Arc::new(AtomicBool::new(false));
        let target = (journal.clone(), handle.clone());
        let feeding = tokio::spawn(feed(target, samples(series, 1), pace, Arc::clone(&stop)));
        while handle.status().offset < (2 * series / ROWS) as u64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut swaps = Vec::new();
        let count = if pace.is_some() { SWAPS } else { SATURATED_SWAPS };
        for _ in 0..count {
            tokio::time::sleep(REST).await;
            swaps.push(swap(host, &store, &handle).await);
        }
        tokio::time::sleep(REST).await;
        stop.store(true, Relaxed);
        let written = feeding.await.unwrap();
        journal.close();
        drop(sink.await.unwrap());
        (swaps, written)
    });
    let mut observed = observed.join().unwrap();
    // The second warm-up round has output too.
    let observed = observed.split_off(observed.len() - written.len());
    let waits = match pace {
        Some(_) => written.iter().zip(&observed).map(|(from, to)| (*to, *to - *from)).collect(),
        None => observed.windows(2).map(|pair| (pair[1], pair[1] - pair[0])).collect(),
    };
    let refused = swaps.iter().filter(|swap| swap.is_none()).count();
    Run { swaps: swaps.into_iter().flatten().collect(), refused, waits }
}

/// For each period, the longest wait of the outputs in it and of the next one.
fn longest_waits(waits: &[(Instant, Duration)], periods: &[(Instant, Instant)]) -> Vec<Duration> {
    let of = |(from, to): &(Instant, Instant)| {
        let first = waits.partition_point(|(at, _)| at < from);
        let after = (waits.partition_point(|(at, _)| at <= to) + 1).min(waits.len());
        waits[first..after].iter().map(|(_, wait)| *wait).max()
    };
    periods.iter().filter_map(of).collect()
}

/// Prints the results of one run.
fn report(kind: &str, run: &Run) {
    let mut text = String::new();
    let mut line = |what: &str, values: Vec<Duration>| {
        let figure = format!("swap/{kind}: {what}");
        writeln!(text, "{figure:<64} {}", percentiles(&figure, values)).unwrap();
    };
    let pauses = |by_sink| {
        let some = run.swaps.iter().filter(move |swap| swap.finished_by_sink == by_sink);
        some.map(|swap| swap.pause).collect()
    };
    line("pause", pauses(false));
    line("pause if the sink catches up", pauses(true));
    let over: Vec<_> = run.swaps.iter().map(|swap| (swap.requested, swap.done)).collect();
    line("longest wait at the takeover", longest_waits(&run.waits, &over));
    let all: Vec<_> = run.swaps.iter().map(|swap| (swap.begun, swap.done)).collect();
    line("longest wait from begin to end", longest_waits(&run.waits, &all));
    // A period without a swap, to compare with.
    let before: Vec<_> = run.swaps.iter().map(|one| (one.begun - REST / 2, one.begun)).collect();
    line("longest wait in the 125 ms before", longest_waits(&run.waits, &before));
    line("wait per batch", run.waits.iter().map(|(_, wait)| *wait).collect());
    line("begin to end", run.swaps.iter().map(|swap| swap.done - swap.begun).collect());
    let finished = run.swaps.iter().filter(|swap| swap.finished_by_sink).count();
    let (done, refused) = (run.swaps.len(), run.refused);
    writeln!(text, "swap/{kind}: {done} done, {finished} of them by the sink; {refused} refused")
        .unwrap();
    print(&text);
}

/// Measures pauses as percentiles, which criterion does not support.
pub(super) fn measure() {
    let host = ComponentHost::start(&components(), &cache()).unwrap();
    for series in SERIES {
        report(&format!("paced, {series} series"), &run(&host, series, Some(PACE)));
    }
    for series in SERIES {
        report(&format!("saturated, {series} series"), &run(&host, series, None));
    }
}

pub(super) fn benches(criterion: &mut Criterion) {
    let runtime = runtime();
    let host = ComponentHost::start(&components(), &cache()).unwrap();
    let store = Store::in_memory(&cache());
    let mut group = criterion.benchmark_group("save");
    for series in SAVED {
        group.throughput(Throughput::Elements(series as u64));
        group.bench_function(BenchmarkId::new("series", series), |bencher| {
            let mut chain = runtime.block_on(async {
                let mut chain = revision(&host, &store).await.chain;
                for (number, part) in (1..).zip(samples(series, 1).chunks(ROWS)) {
                    chain
                        .process(JournaledBatch::new(number, &batch_of_cycle(part, 1), &[]))
                        .await
                        .unwrap();
                }
                chain
            });
            // The state is as large as expected: each id has 36 bytes.
            assert!(runtime.block_on(chain.save()));
            let state = chain.snapshot().1.remove(0).unwrap();
            assert!(state.bytes.len() > series * 36);
            bencher.iter(|| assert!(runtime.block_on(chain.save())));
        });
    }
    group.finish();
}
