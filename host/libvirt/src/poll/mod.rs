//! Where a sample is born: one task per distinct interval reads the domains and makes a batch for
//! each of its sources.
//!
//! Given: sources, and a hypervisor to read from. Gives back: batches, over a bounded channel.
//! Must not know sinks. A domain that cannot be read costs itself only; what could not be read is
//! counted as missing, never sent as 0.

mod domains;
mod gaps;
mod lifecycle;
pub mod meters;
mod quarantine;
mod readings;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc, watch};
use uuid::Uuid;

use crate::hypervisor::{Hypervisor, HypervisorError, Pace};
use crate::schedule::Ticker;
use nephometer_config::{MeterFilter, MeteringSpec, SourceSpec};
use nephometer_model::{Batch, DomainState, Gap, HostId, Moment, Polled, Sample, Timestamp};
use nephometer_telemetry::events;

use domains::Domains;
use gaps::{Gaps, Got, Missed};
use meters::{Measured, Meters, Wanted};
use readings::{Read, Readings};

/// What all poll tasks share.
#[derive(Clone)]
pub struct PollContext {
    /// Where domains are read.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// The host's name in metadata.
    pub host: Arc<str>,
    /// `source` of every sample.
    pub sample_source: Arc<str>,
    /// Whether domains without Nova's metadata are metered.
    pub unowned: bool,
    /// Whose meters there are.
    pub metering: MeteringSpec,
    /// When the first tick comes, as a part of the interval: from 0, which is at once, to 1.
    pub phase: f64,
    /// Slices in flight.
    pub parallel: usize,
    /// Whether a source that cannot list its domains ends polling, instead of going on with the
    /// last list: right for commands that somebody waits for, wrong for an agent.
    pub fail_fast: bool,
    /// Held by the one task that reads: libvirt leaves out of an answer what another call of ours
    /// is asking the same QEMU for at that moment.
    pub reading: Arc<Mutex<()>>,
    /// What ids are made from.
    pub host_id: HostId,
    /// When sources were polled last, by an earlier run; taken by whoever polls them now.
    pub before: Arc<std::sync::Mutex<HashMap<Arc<str>, Timestamp>>>,
    /// What is counted.
    pub counts: PollCounts,
}

/// Counters of the ledger that polling moves.
#[derive(Debug, Clone, Default)]
pub struct PollCounts {
    /// Samples made.
    pub polled: Arc<AtomicU64>,
    /// Ticks skipped.
    pub cycles_skipped: Arc<AtomicU64>,
    /// Domains not read in a tick.
    pub missing: Arc<AtomicU64>,
    /// Numbers that libvirt did not give.
    pub absent: Arc<AtomicU64>,
}

/// When a task ends by itself.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    /// After so many ticks; `None`: never.
    pub count: Option<u64>,
    /// Instead of the sources' interval.
    pub every: Option<Duration>,
}

/// One interval and the sources that share it.
pub struct PollTask {
    context: PollContext,
    sources: Vec<Source>,
    interval: Duration,
    /// What some source wants.
    wanted: Wanted,
    meters: Meters,
    domains: Domains,
    readings: Readings,
    gaps: Gaps,
}

/// A source and what it wants.
struct Source {
    name: Arc<str>,
    filter: MeterFilter,
    /// By position in [`Meters::all`], as far as was looked.
    wanted: Vec<bool>,
}

impl Source {
    /// Looks at meters that have come since.
    fn follow(&mut self, meters: &Meters) {
        for meter in self.wanted.len()..meters.all().len() {
            self.wanted.push(meters.wants_raw(&self.filter, meter));
        }
    }
}

impl PollTask {
    /// A task for sources of one interval.
    pub fn new(context: PollContext, interval: Duration, sources: &[SourceSpec]) -> Self {
        let meters = Meters::new(context.metering);
        let mut wanted = Wanted::default();
        let polled = sources.iter().map(|spec| {
            let own = match spec.polls_instances() {
                true => meters.wanted(&spec.meters),
                false => Wanted::default(),
            };
            wanted = std::mem::take(&mut wanted).union(&own);
            let by_position = (0..meters.all().len()).map(|meter| own.has(meter)).collect();
            let name = Arc::clone(&spec.name);
            Source { name, filter: spec.meters.clone(), wanted: by_position }
        });
        let sources = polled.collect();
        let domains = Domains::new(context.clone());
        let readings = Readings::new(context.clone());
        let paced = context.hypervisor.pace() == Pace::Clock;
        let gaps = Gaps::new(paced.then_some(interval));
        Self { context, sources, interval, wanted, meters, domains, readings, gaps }
    }

