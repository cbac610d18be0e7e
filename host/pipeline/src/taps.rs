//! Taps: references to the batches that pass a point, for people who look at a running agent.
//!
//! Owns the open taps and, for `explain`, the last polling cycle of each source at each point. It must not
//! slow down the pipeline: it hands over references, never waits, and counts what a tap does not take.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use nephometer_model::{Batch, Bound, Exceeded, Polled, Timestamp};

/// Polling cycles of a source whose batches a sink may still process to be kept. A sink that is further
/// behind keeps none.
const KNOWN_CYCLES: usize = 16;

/// Where samples pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TapPoint {
    /// As polled, before the journal.
    Source,
    /// In a sink, before its first transformer.
    Before,
    /// In a sink, behind the transformer at this index, from 0.
    After(usize),
}

/// What a transformer did with the batch that it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassOutcome {
    /// It transformed the batch; also at points without a transformer.
    Transformed,
    /// The samples that it had buffered until the end of the cycle.
    Flushed,
    /// It failed, and the samples were dropped (`on_error: drop`).
    Dropped,
    /// It failed, and the samples bypassed it (`on_error: keep`).
    Kept,
    /// It rejected the samples, for this reason.
    Rejected(String),
}

/// A batch at a point.
#[derive(Debug, Clone)]
pub struct Passage {
    /// The point.
    pub point: TapPoint,
    /// The sink; `None` at the source.
    pub sink: Option<Arc<str>>,
    /// The component of the transformer that the batch comes from.
    pub component: Option<Arc<str>>,
    /// What the transformer did.
    pub outcome: PassOutcome,
    /// Whether this is what the publishers get.
    pub is_output: bool,
    /// The samples, and the source that they come from.
    pub batch: Arc<Batch>,
}

/// What a tap shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TapTarget {
    /// Samples as polled.
    Source,
    /// Samples before the first transformer.
    Before,
    /// Samples behind the transformers of this component.
    AfterComponent(String),
    /// Samples behind the transformer at this index, from 0.
    AfterIndex(usize),
    /// Samples as the publishers get them.
    Output,
}

impl TapTarget {
    fn takes(&self, passage: &Passage) -> bool {
        match self {
            Self::Source => passage.point == TapPoint::Source,
            Self::Before => passage.point == TapPoint::Before,
            Self::AfterIndex(index) => passage.point == TapPoint::After(*index),
            Self::AfterComponent(name) => passage.component.as_deref() == Some(name),
            Self::Output => passage.is_output,
        }
    }
}

/// The taps of an agent. A clone is the same.
#[derive(Debug, Clone)]
pub struct Taps(Arc<TapRegistry>);

#[derive(Debug)]
struct TapRegistry {
    /// The number of open taps: most batches find none, and take no lock for it.
    open: AtomicUsize,
    taps: Mutex<Vec<Arc<TapEntry>>>,
    recent: Mutex<RecentPassages>,
    /// Counts batches that have passed.
    passed: watch::Sender<u64>,
}

#[derive(Debug)]
struct TapEntry {
    target: TapTarget,
    /// Only this sink.
    sink: Option<Arc<str>>,
    batches: mpsc::Sender<Passage>,
    /// Number of samples in the batches that wait.
    waiting: AtomicUsize,
    missed: AtomicU64,
}

impl TapEntry {
    fn offer(&self, passage: &Passage) {
        let of_sink = self.sink.is_none() || self.sink == passage.sink;
        if passage.batch.samples.is_empty() || !of_sink || !self.target.takes(passage) {
            return;
        }
        // The client does not read fast enough, or is gone: the pipeline does not wait for it. What
        // waits is memory that nothing else holds any more; one batch may wait whatever its size.
        let samples = passage.batch.samples.len();
        let before = self.waiting.fetch_add(samples, Relaxed);
        let fits = before == 0 || Bound::TapSamples.check(before + samples).is_ok();
        if !fits || self.batches.try_send(passage.clone()).is_err() {
            self.waiting.fetch_sub(samples, Relaxed);
            self.missed.fetch_add(samples as u64, Relaxed);
        }
    }
}

