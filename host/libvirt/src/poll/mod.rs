//! Polling: one task per distinct interval reads the domains and makes a batch for each of its
//! sources.
//!
//! Given: sources, and a hypervisor to read from. Gives back: batches, over a bounded channel.
//! Must not know sinks. A domain that cannot be read affects no other; missing readings are counted
//! and reported as gaps, never sent as 0.

mod domains;
mod gaps;
mod lifecycle;
pub mod meters;
mod quarantine;
mod readings;
mod servers;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc, watch};
use uuid::Uuid;

use crate::hypervisor::{Hypervisor, HypervisorError, Pace};
use crate::schedule::Ticker;
use nephometer_config::{DiscoverySpec, MeterFilter, MeteringSpec, SourceSpec};
use nephometer_model::{
    Batch, Domain, DomainState, Gap, GapReason, HostId, Moment, Polled, Sample, ServerSource,
    Timestamp,
};
use nephometer_telemetry::{CycleSummary, PollingStats, events};

use domains::DomainInventory;
use gaps::{DomainObservation, GapTracker, MissingPeriod};
use meters::{Measurement, MeterSelection, Meters};
use readings::{CycleReadings, DomainReader};

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
    /// The Ceilometer release to match, and its quirks.
    pub metering: MeteringSpec,
    /// Where owners and metadata of instances come from.
    pub discovery: Discovery,
    /// Delay of the first cycle as a fraction of the interval, 0 (at once) to 1.
    pub phase: f64,
    /// Slices read concurrently.
    pub parallel: usize,
    /// Whether a failure to list domains ends polling. Right for interactive commands; an agent
    /// goes on with the last list.
    pub fail_fast: bool,
    /// Held while domains are read. libvirt omits statistics that another of our calls requests
    /// from the same QEMU at that moment.
    pub read_lock: Arc<Mutex<()>>,
    /// The host id, from which sample ids are derived.
    pub host_id: HostId,
    /// Time of each source's last cycle in an earlier run. The task that polls a source now takes
    /// its entry out.
    pub last_polled: Arc<std::sync::Mutex<HashMap<Arc<str>, Timestamp>>>,
    /// Counters of the ledger.
    pub counts: PollCounts,
}

/// Where owners and metadata of instances come from.
#[derive(Clone, Default)]
pub struct Discovery {
    /// The settings.
    pub spec: Arc<DiscoverySpec>,
    /// What Nova's API knows; `None` if it is not asked.
    pub servers: Option<Arc<dyn ServerSource>>,
}

/// The counters of the ledger that polling increments.
#[derive(Debug, Clone, Default)]
pub struct PollCounts {
    /// Samples made.
    pub polled: Arc<AtomicU64>,
    /// Cycles skipped because an earlier one outlasted the interval.
    pub cycles_skipped: Arc<AtomicU64>,
    /// Domains that could not be read, once per cycle.
    pub missing: Arc<AtomicU64>,
    /// Values that libvirt omitted.
    pub absent: Arc<AtomicU64>,
    /// Cycles by interval.
    pub polling: Arc<PollingStats>,
}

/// How often and how long a task polls.
#[derive(Debug, Clone, Copy)]
pub struct PollSchedule {
    /// Cycles after which it ends; `None`: it runs until stopped.
    pub max_cycles: Option<u64>,
    /// Replaces the interval of the sources.
    pub interval: Option<Duration>,
}

/// One interval and the sources that share it.
pub struct PollTask {
    context: PollContext,
    sources: Vec<PolledSource>,
    interval: Duration,
    /// The catalogue meters that any of the sources selects.
    selection: MeterSelection,
    meters: Meters,
    domains: DomainInventory,
    reader: DomainReader,
    gaps: GapTracker,
}

/// A source and the meters it selects.
struct PolledSource {
    name: Arc<str>,
    filter: MeterFilter,
    /// By index in [`Meters::all`]. Raw meters appear later: see
    /// [`PolledSource::extend_selection`].
    selected: Vec<bool>,
}

impl PolledSource {
    /// Applies the filter to meters that were added since the last call.
    fn extend_selection(&mut self, meters: &Meters) {
        for meter in self.selected.len()..meters.all().len() {
            self.selected.push(meters.selects_raw(&self.filter, meter));
        }
    }
}