    /// Polls until told to stop, until `rounds` are over, or until a recording ends. A tick that
    /// has begun is finished, and its batches are handed over.
    pub async fn run(
        mut self,
        rounds: Rounds,
        mut stop: watch::Receiver<bool>,
        out: mpsc::Sender<Polled>,
    ) -> Result<(), HypervisorError> {
        let interval = rounds.every.unwrap_or(self.interval);
        let mut ticker = Ticker::new(interval, interval.mul_f64(self.context.phase));
        let recorded = self.context.hypervisor.pace() == Pace::Recorded;
        let mut happenings = match rounds.count {
            None => self.context.hypervisor.events(),
            Some(_) => None,
        };
        let mut done = 0;
        while rounds.count.is_none_or(|count| done < count) {
            if !recorded {
                tokio::select! {
                    biased;
                    () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
                    cycle = ticker.cycle() => self.count_skipped(cycle.skipped),
                    (event, at) = lifecycle::next(&mut happenings) => {
                        for one in self.boundary(event, at).await {
                            if out.send(one).await.is_err() {
                                return Ok(());
                            }
                        }
                        continue;
                    }
                }
            } else if *stop.borrow() {
                break;
            }
            let Some(polled) = self.cycle().await? else {
                events::poll::recording_ended();
                break;
            };
            for one in polled {
                if out.send(one).await.is_err() {
                    return Ok(());
                }
            }
            done += 1;
        }
        Ok(())
    }

    fn count_skipped(&self, skipped: u64) {
        if skipped > 0 {
            self.context.counts.cycles_skipped.fetch_add(skipped, Relaxed);
            events::poll::cycles_skipped(self.interval, skipped);
        }
    }

    /// One tick: a batch for every source, also an empty one, because a tick without samples
    /// flushes transformers all the same. `None` at the end of a recording.
    pub async fn cycle(&mut self) -> Result<Option<Vec<Polled>>, HypervisorError> {
        let started = Instant::now();
        let Some(cycle) = self.context.hypervisor.begin_cycle().await? else { return Ok(None) };
        let listed = self.domains.list().await?;
        let there: HashSet<Uuid> = listed.domains.iter().map(|domain| domain.uuid).collect();
        self.meters.retain(|uuid| there.contains(&uuid));
        self.gaps.retain(|uuid| there.contains(&uuid));
        let mut missed: Vec<Missed> = self.gaps.begin(cycle, self.before()).into_iter().collect();
        let Read { readings, missing } =
            self.readings.read(&listed.domains, self.wanted.groups()).await;
        missed.extend(missing.iter().map(|(one, why)| self.gaps.missing(cycle, one, *why)));
        let mut measured = Vec::new();
        let mut rows: Vec<(Moment, Measured)> = Vec::new();
        let mut absent = 0;
        for (domain, reading) in &readings {
            let state = reading.state.unwrap_or(DomainState::NoState);
            let described = self.domains.described(domain, state);
            absent += self.meters.measure(reading, described, &self.wanted, &mut measured);
            let changed = reading.is_shut_off() || meters::devices_differ(reading, domain);
            let meters = measured.iter().map(|row| row.meter).collect();
            let taken = reading.taken.wall;
            missed.extend(self.gaps.got(Got { domain, taken, meters, changed }));
            rows.extend(measured.drain(..).map(|row| (reading.taken, row)));
            if meters::devices_differ(reading, domain) {
                self.context.hypervisor.forget(domain.uuid);
            }
        }
        // Meter by meter, as pollsters did; within a meter in the order of the domains.
        rows.sort_by_key(|(_, row)| row.meter);
        for source in &mut self.sources {
            source.follow(&self.meters);
        }
        let mut polled = self.batches(cycle, &rows, &listed.gone);
        self.tell_gaps(cycle, &missed, &mut polled);
        let samples = polled.iter().map(|one| one.batch.samples.len()).sum::<usize>();
        self.context.counts.absent.fetch_add(absent, Relaxed);
        self.context.counts.polled.fetch_add(samples as u64, Relaxed);
        events::poll::cycle_finished(
            listed.domains.len(),
            readings.len(),
            samples,
            started.elapsed(),
        );
        Ok(Some(polled))
    }