type SinkAndSource = (Option<Arc<str>>, Arc<str>);

/// The last polling cycle of each source that has passed.
#[derive(Debug, Default)]
struct RecentPassages {
    /// By source: the times of its last cycles.
    cycles: HashMap<Arc<str>, VecDeque<Timestamp>>,
    /// How many ask for the next cycle, whatever its size.
    asking: usize,
    /// By sink (`None`: before the sinks) and source.
    passages: HashMap<SinkAndSource, Vec<Passage>>,
}

impl Default for Taps {
    fn default() -> Self {
        Self(Arc::new(TapRegistry {
            open: AtomicUsize::new(0),
            taps: Mutex::default(),
            recent: Mutex::default(),
            passed: watch::Sender::new(0),
        }))
    }
}

impl Taps {
    /// Opens a tap, which ends when it is dropped.
    ///
    /// # Errors
    /// If there are too many.
    pub fn open(&self, target: TapTarget, sink: Option<Arc<str>>) -> Result<Tap, Exceeded> {
        let (batches, receiver) = mpsc::channel(Bound::TapBatches.size());
        let (waiting, missed) = (AtomicUsize::new(0), AtomicU64::new(0));
        let entry = Arc::new(TapEntry { target, sink, batches, waiting, missed });
        let mut taps = lock(&self.0.taps);
        Bound::ControlTaps.check(taps.len() + 1)?;
        taps.push(Arc::clone(&entry));
        self.0.open.store(taps.len(), Relaxed);
        drop(taps);
        Ok(Tap { taps: self.clone(), entry, receiver })
    }

    /// Shows a polled batch, on its way into the journal.
    pub fn offer_polled(&self, polled: &Polled) {
        if polled.whole {
            let mut recent = lock(&self.0.recent);
            let cycles = recent.cycles.entry(Arc::clone(&polled.batch.source)).or_default();
            cycles.push_back(polled.batch.cycle_start.wall);
            if cycles.len() > KNOWN_CYCLES {
                cycles.pop_front();
            }
        }
        self.offer(vec![Passage {
            point: TapPoint::Source,
            sink: None,
            component: None,
            outcome: PassOutcome::Transformed,
            is_output: false,
            batch: Arc::clone(&polled.batch),
        }]);
    }

