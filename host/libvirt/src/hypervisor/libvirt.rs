//! Any libvirt URI.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::calls::{CallError, Calls};
use super::descriptions::Descriptions;
use super::listing::Listing;
use super::watch::Watcher;
use super::{Hypervisor, HypervisorError, Load, ReadError};
use crate::libvirt::{Connection, Control, VirtError};
use crate::schedule::Clock;
use nephometer_config::LibvirtSpec;
use nephometer_model::{Domain, DomainEvent, Groups, Moment, Reading};
use nephometer_telemetry::events::hypervisor as events;

/// Domains per bulk call. libvirt needs about 6.5 ms for each, one after the other, so that a
/// slice is far from its deadline, and few wait with one that does not answer.
const SLICE: usize = 25;
/// Descriptions per call: XML takes libvirt less than a tenth of that.
const XML_SLICE: usize = 250;
/// Part of the deadline that a monitor must have been occupied for to be what held up a call.
/// Others are passing through theirs.
const STUCK_PART: u32 = 4;

/// Reads domains through libvirt.
pub(super) struct Libvirt {
    calls: Calls,
    clock: Clock,
    stuck_after: Duration,
    descriptions: Descriptions,
    /// Domains that did not answer. Their control info is asked before they are read again.
    suspects: Mutex<HashSet<Uuid>>,
    uri: String,
    /// Whether it may be asked what happens.
    events: bool,
    /// From when on somebody wants to know it.
    watcher: OnceLock<Watcher>,
    /// The domains as they were listed last.
    listing: Listing,
}

impl Libvirt {
    /// Connects when it is first used.
    pub(super) fn new(uri: &str, spec: &LibvirtSpec, clock: Clock) -> Self {
        Self {
            calls: Calls::new(uri.to_owned(), spec.deadline),
            clock,
            stuck_after: spec.deadline / STUCK_PART,
            descriptions: Descriptions::default(),
            suspects: Mutex::default(),
            uri: uri.to_owned(),
            events: spec.events,
            watcher: OnceLock::new(),
            listing: Listing::default(),
        }
    }

    /// All domains. They are not listed anew as long as libvirtd would have told that one has come or
    /// gone.
    async fn list(&self) -> Result<Vec<(Uuid, String)>, CallError> {
        let moves = self.watcher.get().and_then(Watcher::moves);
        if let Some(listed) = moves.and_then(|moves| self.listing.since(moves)) {
            return Ok(listed);
        }
        let listed = self.calls.plain("list of domains", |connection| connection.list()).await?;
        if let Some(moves) = moves {
            self.listing.put(moves, &listed);
        }
        Ok(listed)
    }

    /// Reads the XML of domains that are not known or not any more.
    async fn read_descriptions(&self, outdated: &[(Uuid, String)]) -> Result<(), CallError> {
        for slice in outdated.chunks(XML_SLICE) {
            let uuids: Vec<Uuid> = slice.iter().map(|(uuid, _)| *uuid).collect();
            let call = move |connection: &mut Connection| {
                Ok(uuids.iter().map(|uuid| connection.xml(*uuid)).collect::<Vec<_>>())
            };
            let answers = self.calls.plain("domain XML", call).await?;
            let now = self.clock.now();
            for ((uuid, name), answer) in slice.iter().zip(answers) {
                match answer {
                    Ok(xml) => self.descriptions.take(*uuid, &xml, now),
                    // It went away since it was listed.
                    Err(VirtError::NoDomain) => {}
                    Err(error) => self.descriptions.fail(*uuid, name, &error),
                }
            }
        }
        Ok(())
    }

    /// Asks libvirtd which of these domains hold up who asks them: for each, how long.
    async fn occupied(&self, uuids: Vec<Uuid>) -> Result<Vec<Option<Duration>>, CallError> {
        let call = move |connection: &mut Connection| {
            Ok(uuids.iter().map(|uuid| occupied_for(connection, *uuid)).collect())
        };
        self.calls.plain("control info", call).await
    }

