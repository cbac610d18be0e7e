//! How long no batch is worked on when new transformers take over, and what a save of state costs.
//!
//! The sink is the real one, over a journal in memory and with an observer in place of publishers;
//! new generations are made, caught up and handed over in the way of the agent's reload.

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

use super::crossing::{cycle_start, options, samples};
use super::{cache, components, percentiles, runtime, say};

const SERIES: [usize; 2] = [1_000, 100_000];
const SAVED: [usize; 3] = [1_000, 10_000, 100_000];
/// Rows of a batch.
const ROWS: usize = 1_000;
const SWAPS: usize = 200;
/// Of a sink without time to spare: each takes seconds, or does not come about.
const HARD_SWAPS: usize = 20;
/// From one batch to the next where the sink has time to spare. A thousand rows take it 1 to 2 ms.
const PACE: Duration = Duration::from_millis(10);
/// How far the writer is ahead of a sink that never has time to spare.
const AHEAD: u64 = 4;
/// Between two swaps.
const REST: Duration = Duration::from_millis(250);
/// As the agent has it: attempts to be at the head before the sink is asked to wait.
const ROUNDS: usize = 10;
/// And how often it starts over because too much came in between, before it is refused.
const STARTS: usize = 3;

/// Fresh transformers, configured.
async fn revision(host: &ComponentHost, store: &Store) -> ChainRevision {
    let loaded = host.load("rate_of_change").await.unwrap();
    let options = options().as_object().unwrap().clone();
    let one = ComponentTransformer::from_loaded(host, &loaded, &options, "bench/0").await.unwrap();
    let stages: Vec<(Box<dyn Transformer>, _)> =
        vec![(Box::new(one), Arc::new(TransformerCount::default()))];
    let chain = Chain::new(&"bench".into(), store.host_id(), stages);
    ChainRevision {
        chain,
        on_error: vec![Default::default()],
        on_state_mismatch: vec![Default::default()],
    }
}

/// One that takes over.
struct Swap {
    begun: Instant,
    /// The attempt that succeeded was asked for.
    asked: Instant,
    done: Instant,
    /// What the sink says.
    pause: Duration,
    /// The sink ran what was missing, because the new one never quite caught up.
    finished: bool,
}

