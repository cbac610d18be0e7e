//! Domains of a libvirt driver, at any libvirt URI.
//!
//! Owns the caches of the list and of the descriptions, and which domains did not answer. A hung
//! guest never blocks the others: what may hang runs in `calls`, with a deadline.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::calls::{CallError, Calls};
use super::descriptions::Descriptions;
use super::jobs::may_migrate;
use super::list_cache::ListCache;
use super::watch::EventWatcher;
use super::{CallStats, Hypervisor, HypervisorError, ReadError};
use crate::libvirt::{Connection, MonitorState, VirtError};
use crate::schedule::Clock;
use nephometer_config::LibvirtSpec;
use nephometer_model::{Domain, DomainEvent, Groups, Moment, Reading};
use nephometer_telemetry::events::hypervisor as events;

/// Domains per bulk call. libvirt takes about 6.5 ms for each, one after the other: a slice stays
/// far below its deadline, and few domains share a call with one that does not answer.
const SLICE: usize = 25;
/// Descriptions per call. Each takes libvirt less than a tenth of that time.
const XML_SLICE: usize = 250;
/// A monitor occupied for this fraction of the deadline is what blocked a call. One that is
/// occupied for less is in normal use.
const STUCK_DIVISOR: u32 = 4;

/// Reads domains through libvirt.
pub(super) struct Libvirt {
    calls: Calls,
    clock: Clock,
    stuck_after: Duration,
    descriptions: Descriptions,
    /// Domains that did not answer. Their monitor is checked before they are read again.
    suspects: Mutex<HashSet<Uuid>>,
    uri: String,
    /// Whether events are enabled in the configuration.
    events: bool,
    /// Started by the first subscriber.
    watcher: OnceLock<EventWatcher>,
    /// The list of domains.
    list_cache: ListCache,
}

impl Libvirt {
    /// Connects on first use only.
    pub(super) fn new(uri: &str, spec: &LibvirtSpec, clock: Clock) -> Self {
        Self {
            calls: Calls::new(uri.to_owned(), spec.deadline),
            clock,
            stuck_after: spec.deadline / STUCK_DIVISOR,
            descriptions: Descriptions::default(),
            suspects: Mutex::default(),
            uri: uri.to_owned(),
            events: spec.events,
            watcher: OnceLock::new(),
            list_cache: ListCache::default(),
        }
    }

    /// All domains, from the cache unless an event has invalidated it.
    async fn list(&self) -> Result<Vec<(Uuid, String)>, CallError> {
        let list_revision = self.watcher.get().and_then(EventWatcher::list_revision);
        if let Some(listed) = list_revision.and_then(|revision| self.list_cache.get(revision)) {
            return Ok(listed);
        }
        let listed =
            self.calls.without_monitor("list of domains", |connection| connection.list()).await?;
        if let Some(list_revision) = list_revision {
            self.list_cache.put(list_revision, &listed);
        }
        Ok(listed)
    }

    /// Reads the XML of new domains and of those whose description is out of date.
    async fn read_descriptions(&self, outdated: &[(Uuid, String)]) -> Result<(), CallError> {
        for slice in outdated.chunks(XML_SLICE) {
            let uuids: Vec<Uuid> = slice.iter().map(|(uuid, _)| *uuid).collect();
            let call = move |connection: &mut Connection| {
                Ok(uuids.iter().map(|uuid| connection.xml(*uuid)).collect::<Vec<_>>())
            };
            let answers = self.calls.without_monitor("domain XML", call).await?;
            let now = self.clock.now();
            for ((uuid, name), answer) in slice.iter().zip(answers) {
                match answer {
                    Ok(xml) => self.descriptions.update(*uuid, &xml, now),
                    // Removed since it was listed.
                    Err(VirtError::NoDomain) => {}
                    Err(error) => self.descriptions.record_failure(*uuid, name, &error),
                }
            }
        }
        Ok(())
    }

    /// How long the monitor of each domain has been occupied; `None` if it is free.
    async fn occupied(&self, uuids: Vec<Uuid>) -> Result<Vec<Option<Duration>>, CallError> {
        let call = move |connection: &mut Connection| {
            Ok(uuids.iter().map(|uuid| monitor_occupied_for(connection, *uuid)).collect())
        };
        self.calls.without_monitor("control info", call).await
    }