impl PollTask {
    /// A task for sources of one interval.
    pub fn new(context: PollContext, interval: Duration, sources: &[SourceSpec]) -> Self {
        let meters = Meters::new(context.metering);
        let mut selection = MeterSelection::default();
        let polled = sources.iter().map(|spec| {
            let own = match spec.polls_instances() {
                true => meters.select(&spec.meters),
                false => MeterSelection::default(),
            };
            selection = std::mem::take(&mut selection).union(&own);
            let selected = (0..meters.all().len()).map(|meter| own.contains(meter)).collect();
            let name = Arc::clone(&spec.name);
            PolledSource { name, filter: spec.meters.clone(), selected }
        });
        let sources = polled.collect();
        let domains = DomainInventory::new(context.clone());
        let reader = DomainReader::new(context.clone());
        let paced = context.hypervisor.pace() == Pace::Clock;
        let gaps = GapTracker::new(paced.then_some(interval));
        Self { context, sources, interval, selection, meters, domains, reader, gaps }
    }

    /// Polls until `stop` becomes true, the schedule ends, or a recording ends. A cycle in progress
    /// is completed and its batches are sent.
    ///
    /// # Errors
    /// The hypervisor cannot be read at all, see [`PollContext::fail_fast`].
    pub async fn run(
        mut self,
        schedule: PollSchedule,
        mut stop: watch::Receiver<bool>,
        out: mpsc::Sender<Polled>,
    ) -> Result<(), HypervisorError> {
        let interval = schedule.interval.unwrap_or(self.interval);
        let mut ticker = Ticker::new(interval, interval.mul_f64(self.context.phase));
        let recorded = self.context.hypervisor.pace() == Pace::Recorded;
        let mut lifecycle_events = match schedule.max_cycles {
            None => self.context.hypervisor.events(),
            Some(_) => None,
        };
        let mut done = 0;
        while schedule.max_cycles.is_none_or(|max| done < max) {
            if !recorded {
                tokio::select! {
                    biased;
                    () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
                    tick = ticker.tick() => self.count_skipped(tick.skipped),
                    (event, at) = lifecycle::next_event(&mut lifecycle_events) => {
                        for one in self.handle_event(event, at).await {
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
                events::poll::recording_finished();
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

    /// Runs one polling cycle. Returns a batch for every source, empty ones included: transformers
    /// flush on each cycle. `None` at the end of a recording.
    ///
    /// # Errors
    /// The hypervisor cannot be read at all, see [`PollContext::fail_fast`].
    pub async fn cycle(&mut self) -> Result<Option<Vec<Polled>>, HypervisorError> {
        let started = Instant::now();
        let Some(cycle) = self.context.hypervisor.begin_cycle().await? else { return Ok(None) };
        let list = self.domains.list().await?;
        let existing: HashSet<Uuid> = list.domains.iter().map(|domain| domain.uuid).collect();
        self.meters.retain(|uuid| existing.contains(&uuid));
        self.gaps.retain(|uuid| existing.contains(&uuid));
        let last_polled = self.take_last_polled();
        let mut missing: Vec<MissingPeriod> =
            self.gaps.begin_cycle(cycle, last_polled).into_iter().collect();
        let CycleReadings { readings, missing: unread } =
            self.reader.read(&list.domains, self.selection.groups()).await;
        missing.extend(
            unread.iter().map(|(one, reason)| self.gaps.record_missing(cycle, one, *reason)),
        );
        let mut measured = Vec::new();
        let mut measurements: Vec<(Moment, Measurement)> = Vec::new();
        let mut absent = 0;
        for (domain, reading) in &readings {
            let state = reading.state.unwrap_or(DomainState::NoState);
            let resources = self.domains.resources_of(domain, state);
            absent += self.meters.measure(reading, resources, &self.selection, &mut measured);
            let changed = reading.is_shut_off() || meters::devices_differ(reading, domain);
            let meters = measured.iter().map(|one| one.meter).collect();
            let taken = reading.taken.wall;
            let lacking = self.domains.lacks_metadata(domain);
            let uncounted = meters::without_statistics(reading, domain, &self.selection);
            let observed = DomainObservation { domain, taken, meters, changed, lacking, uncounted };
            missing.extend(self.gaps.record_reading(observed));
            measurements.extend(measured.drain(..).map(|one| (reading.taken, one)));
            if meters::devices_differ(reading, domain) {
                self.context.hypervisor.invalidate_description(domain.uuid);
            }
        }
        // Meter by meter, as Ceilometer's pollsters did; within a meter in the order of the
        // domains.
        measurements.sort_by_key(|(_, one)| one.meter);
        for source in &mut self.sources {
            source.extend_selection(&self.meters);
        }
        let mut polled = self.batches(cycle, &measurements, &list.removed);
        self.report_gaps(cycle, &missing, &mut polled);
        let samples = polled.iter().map(|one| one.batch.samples.len()).sum::<usize>();
        self.context.counts.absent.fetch_add(absent, Relaxed);
        self.context.counts.polled.fetch_add(samples as u64, Relaxed);
        let took = started.elapsed();
        let domains = domain_states(&list.domains, &unread, &missing);
        self.context.counts.polling.add_cycle(self.interval, CycleSummary { took, domains });
        events::poll::cycle_finished(list.domains.len(), readings.len(), samples, took);
        Ok(Some(polled))
    }

    /// Takes the time of the last cycle of this task's sources in an earlier run.
    fn take_last_polled(&self) -> Option<Timestamp> {
        let mut last = self.context.last_polled.lock().unwrap_or_else(PoisonError::into_inner);
        self.sources.iter().filter_map(|source| last.remove(&source.name)).max()
    }

    /// Attaches gaps to the batches, and adds gap samples for sources that select that meter.
    fn report_gaps(&mut self, cycle: Moment, missing: &[MissingPeriod], polled: &mut [Polled]) {
        if missing.is_empty() {
            return;
        }
        let samples: Vec<Sample> =
            missing.iter().map(|one| self.domains.gap_sample(cycle, one)).collect();
        for (source, polled) in self.sources.iter().zip(polled) {
            polled.gaps = missing.iter().filter_map(|one| self.gap(source, one)).collect();
            if source.filter.names(gaps::PREFIX, gaps::METER) {
                let mut batch = Batch::clone(&polled.batch);
                batch.samples.extend(samples.iter().cloned().map(|sample| {
                    let words = [&*source.name, &sample.resource.id, gaps::METER];
                    // Gaps of two reasons may end at the same time: the gap's id differs.
                    let id = sample.id.to_string();
                    let words = [&words[..], &[&id]].concat();
                    Sample { id: self.context.host_id.name(&words, &[]), ..sample }
                }));
                polled.batch = Arc::new(batch);
            }
        }
    }

    /// The gap of one source; `None` if none of its meters is missing.
    fn gap(&self, source: &PolledSource, missing: &MissingPeriod) -> Option<Gap> {
        let meters = match &missing.meters {
            None => source.filter.texts(),
            Some(meters) => {
                let selected = meters.iter().filter(|meter| source.selected[**meter]);
                selected.map(|meter| self.meters.all()[*meter].name.to_string()).collect()
            }
        };
        let resource = missing.domain.as_ref().map_or("*".to_owned(), |one| one.uuid.to_string());
        (!meters.is_empty()).then(|| Gap {
            resource,
            source: source.name.to_string(),
            meters,
            begin: missing.begin,
            until: missing.until,
            reason: missing.reason,
        })
    }

    /// One batch per source, with the measurements it selects.
    fn batches(
        &self,
        cycle: Moment,
        measurements: &[(Moment, Measurement)],
        removed: &[Arc<str>],
    ) -> Vec<Polled> {
        let sample = |source: &PolledSource, taken: Moment, measured: &Measurement| {
            let meter = Arc::clone(&self.meters.all()[measured.meter]);
            let resource = Arc::clone(&measured.resource);
            let id =
                self.context.host_id.polled(&source.name, &resource.id, &meter.name, taken.wall);
            Sample { id, meter, resource, volume: measured.volume, taken }
        };
        self.sources
            .iter()
            .map(|source| {
                let samples = measurements
                    .iter()
                    .filter(|(_, one)| source.selected[one.meter])
                    .map(|(taken, one)| sample(source, *taken, one))
                    .collect();
                let name = Arc::clone(&source.name);
                let removed = removed.to_vec();
                let batch = Batch { source: name, cycle_start: cycle, samples, removed };
                Polled { batch: Arc::new(batch), whole: true, gaps: Vec::new() }
            })
            .collect()
    }
}

/// The domains of a cycle by state: `healthy`, or the reason why values are missing.
fn domain_states(
    domains: &[Arc<Domain>],
    unread: &[(Arc<Domain>, GapReason)],
    missing: &[MissingPeriod],
) -> BTreeMap<&'static str, u64> {
    // Other periods may be reported after they have ended.
    let partial = missing.iter().filter(|one| one.reason == GapReason::Partial);
    let partial = partial.filter_map(|one| Some((one.domain.as_ref()?.uuid, one.reason)));
    let unread = unread.iter().map(|(domain, reason)| (domain.uuid, *reason));
    let unhealthy: HashMap<Uuid, GapReason> = partial.chain(unread).collect();
    let mut states = BTreeMap::from([("healthy", 0)]);
    for domain in domains {
        let state = unhealthy.get(&domain.uuid).map_or("healthy", |reason| reason.as_str());
        *states.entry(state).or_default() += 1;
    }
    states
}

/// Groups sources by interval, in the order of their first appearance. A recording has its own
/// cycles: all sources are one group.
pub fn group_by_interval(sources: &[SourceSpec], pace: Pace) -> Vec<(Duration, Vec<SourceSpec>)> {
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