    /// When an earlier run has polled the sources of this task last.
    fn before(&self) -> Option<Timestamp> {
        let mut before = self.context.before.lock().unwrap_or_else(PoisonError::into_inner);
        self.sources.iter().filter_map(|source| before.remove(&source.name)).max()
    }

    /// Puts what is missing beside what is there, and for sources that want the meter, into it.
    fn tell_gaps(&mut self, cycle: Moment, missed: &[Missed], polled: &mut [Polled]) {
        if missed.is_empty() {
            return;
        }
        let samples: Vec<Sample> =
            missed.iter().map(|one| self.domains.gap_sample(cycle, one)).collect();
        for (source, polled) in self.sources.iter().zip(polled) {
            polled.gaps = missed.iter().filter_map(|one| self.gap(source, one)).collect();
            if source.filter.names(gaps::PREFIX, gaps::METER) {
                let mut batch = Batch::clone(&polled.batch);
                batch.samples.extend(samples.iter().cloned().map(|sample| {
                    let words = [&*source.name, &sample.resource.id, gaps::METER];
                    // Two reasons may end at one time; where the gap began tells them apart.
                    let id = sample.id.to_string();
                    let words = [&words[..], &[&id]].concat();
                    Sample { id: self.context.host_id.name(&words, &[]), ..sample }
                }));
                polled.batch = Arc::new(batch);
            }
        }
    }

    /// What is missing, as far as it concerns a source.
    fn gap(&self, source: &Source, missed: &Missed) -> Option<Gap> {
        let meters = match &missed.meters {
            None => source.filter.texts(),
            Some(meters) => {
                let wanted = meters.iter().filter(|meter| source.wanted[**meter]);
                wanted.map(|meter| self.meters.all()[*meter].name.to_string()).collect()
            }
        };
        let resource = missed.domain.as_ref().map_or("*".to_owned(), |one| one.uuid.to_string());
        (!meters.is_empty()).then(|| Gap {
            resource,
            source: source.name.to_string(),
            meters,
            begin: missed.begin,
            until: missed.until,
            reason: missed.reason,
        })
    }

    fn batches(
        &self,
        cycle: Moment,
        rows: &[(Moment, Measured)],
        gone: &[Arc<str>],
    ) -> Vec<Polled> {
        let sample = |source: &Source, taken: Moment, row: &Measured| {
            let meter = Arc::clone(&self.meters.all()[row.meter]);
            let resource = Arc::clone(&row.resource);
            let id =
                self.context.host_id.polled(&source.name, &resource.id, &meter.name, taken.wall);
            Sample { id, meter, resource, volume: row.volume, taken }
        };
        self.sources
            .iter()
            .map(|source| {
                let samples = rows
                    .iter()
                    .filter(|(_, row)| source.wanted[row.meter])
                    .map(|(taken, row)| sample(source, *taken, row))
                    .collect();
                let name = Arc::clone(&source.name);
                let batch =
                    Batch { source: name, cycle_start: cycle, samples, gone: gone.to_vec() };
                Polled { batch: Arc::new(batch), gaps: Vec::new() }
            })
            .collect()
    }
}

/// Sources grouped by interval, in the order of their first appearance. With a recording all are
/// one group: its ticks are everybody's.
pub fn by_interval(sources: &[SourceSpec], pace: Pace) -> Vec<(Duration, Vec<SourceSpec>)> {
    let mut groups: Vec<(Duration, Vec<SourceSpec>)> = Vec::new();
    let mut index: HashMap<Duration, usize> = HashMap::new();
    for source in sources {
        let key = match pace {
            Pace::Clock => source.interval,
            Pace::Recorded => Duration::ZERO,
        };
        let at = *index.entry(key).or_insert_with(|| {
            groups.push((source.interval, Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(source.clone());
    }
    groups
}