    /// Indices of the suspects whose monitor is still occupied. Clears the others.
    async fn still_stuck(&self, domains: &[Arc<Domain>]) -> Result<HashSet<usize>, CallError> {
        let suspects: Vec<usize> = {
            let suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
            (0..domains.len()).filter(|at| suspects.contains(&domains[*at].uuid)).collect()
        };
        if suspects.is_empty() {
            return Ok(HashSet::new());
        }
        let uuids = suspects.iter().map(|at| domains[*at].uuid).collect();
        let answers = self.occupied(uuids).await?;
        let mut stuck = HashSet::new();
        for (at, occupied) in suspects.into_iter().zip(answers) {
            if occupied.is_some() {
                stuck.insert(at);
            } else {
                self.set_suspect(domains[at].uuid, false);
            }
        }
        Ok(stuck)
    }

    /// Classifies the domains of an abandoned call: which were stuck, and which only shared the
    /// call.
    async fn classify_timeout(&self, domains: &[Arc<Domain>]) -> Vec<Result<Reading, ReadError>> {
        let uuids = domains.iter().map(|domain| domain.uuid).collect();
        let answers = match self.occupied(uuids).await {
            Ok(answers) => answers,
            // All of libvirtd hangs, so no domain is the cause.
            Err(_) => vec![None; domains.len()],
        };
        let classify = |(domain, occupied): (&Arc<Domain>, Option<Duration>)| match occupied {
            Some(time) if time >= self.stuck_after => {
                let for_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                events::domain_stuck(domain.uuid, &domain.name, for_ms);
                self.set_suspect(domain.uuid, true);
                Err(ReadError::Stuck)
            }
            _ => Err(ReadError::SharedTimeout),
        };
        domains.iter().zip(answers).map(classify).collect()
    }

    fn set_suspect(&self, uuid: Uuid, suspect: bool) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        if suspect {
            suspects.insert(uuid);
        } else {
            suspects.remove(&uuid);
        }
    }

    /// Adds the progress of migrations. Domains that do not migrate are not asked: the call waits for
    /// the domain's monitor.
    async fn add_jobs(&self, answers: &mut [Result<Reading, ReadError>]) {
        let watcher = self.watcher.get();
        let known = |uuid| watcher.is_some_and(|watcher| watcher.migrates(uuid));
        let migrating: Vec<&mut Reading> = answers
            .iter_mut()
            .filter_map(|answer| answer.as_mut().ok())
            .filter(|reading| known(reading.uuid) || may_migrate(reading))
            .collect();
        if migrating.is_empty() {
            return;
        }
        let uuids: Vec<Uuid> = migrating.iter().map(|reading| reading.uuid).collect();
        let call = move |connection: &mut Connection| {
            Ok(uuids.iter().map(|uuid| connection.job(*uuid).ok()).collect::<Vec<_>>())
        };
        let Some(permit) = self.calls.monitor_permit().await else { return };
        let jobs = self.calls.with_monitor("job statistics", permit, call).await;
        let mut jobs = jobs.unwrap_or_default().into_iter();
        for reading in migrating {
            match jobs.next().flatten() {
                Some(numbers) if !numbers.is_empty() => reading.raw.extend(numbers),
                // Without a job, or without an answer. The next iteration is another reason to ask.
                _ => {
                    if let Some(watcher) = watcher {
                        watcher.migration_ended(reading.uuid);
                    }
                }
            }
        }
    }

    async fn read_slice(
        &self,
        domains: &[Arc<Domain>],
        groups: Groups,
    ) -> Vec<Result<Reading, ReadError>> {
        if domains.is_empty() {
            return Vec::new();
        }
        let clock = self.clock;
        let slice = domains.to_vec();
        let read = move |groups| {
            move |connection: &mut Connection| connection.read(&slice, groups, &|| clock.now())
        };
        let answer = match self.calls.monitor_permit().await {
            Some(permit) => self.calls.with_monitor("statistics", permit, read(groups)).await,
            None => self.calls.without_monitor("statistics", read(groups.without_monitor())).await,
        };
        match answer {
            Ok(answers) => answers.into_iter().map(|one| one.map_err(ReadError::from)).collect(),
            Err(CallError::TimeOut(_)) => self.classify_timeout(domains).await,
            Err(error) => all_failed(domains.len(), &error),
        }
    }
}

#[async_trait]
impl Hypervisor for Libvirt {
    async fn begin_cycle(&self) -> Result<Option<Moment>, HypervisorError> {
        Ok(Some(self.clock.now()))
    }

