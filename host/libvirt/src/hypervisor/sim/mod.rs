//! `sim://?domains=N&seed=S`: simulated domains with plausible numbers, without any hypervisor. With
//! `&stuck=/FILE`, domains whose names stand in that file do not answer.
//!
//! Everything is a function of the seed and of the time since the start. Each domain occupies a
//! slot. Some slots are vacated now and then and later taken by another domain; some domains
//! reboot, which resets their counters to 0. [`model`] computes the numbers.

mod model;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use uuid::Uuid;

use self::model::{Slot, World};
use super::{Hypervisor, HypervisorError, ReadError};
use crate::schedule::Clock;
use nephometer_model::{Domain, Groups, Moment, Reading};

/// Upper limit of `domains`. A cycle of this many takes seconds; more is a mistake.
const MAX_DOMAINS: u32 = 100_000;
/// Domains per read. Reading is cheap; a slice only bounds how long a thread is occupied.
const SLICE: usize = 1_000;

/// Simulated domains.
pub(super) struct Sim {
    clock: Clock,
    start: u64,
    world: World,
    stuck: Option<PathBuf>,
    /// By slot.
    known: Mutex<Vec<Option<KnownDomain>>>,
}

/// The number of the tenant of a slot, and its description.
type KnownDomain = (u16, Arc<Domain>);

impl Sim {
    /// Starts a simulation now.
    pub(super) fn open(uri: &str, clock: Clock) -> Result<Self, HypervisorError> {
        let SimUri { domains, seed, stuck } = parse_uri(uri)
            .map_err(|reason| HypervisorError::Uri { uri: uri.to_owned(), reason })?;
        let start = clock.now().monotonic.unwrap_or(0);
        let world = World::new(domains, seed);
        Ok(Self { clock, start, world, stuck, known: Mutex::default() })
    }

    /// The names of domains that do not answer, one a line. Without the file all do.
    fn stuck_names(&self) -> String {
        let Some(file) = &self.stuck else { return String::new() };
        std::fs::read_to_string(file).unwrap_or_default()
    }

    /// Seconds since the start, and the time.
    #[expect(clippy::cast_precision_loss, reason = "a double holds 100 days in ns exactly")]
    fn now(&self) -> (f64, Moment) {
        let now = self.clock.now();
        let nanos = now.monotonic.unwrap_or(0).saturating_sub(self.start);
        (nanos as f64 / 1e9, now)
    }
}

#[async_trait]
impl Hypervisor for Sim {
    async fn begin_cycle(&self) -> Result<Option<Moment>, HypervisorError> {
        Ok(Some(self.clock.now()))
    }

    async fn domains(&self) -> Result<Vec<Arc<Domain>>, HypervisorError> {
        let (seconds, _) = self.now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.resize(self.world.slots(), None);
        let mut domains = Vec::with_capacity(known.len());
        for (slot, entry) in (0..).zip(known.iter_mut()) {
            let Some(tenant) = self.world.tenant(slot, seconds) else {
                *entry = None;
                continue;
            };
            let domain = match entry {
                Some((tenant_number, domain)) if *tenant_number == tenant.number => {
                    Arc::clone(domain)
                }
                _ => Arc::new(self.world.describe(&tenant)),
            };
            *entry = Some((tenant.number, Arc::clone(&domain)));
            domains.push(domain);
        }
        Ok(domains)
    }

    async fn read(
        &self,
        domains: &[Arc<Domain>],
        _groups: Groups,
    ) -> Vec<Result<Reading, ReadError>> {
        let (seconds, taken) = self.now();
        let stuck = self.stuck_names();
        let one = |domain: &Arc<Domain>| {
            if stuck.lines().any(|line| is_named(domain, line.trim())) {
                return Err(ReadError::Stuck);
            }
            let (slot, tenant_number) = Slot::of(domain.uuid);
            let tenant =
                self.world.tenant(slot, seconds).filter(|tenant| tenant.number == tenant_number);
            let tenant = tenant.ok_or(ReadError::Removed)?;
            Ok(Reading { taken, ..self.world.read(&tenant, domain, seconds) })
        };
        domains.iter().map(one).collect()
    }