    /// Shows what one batch has become at the points of a sink, in their order. Returns at once.
    pub(crate) fn offer(&self, passages: Vec<Passage>) {
        let Some(first) = passages.first() else { return };
        if self.0.open.load(Relaxed) > 0 {
            for tap in &*lock(&self.0.taps) {
                passages.iter().for_each(|passage| tap.offer(passage));
            }
        }
        let key = (first.sink.clone(), Arc::clone(&first.batch.source));
        let time = first.batch.cycle_start.wall;
        let mut recent = lock(&self.0.recent);
        // A batch of an event is about one domain: it does not replace that of a cycle.
        if recent.cycles.get(&key.1).is_some_and(|cycles| cycles.contains(&time)) {
            let largest = passages.iter().map(|one| one.batch.samples.len()).max().unwrap_or(0);
            let small = Bound::RecentSamples.check(largest).is_ok();
            let kept = if small || recent.asking > 0 { passages } else { Vec::new() };
            let replaced = recent.passages.insert(key, kept);
            drop(recent);
            // It may own many samples.
            drop(replaced);
        }
        self.0.passed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// What the last polling cycle of a source has become in a sink (`None`: as polled), in the order of
    /// the points. `None` if none has passed so far; empty if it was too large to be kept.
    pub fn recent(&self, sink: Option<&Arc<str>>, source: &Arc<str>) -> Option<Vec<Passage>> {
        let key = (sink.cloned(), Arc::clone(source));
        lock(&self.0.recent).passages.get(&key).cloned()
    }

    /// Keeps the next cycles whatever their size, until the guard is dropped.
    pub fn keep_next(&self) -> KeepNext {
        lock(&self.0.recent).asking += 1;
        KeepNext(self.clone())
    }

    /// The time of a source's last polling cycle.
    pub fn last_cycle(&self, source: &str) -> Option<Timestamp> {
        lock(&self.0.recent).cycles.get(source)?.back().copied()
    }

    /// Forgets sources that are not polled any more.
    pub fn retain_sources(&self, exists: impl Fn(&str) -> bool) {
        let mut recent = lock(&self.0.recent);
        recent.cycles.retain(|source, _| exists(source));
        recent.passages.retain(|(_, source), _| exists(source));
    }

    /// Changes with each batch that has passed a sink or the source.
    pub fn passed(&self) -> watch::Receiver<u64> {
        self.0.passed.subscribe()
    }
}

/// Keeps polling cycles whatever their size. Those that are too large are forgotten when it is dropped.
#[derive(Debug)]
pub struct KeepNext(Taps);

impl Drop for KeepNext {
    fn drop(&mut self) {
        let mut recent = lock(&self.0.0.recent);
        recent.asking -= 1;
        if recent.asking > 0 {
            return;
        }
        for passages in recent.passages.values_mut() {
            let largest = passages.iter().map(|one| one.batch.samples.len()).max().unwrap_or(0);
            if Bound::RecentSamples.check(largest).is_err() {
                passages.clear();
            }
        }
    }
}

/// An open tap.
#[derive(Debug)]
pub struct Tap {
    taps: Taps,
    entry: Arc<TapEntry>,
    receiver: mpsc::Receiver<Passage>,
}

impl Tap {
    /// The next batch at the point; never one without samples.
    pub async fn next(&mut self) -> Option<Passage> {
        let passage = self.receiver.recv().await?;
        self.entry.waiting.fetch_sub(passage.batch.samples.len(), Relaxed);
        Some(passage)
    }

    /// How many samples have passed since the last call without being handed over, because too many
    /// batches were waiting.
    pub fn take_missed(&self) -> u64 {
        self.entry.missed.swap(0, Relaxed)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut taps = lock(&self.taps.0.taps);
        taps.retain(|other| !Arc::ptr_eq(other, &self.entry));
        self.taps.0.open.store(taps.len(), Relaxed);
    }
}

/// No code under these locks panics half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use nephometer_model::{Meter, MeterType, Moment, Resource, Sample, Volume};
    use uuid::Uuid;

    use super::*;

    fn batch(time: u64, samples: usize) -> Arc<Batch> {
        let sample = Sample {
            id: Uuid::from_u128(1),
            meter: Arc::new(Meter::new("m", MeterType::Gauge, "")),
            resource: Arc::new(Resource::default()),
            volume: Volume::Float(0.0),
            taken: Moment::default(),
        };
        let samples = vec![sample; samples];
        let wall = Timestamp::from_nanos(time);
        let cycle_start = Moment { wall, ..Moment::default() };
        Arc::new(Batch { source: "s".into(), cycle_start, samples, removed: Vec::new() })
    }

    fn polled(time: u64, samples: usize, whole: bool) -> Polled {
        Polled { batch: batch(time, samples), whole, gaps: Vec::new() }
    }

    fn in_sink(time: u64) -> Vec<Passage> {
        let passage = |point, is_output| Passage {
            point,
            sink: Some("k".into()),
            component: (point != TapPoint::Before).then(|| "c".into()),
            outcome: PassOutcome::Transformed,
            is_output,
            batch: batch(time, 2),
        };
        vec![passage(TapPoint::Before, false), passage(TapPoint::After(0), true)]
    }