    async fn domains(&self) -> Result<Vec<Arc<Domain>>, HypervisorError> {
        let listed = self.list().await?;
        self.suspects
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|suspect| listed.iter().any(|(uuid, _)| uuid == suspect));
        let outdated = self.descriptions.outdated(&listed, self.clock.now());
        self.read_descriptions(&outdated).await?;
        Ok(self.descriptions.lookup(&listed))
    }

    async fn read(
        &self,
        domains: &[Arc<Domain>],
        groups: Groups,
    ) -> Vec<Result<Reading, ReadError>> {
        let stuck = match self.still_stuck(domains).await {
            Ok(stuck) => stuck,
            Err(error) => return all_failed(domains.len(), &error),
        };
        let ask = domains.iter().enumerate().filter(|(at, _)| !stuck.contains(at));
        let ask: Vec<Arc<Domain>> = ask.map(|(_, domain)| Arc::clone(domain)).collect();
        let mut answers = self.read_slice(&ask, groups).await;
        if groups.contains(Groups::JOB) {
            self.add_jobs(&mut answers).await;
        }
        let mut answers = answers.into_iter();
        let missing =
            || ReadError::Failed("libvirt returned fewer readings than domains".to_owned());
        (0..domains.len())
            .map(|at| match stuck.contains(&at) {
                true => Err(ReadError::Stuck),
                false => answers.next().unwrap_or_else(|| Err(missing())),
            })
            .collect()
    }

    async fn probe(&self, domain: &Domain) -> bool {
        let answers = self.occupied(vec![domain.uuid]).await;
        let free = matches!(answers.as_deref(), Ok([None]));
        if free {
            self.set_suspect(domain.uuid, false);
        }
        free
    }

    fn events(&self) -> Option<broadcast::Receiver<(DomainEvent, Moment)>> {
        let watcher = || EventWatcher::start(&self.uri, self.clock);
        self.events.then(|| self.watcher.get_or_init(watcher).subscribe())
    }

    fn call_stats(&self) -> Option<CallStats> {
        Some(self.calls.stats())
    }

    fn invalidate_description(&self, uuid: Uuid) {
        self.descriptions.mark_stale(uuid);
    }

    fn slice_size(&self) -> usize {
        SLICE
    }
}

impl From<VirtError> for ReadError {
    fn from(error: VirtError) -> Self {
        match error {
            VirtError::NoDomain => Self::Removed,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// How long a monitor has been occupied. `None` as well if the domain does not run, was removed, or
/// if its driver has no monitors.
fn monitor_occupied_for(connection: &mut Connection, uuid: Uuid) -> Option<Duration> {
    match connection.monitor_state(uuid) {
        Ok(MonitorState::Occupied { for_ms }) => Some(Duration::from_millis(for_ms)),
        Ok(MonitorState::Free) | Err(_) => None,
    }
}

fn all_failed(count: usize, error: &CallError) -> Vec<Result<Reading, ReadError>> {
    (0..count).map(|_| Err(ReadError::Failed(error.to_string()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(uri: &str) -> Libvirt {
        let spec = LibvirtSpec {
            uri: uri.to_owned(),
            deadline: Duration::from_secs(20),
            parallel: 2,
            unowned: true,
            events: true,
        };
        Libvirt::new(uri, &spec, Clock::start())
    }

    #[tokio::test]
    async fn reads_a_driver_without_bulk_statistics() {
        let libvirt = open("test:///default");
        let domains = libvirt.domains().await.unwrap();
        assert_eq!(domains.len(), 1);
        assert!(Arc::ptr_eq(&domains[0], &libvirt.domains().await.unwrap()[0]), "read once");
        let removed = Arc::new(Domain { uuid: Uuid::from_u128(1), ..Domain::clone(&domains[0]) });
        let groups = Groups::CPU.union(Groups::BALLOON);
        let start = libvirt.begin_cycle().await.unwrap().unwrap();
        let answers = libvirt.read(&[removed, Arc::clone(&domains[0])], groups).await;
        let [Err(ReadError::Removed), Ok(reading)] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(reading.uuid, domains[0].uuid);
        assert_eq!(reading.state, Some(nephometer_model::DomainState::Running));
        assert!(reading.cpu_time.is_some() && reading.memory.actual.is_some());
        assert_eq!(reading.vcpu_current, domains[0].vcpus);
        assert!(reading.taken.monotonic >= start.monotonic);
        assert!(libvirt.probe(&domains[0]).await);
    }

    #[tokio::test]
    async fn opens_without_a_running_libvirtd() {
        let libvirt = open("qemu+unix:///system?socket=/nowhere/libvirt-sock");
        let error = libvirt.domains().await.unwrap_err().to_string();
        assert!(
            error.starts_with("libvirt: ") && error.contains("/nowhere/libvirt-sock"),
            "{error}"
        );
        let unknown = open("quemu:///system").domains().await.unwrap_err();
        assert!(matches!(unknown, HypervisorError::Libvirt(_)), "{unknown}");
    }
}
