//! `sim://?domains=N&seed=S`: plausible moving domains, without any hypervisor.
//!
//! Everything is a function of the seed and of the time since the start: each domain occupies a
//! slot, some slots are vacated and taken again by another domain now and then, and some domains
//! reboot, which sets their counters to 0. The shape of the numbers is in [`model`].

mod model;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use uuid::Uuid;

use self::model::{Slot, World};
use super::{Hypervisor, HypervisorError, ReadError};
use crate::schedule::Clock;
use nephometer_model::{Domain, Groups, Moment, Reading};

/// More would only be a mistake: a tick of these takes seconds.
const MAX_DOMAINS: u32 = 100_000;
/// Reading costs nothing, so that a slice bounds only how long a thread is kept.
const SLICE: usize = 1_000;

/// Simulated domains.
pub(super) struct Sim {
    clock: Clock,
    start: u64,
    world: World,
    /// By slot.
    known: Mutex<Vec<Option<KnownDomain>>>,
}

/// The life that a slot is in, and the description of who leads it.
type KnownDomain = (u16, Arc<Domain>);

impl Sim {
    /// Begins now.
    pub(super) fn open(uri: &str, clock: Clock) -> Result<Self, HypervisorError> {
        let (domains, seed) =
            query(uri).map_err(|reason| HypervisorError::Uri { uri: uri.to_owned(), reason })?;
        let start = clock.now().monotonic.unwrap_or(0);
        Ok(Self { clock, start, world: World::new(domains, seed), known: Mutex::default() })
    }

    /// Seconds since the start, and the clocks.
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
                Some((life, domain)) if *life == tenant.life => Arc::clone(domain),
                _ => Arc::new(self.world.describe(&tenant)),
            };
            *entry = Some((tenant.life, Arc::clone(&domain)));
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
        let one = |domain: &Arc<Domain>| {
            let (slot, life) = Slot::of(domain.uuid);
            let tenant = self.world.tenant(slot, seconds).filter(|tenant| tenant.life == life);
            let tenant = tenant.ok_or(ReadError::Gone)?;
            Ok(Reading { taken, ..self.world.read(&tenant, domain, seconds) })
        };
        domains.iter().map(one).collect()
    }

    async fn probe(&self, _domain: &Domain) -> bool {
        true
    }

    /// A description depends on the domain alone.
    fn forget(&self, _uuid: Uuid) {}

    fn slice(&self) -> usize {
        SLICE
    }
}

/// Number of domains and seed.
fn query(uri: &str) -> Result<(u32, u64), String> {
    const FORM: &str = "write it like sim://?domains=10&seed=1";
    let rest = uri.strip_prefix("sim://").ok_or(FORM)?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !matches!(path, "" | "/") {
        return Err(format!("{path:?} means nothing here; {FORM}"));
    }
    let (mut domains, mut seed) = (10, 1);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "domains" => {
                domains = value
                    .parse()
                    .ok()
                    .filter(|count| (1..=MAX_DOMAINS).contains(count))
                    .ok_or_else(|| {
                        format!("domains is {value:?}; it is a number from 1 to {MAX_DOMAINS}")
                    })?;
            }
            "seed" => {
                seed = value
                    .parse()
                    .map_err(|_| format!("seed is {value:?}; it is a whole number from 0"))?;
            }
            other => return Err(format!("{other:?} is unknown; there are domains and seed")),
        }
    }
    Ok((domains, seed))
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
            assert_eq!(query(uri), Ok(expected), "{uri}");
        }
        for (uri, part) in [
            ("sim:", "sim://?domains=10&seed=1"),
            ("sim://host", "\"host\" means nothing"),
            ("sim://?domains=0", "a number from 1 to 100000"),
            ("sim://?domains", "domains is \"\""),
            ("sim://?seed=-1", "seed is \"-1\""),
            ("sim://?domain=1", "\"domain\" is unknown"),
        ] {
            let reason = query(uri).unwrap_err();
            assert!(reason.contains(part), "{uri}: {reason}");
        }
    }

    #[tokio::test]
    async fn reads_what_it_lists_and_says_what_is_gone() {
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
        assert!(matches!(answers[..], [Err(ReadError::Gone)]));
    }
}