    #[tokio::test]
    async fn a_full_tap_counts_what_it_does_not_take_and_ends_with_its_owner() {
        let taps = Taps::default();
        let most = Bound::TapBatches.most();
        let mut tap = taps.open(TapTarget::Source, None).unwrap();
        for time in 0..most + 3 {
            taps.offer_polled(&polled(time, 5, true));
        }
        assert_eq!((tap.take_missed(), tap.take_missed()), (15, 0));
        assert_eq!(tap.next().await.unwrap().batch.samples.len(), 5);
        let others: Vec<_> =
            (1..Bound::ControlTaps.most()).map(|_| taps.open(TapTarget::Before, None)).collect();
        assert!(others.iter().all(Result::is_ok), "up to the bound");
        assert!(taps.open(TapTarget::Before, None).is_err());
        drop(tap);
        assert!(taps.open(TapTarget::Before, None).is_ok());
    }

    // 64 batches of 5,000 domains were 700 MB that an unread tap held.
    #[tokio::test]
    async fn what_waits_for_a_tap_is_bounded_by_samples() {
        let taps = Taps::default();
        let mut tap = taps.open(TapTarget::Source, None).unwrap();
        let half = Bound::TapSamples.size() / 2;
        for time in 0..3 {
            taps.offer_polled(&polled(time, half, true));
        }
        assert_eq!(tap.take_missed(), half as u64);
        tap.next().await.unwrap();
        tap.next().await.unwrap();
        // A batch beyond the bound is shown alone.
        taps.offer_polled(&polled(3, half * 3, true));
        taps.offer_polled(&polled(4, 1, true));
        assert_eq!(tap.next().await.unwrap().batch.samples.len(), half * 3);
        assert_eq!(tap.take_missed(), 1);
        taps.offer_polled(&polled(5, 1, true));
        assert_eq!(tap.next().await.unwrap().batch.samples.len(), 1);
    }

    #[tokio::test]
    async fn a_tap_gets_the_batches_of_its_point_and_sink() {
        let taps = Taps::default();
        for (target, sink, point) in [
            (TapTarget::Before, None, Some(TapPoint::Before)),
            (TapTarget::Output, Some("k"), Some(TapPoint::After(0))),
            (TapTarget::AfterIndex(0), None, Some(TapPoint::After(0))),
            (TapTarget::AfterComponent("c".to_owned()), None, Some(TapPoint::After(0))),
            (TapTarget::AfterIndex(1), None, None),
            (TapTarget::Output, Some("other"), None),
            (TapTarget::Source, None, None),
        ] {
            let mut tap = taps.open(target, sink.map(Arc::from)).unwrap();
            taps.offer(in_sink(1));
            assert_eq!(tap.receiver.try_recv().ok().map(|one| one.point), point);
            assert!(tap.receiver.try_recv().is_err(), "one batch only");
        }
    }

    #[test]
    fn the_last_cycle_is_kept_unless_it_is_large_and_events_do_not_replace_it() {
        let (taps, source, sink) = (Taps::default(), "s".into(), "k".into());
        let kept = |sink: Option<&Arc<str>>| {
            let passages = taps.recent(sink, &source)?;
            Some(passages.iter().map(|one| one.batch.cycle_start.wall.as_nanos()).collect())
        };
        assert_eq!(kept(None), None::<Vec<u64>>);
        taps.offer_polled(&polled(1, 5, true));
        taps.offer(in_sink(1));
        taps.offer_polled(&polled(2, 1, false));
        taps.offer(in_sink(2));
        assert_eq!((kept(None), kept(Some(&sink))), (Some(vec![1]), Some(vec![1, 1])));
        taps.offer_polled(&polled(3, Bound::RecentSamples.size() + 1, true));
        assert_eq!((kept(None), kept(Some(&sink))), (Some(vec![]), Some(vec![1, 1])));
        let asking = taps.keep_next();
        taps.offer_polled(&polled(4, Bound::RecentSamples.size() + 1, true));
        assert_eq!(kept(None), Some(vec![4]), "a client asks for it");
        drop(asking);
        assert_eq!((kept(None), kept(Some(&sink))), (Some(vec![]), Some(vec![1, 1])));
        assert_eq!(taps.last_cycle("s"), Some(Timestamp::from_nanos(4)));
        taps.retain_sources(|_| false);
        assert_eq!((kept(None), taps.last_cycle("s")), (None, None));
    }
}