    async fn probe(&self, domain: &Domain) -> bool {
        !self.stuck_names().lines().any(|line| is_named(domain, line.trim()))
    }

    /// Descriptions never change.
    fn invalidate_description(&self, _uuid: Uuid) {}

    fn slice_size(&self) -> usize {
        SLICE
    }
}

/// Whether a line of the list of stuck domains means this one: by the name that its owner gave it, or by
/// its id.
fn is_named(domain: &Domain, line: &str) -> bool {
    let given = domain.nova.as_ref().map(|nova| nova.name.as_str());
    !line.is_empty() && (given == Some(line) || domain.uuid.to_string() == line)
}

/// The parts of a URI.
#[derive(Debug, PartialEq, Eq)]
struct SimUri {
    domains: u32,
    seed: u64,
    /// A file with the names of domains that do not answer.
    stuck: Option<PathBuf>,
}

fn parse_uri(uri: &str) -> Result<SimUri, String> {
    const EXPECTED: &str = "expected a URI like sim://?domains=10&seed=1";
    let rest = uri.strip_prefix("sim://").ok_or(EXPECTED)?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !matches!(path, "" | "/") {
        return Err(format!("unexpected {path:?}; {EXPECTED}"));
    }
    let (mut domains, mut seed, mut stuck) = (10, 1, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "domains" => {
                domains = value
                    .parse()
                    .ok()
                    .filter(|count| (1..=MAX_DOMAINS).contains(count))
                    .ok_or_else(|| {
                        format!("domains is {value:?}; expected a number from 1 to {MAX_DOMAINS}")
                    })?;
            }
            "seed" => {
                seed = value
                    .parse()
                    .map_err(|_| format!("seed is {value:?}; expected a whole number >= 0"))?;
            }
            "stuck" if value.starts_with('/') => stuck = Some(PathBuf::from(value)),
            "stuck" => return Err(format!("stuck is {value:?}; expected the path of a file")),
            other => {
                return Err(format!("unknown option {other:?}; expected domains, seed or stuck"));
            }
        }
    }
    Ok(SimUri { domains, seed, stuck })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_optional_and_checked() {
        for (uri, expected) in [
            ("sim://", (10, 1)),
            ("sim:///", (10, 1)),
            ("sim://?domains=3", (3, 1)),
            ("sim://?seed=7&domains=5000", (5000, 7)),
        ] {
            let (domains, seed) = expected;
            assert_eq!(parse_uri(uri), Ok(SimUri { domains, seed, stuck: None }), "{uri}");
        }
        for (uri, part) in [
            ("sim:", "sim://?domains=10&seed=1"),
            ("sim://host", "unexpected \"host\""),
            ("sim://?domains=0", "a number from 1 to 100000"),
            ("sim://?domains", "domains is \"\""),
            ("sim://?seed=-1", "seed is \"-1\""),
            ("sim://?stuck=here", "the path of a file"),
            ("sim://?domain=1", "unknown option \"domain\""),
        ] {
            let reason = parse_uri(uri).unwrap_err();
            assert!(reason.contains(part), "{uri}: {reason}");
        }
    }

    #[tokio::test]
    async fn reads_listed_domains_and_reports_removed_ones() {
        let sim = Sim::open("sim://?domains=50", Clock::start()).unwrap();
        let domains = sim.domains().await.unwrap();
        assert_eq!(domains.len(), 50);
        assert!(Arc::ptr_eq(&domains[7], &sim.domains().await.unwrap()[7]));
        let readings = sim.read(&domains, Groups::default()).await;
        for (domain, reading) in domains.iter().zip(readings) {
            assert_eq!(reading.unwrap().uuid, domain.uuid);
        }
        let mut former = Domain::clone(&domains[0]);
        former.uuid = Slot::uuid(1, 0, 999);
        let answers = sim.read(&[Arc::new(former)], Groups::default()).await;
        assert!(matches!(answers[..], [Err(ReadError::Removed)]));
    }
}