/// `None` if batches come faster than the new generation can work on them.
async fn swap(host: &ComponentHost, store: &Store, handle: &SinkHandle) -> Option<Swap> {
    let begun = Instant::now();
    let mut fresh = revision(host, store).await;
    for _ in 0..STARTS {
        let snapshot = handle.snapshot_for_takeover().await.unwrap();
        fresh.restore(&snapshot).await.unwrap();
        let mut rounds = 0;
        fresh = loop {
            let (asked, finished) = (Instant::now(), rounds >= ROUNDS);
            match handle.take_over(fresh, finished).await {
                Takeover::Done(pause) => {
                    return Some(Swap { begun, asked, done: Instant::now(), pause, finished });
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

/// Writes batches until it is told to stop. When each was written.
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
        // All series once for their state, once more so that each batch from then on makes rates.
        let warm = number >= 2 * parts.len();
        if warm && stop.load(Relaxed) {
            break;
        }
        let batch = cycle_start(parts[number % parts.len()], number as u64);
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

/// Looks on from a thread of its own, so that nothing but the sink delays what it sees.
fn observe(mut output: mpsc::Receiver<SinkOutput>) -> JoinHandle<Vec<Instant>> {
    thread::spawn(move || {
        let mut seen = Vec::new();
        while output.blocking_recv().is_some() {
            seen.push(Instant::now());
        }
        seen
    })
}

/// What a run has shown.
struct Run {
    swaps: Vec<Swap>,
    /// Those that did not come about.
    refused: usize,
    /// Per batch: from its writing to what it made where there is time to spare, else from what the
    /// batch before made; and when that was.
    waits: Vec<(Instant, Duration)>,
}

fn run(host: &ComponentHost, series: usize, pace: Option<Duration>) -> Run {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = Store::in_memory(&cache());
    let bounds = JournalBounds { bytes: 1 << 30, samples: 5_000_000, age: None };
    let journal = store.journal(bounds, WhenFull::Wait).unwrap();
    let (observer, output) = mpsc::channel(1_000);
    let seen = observe(output);
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
        let ends = (journal.clone(), handle.clone());
        let fed = tokio::spawn(feed(ends, samples(series, 1), pace, Arc::clone(&stop)));
        while handle.status().offset < (2 * series / ROWS) as u64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut swaps = Vec::new();
        let wanted = if pace.is_some() { SWAPS } else { HARD_SWAPS };
        for _ in 0..wanted {
            tokio::time::sleep(REST).await;
            swaps.push(swap(host, &store, &handle).await);
        }
        tokio::time::sleep(REST).await;
        stop.store(true, Relaxed);
        let written = fed.await.unwrap();
        journal.close();
        drop(sink.await.unwrap());
        (swaps, written)
    });
    let mut seen = seen.join().unwrap();
    // The second round of warming up made rates too.
    let seen = seen.split_off(seen.len() - written.len());
    let waits = match pace {
        Some(_) => written.iter().zip(&seen).map(|(from, to)| (*to, *to - *from)).collect(),
        None => seen.windows(2).map(|pair| (pair[1], pair[1] - pair[0])).collect(),
    };
    let refused = swaps.iter().filter(|swap| swap.is_none()).count();
    Run { swaps: swaps.into_iter().flatten().collect(), refused, waits }
}

/// For each stretch of time the longest wait of what came out in it or next after it.
fn longest(waits: &[(Instant, Duration)], stretches: &[(Instant, Instant)]) -> Vec<Duration> {
    let of = |(from, to): &(Instant, Instant)| {
        let first = waits.partition_point(|(at, _)| at < from);
        let after = (waits.partition_point(|(at, _)| at <= to) + 1).min(waits.len());
        waits[first..after].iter().map(|(_, wait)| *wait).max()
    };
    stretches.iter().filter_map(of).collect()
}

/// What became of all swaps of one kind, in lines.
fn report(kind: &str, run: &Run) {
    let mut text = String::new();
    let mut line = |what: &str, values: Vec<Duration>| {
        writeln!(text, "swap/{kind:<24} {what:<34} {}", percentiles(values)).unwrap();
    };
    let pauses = |by_sink| {
        let some = run.swaps.iter().filter(move |swap| swap.finished == by_sink);
        some.map(|swap| swap.pause).collect()
    };
    line("pause", pauses(false));
    line("pause where the sink catches up", pauses(true));
    let over: Vec<_> = run.swaps.iter().map(|swap| (swap.asked, swap.done)).collect();
    line("longest wait at the take-over", longest(&run.waits, &over));
    let all: Vec<_> = run.swaps.iter().map(|swap| (swap.begun, swap.done)).collect();
    line("longest wait from begin to end", longest(&run.waits, &all));
    // As long as the swap was, in the middle of the rest before it.
    let before: Vec<_> = run.swaps.iter().map(|one| (one.begun - REST / 2, one.begun)).collect();
    line("longest wait in the 125 ms before", longest(&run.waits, &before));
    line("a batch", run.waits.iter().map(|(_, wait)| *wait).collect());
    line("begin to end", run.swaps.iter().map(|swap| swap.done - swap.begun).collect());
    let finished = run.swaps.iter().filter(|swap| swap.finished).count();
    let (done, refused) = (run.swaps.len(), run.refused);
    writeln!(
        text,
        "swap/{kind:<24} {done} done, {finished} of them by the sink; {refused} refused"
    )
    .unwrap();
    say(&text);
}

/// Pauses are told in percentiles, which is nothing that criterion does.
pub(super) fn measure() {
    let host = ComponentHost::start(&components(), &cache()).unwrap();
    for series in SERIES {
        report(&format!("paced/{series}"), &run(&host, series, Some(PACE)));
    }
    for series in SERIES {
        report(&format!("saturated/{series}"), &run(&host, series, None));
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
                        .process(JournaledBatch::new(number, &cycle_start(part, 1), &[]))
                        .await
                        .unwrap();
                }
                chain
            });
            // What is measured is worth the name: the ids alone have 36 bytes.
            assert!(runtime.block_on(chain.save()));
            let state = chain.snapshot().1.remove(0).unwrap();
            assert!(state.bytes.len() > series * 36);
            bencher.iter(|| assert!(runtime.block_on(chain.save())));
        });
    }
    group.finish();
}