    /// The positions of those domains that are known not to answer, and still do not.
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
                self.suspect(domains[at].uuid, false);
            }
        }
        Ok(stuck)
    }

    /// After a call that was abandoned: who held it up, and who only shared it.
    async fn name_culprits(&self, domains: &[Arc<Domain>]) -> Vec<Result<Reading, ReadError>> {
        let uuids = domains.iter().map(|domain| domain.uuid).collect();
        let answers = match self.occupied(uuids).await {
            Ok(answers) => answers,
            // All of libvirtd hangs, so nobody can be blamed.
            Err(_) => vec![None; domains.len()],
        };
        let blame = |(domain, occupied): (&Arc<Domain>, Option<Duration>)| match occupied {
            Some(time) if time >= self.stuck_after => {
                let for_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                events::domain_stuck(domain.uuid, &domain.name, for_ms);
                self.suspect(domain.uuid, true);
                Err(ReadError::Stuck)
            }
            _ => Err(ReadError::Unanswered),
        };
        domains.iter().zip(answers).map(blame).collect()
    }

    fn suspect(&self, uuid: Uuid, is: bool) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        if is {
            suspects.insert(uuid);
        } else {
            suspects.remove(&uuid);
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
        let asked = domains.to_vec();
        let read = move |groups| {
            move |connection: &mut Connection| connection.read(&asked, groups, &|| clock.now())
        };
        let answer = match self.calls.monitor_permit().await {
            Some(permit) => self.calls.monitor("statistics", permit, read(groups)).await,
            None => self.calls.plain("statistics", read(groups.without_monitor())).await,
        };
        match answer {
            Ok(answers) => answers.into_iter().map(|one| one.map_err(ReadError::from)).collect(),
            Err(CallError::TimeOut(_)) => self.name_culprits(domains).await,
            Err(error) => fail(domains.len(), &error),
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
        Ok(self.descriptions.known(&listed))
    }

    async fn read(
        &self,
        domains: &[Arc<Domain>],
        groups: Groups,
    ) -> Vec<Result<Reading, ReadError>> {
        let stuck = match self.still_stuck(domains).await {
            Ok(stuck) => stuck,
            Err(error) => return fail(domains.len(), &error),
        };
        let ask = domains.iter().enumerate().filter(|(at, _)| !stuck.contains(at));
        let ask: Vec<Arc<Domain>> = ask.map(|(_, domain)| Arc::clone(domain)).collect();
        let mut answers = self.read_slice(&ask, groups).await.into_iter();
        let missing = || ReadError::Failed("libvirt gave fewer answers than domains".to_owned());
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
            self.suspect(domain.uuid, false);
        }
        free
    }

    fn events(&self) -> Option<broadcast::Receiver<(DomainEvent, Moment)>> {
        let watcher = || Watcher::start(&self.uri, self.clock);
        self.events.then(|| self.watcher.get_or_init(watcher).subscribe())
    }

    fn load(&self) -> Option<Load> {
        Some(self.calls.load())
    }

    fn forget(&self, uuid: Uuid) {
        self.descriptions.forget(uuid);
    }

    fn slice(&self) -> usize {
        SLICE
    }
}

impl From<VirtError> for ReadError {
    fn from(error: VirtError) -> Self {
        match error {
            VirtError::NoDomain => Self::Gone,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// A domain that does not run or is gone holds up nobody; neither does one of a driver that has
/// no monitors.
fn occupied_for(connection: &Connection, uuid: Uuid) -> Option<Duration> {
    match connection.control(uuid) {
        Ok(Control::Occupied { for_ms }) => Some(Duration::from_millis(for_ms)),
        Ok(Control::Free) | Err(_) => None,
    }
}

fn fail(count: usize, error: &CallError) -> Vec<Result<Reading, ReadError>> {
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
        let gone = Arc::new(Domain { uuid: Uuid::from_u128(1), ..Domain::clone(&domains[0]) });
        let groups = Groups::CPU.union(Groups::BALLOON);
        let start = libvirt.begin_cycle().await.unwrap().unwrap();
        let answers = libvirt.read(&[gone, Arc::clone(&domains[0])], groups).await;
        let [Err(ReadError::Gone), Ok(reading)] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(reading.uuid, domains[0].uuid);
        assert_eq!(reading.state, Some(nephometer_model::DomainState::Running));
        assert!(reading.cpu_time.is_some() && reading.memory.actual.is_some());
        assert_eq!(reading.vcpu_current, domains[0].vcpus);
        assert!(reading.taken.monotonic >= start.monotonic);
        assert!(libvirt.probe(&domains[0]).await);
    }

    #[tokio::test]
    async fn starts_while_libvirt_is_away() {
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
