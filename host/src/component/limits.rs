//! What one instance may use, and what it is told when it wants more.
//!
//! Memory, processor time, wall time and the size of what comes back are settings of a component;
//! the rest are constants here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::ResourceLimiter;

use super::engine::TICK;
use super::stats::ComponentCount;
use crate::config::LimitsSpec;

/// Elements of all tables of an instance. The largest tables seen are those of JavaScript guests,
/// with fewer than 10,000.
const TABLE_ELEMENTS: usize = 100_000;
/// Core instances, memories and tables: a guest with an adapter has four, one and two; one with
/// Python in it has 38 instances.
const INSTANCES: usize = 64;
const MEMORIES: usize = 8;
const TABLES: usize = 16;

/// Bytes of a state: of 100,000 series with 500 bytes each.
pub(super) const STATE: usize = 64 << 20;
/// Bytes of an options-schema. It is read anew for every instance.
pub(super) const SCHEMA: usize = 256 << 10;

/// A limit that was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hit {
    Memory,
    TableElements,
    Cpu,
    Wall,
    Returned,
    Parts,
    State,
    Schema,
}

impl Hit {
    /// The words for people, with the key to change: `what` is the component's name.
    /// `wanted` is how much it wanted, where that is known.
    pub(super) fn describe(
        self,
        component: &str,
        limits: &LimitsSpec,
        wanted: Option<u64>,
    ) -> String {
        let key = match self {
            Self::Memory => "memory",
            Self::TableElements => {
                return format!(
                    "it wanted tables of more than {TABLE_ELEMENTS} elements; build it with smaller ones"
                );
            }
            Self::Parts => {
                return format!(
                    "it wanted more than {INSTANCES} core instances, {MEMORIES} memories or \
                     {TABLES} tables; build it of fewer modules"
                );
            }
            Self::State => {
                return format!(
                    "its state has more than {STATE} bytes; let it forget resources that are gone"
                );
            }
            Self::Schema => {
                return format!(
                    "its options-schema has more than {SCHEMA} bytes; an empty one lets the \
                     component check its options itself"
                );
            }
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Returned => "returned",
        };
        let had: &dyn fmt::Display = match self {
            Self::Cpu => &format!("{:?} of processor time in one call", limits.cpu),
            Self::Wall => &format!("{:?} in one call", limits.wall),
            Self::Returned => &format!("{} bytes handed to the host in one call", limits.returned),
            _ => &format!("{} bytes of memory", limits.memory),
        };
        let wanted =
            wanted.map_or("more than".to_owned(), |bytes| format!("{bytes} bytes, more than"));
        format!(
            "it wanted {wanted} {had}; the limit is components.by_name.{component}.limits.{key}"
        )
    }

    /// The limit's name in events.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::TableElements => "table_elements",
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Returned => "returned",
            Self::Parts => "parts",
            Self::State => "state",
            Self::Schema => "options_schema",
        }
    }
}

/// Keeps the account of one instance.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: LimitsSpec,
    memory: u64,
    elements: usize,
    ticks: u32,
    hit: Option<Hit>,
    /// Bytes of memory that were denied.
    denied: u64,
    count: Arc<ComponentCount>,
}

impl Limiter {
    /// `count` gets the memory, for as long as this lives.
    pub(super) fn new(limits: LimitsSpec, count: Arc<ComponentCount>) -> Self {
        Self { limits, memory: 0, elements: 0, ticks: 0, hit: None, denied: 0, count }
    }

    pub(super) fn count(&self) -> &Arc<ComponentCount> {
        &self.count
    }

    pub(super) fn limits(&self) -> &LimitsSpec {
        &self.limits
    }

    /// A call begins.
    pub(super) fn begin_call(&mut self) {
        self.ticks = 0;
        self.hit = None;
    }

    /// The guest ran for one more tick. Whether it may go on.
    pub(super) fn tick(&mut self) -> bool {
        self.ticks = self.ticks.saturating_add(1);
        let used: Duration = TICK.saturating_mul(self.ticks);
        let within = used <= self.limits.cpu;
        if !within {
            self.hit = Some(Hit::Cpu);
        }
        within
    }

    /// The guest has used its processor time, as somebody else has counted it.
    pub(super) fn out_of_cpu(&mut self) {
        self.hit = Some(Hit::Cpu);
    }

    /// The limit that was hit since the call began. A guest that was denied memory may have lived
    /// on; this only tells why it failed, if it did.
    pub(super) fn hit(&self) -> Option<Hit> {
        self.hit
    }

    /// A limit that was hit, in words.
    pub(super) fn describe(&self, component: &str, hit: Hit) -> String {
        let wanted = (hit == Hit::Memory).then_some(self.denied);
        hit.describe(component, &self.limits, wanted)
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.count.shrank(self.memory);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current) as u64;
        let wanted = self.memory.saturating_add(growth);
        let within = wanted <= self.limits.memory;
        if within {
            self.memory = wanted;
            self.count.grew(growth);
        } else {
            self.hit = Some(Hit::Memory);
            self.denied = wanted;
        }
        Ok(within)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.elements.saturating_add(desired.saturating_sub(current));
        let within = wanted <= TABLE_ELEMENTS;
        if within {
            self.elements = wanted;
        } else {
            self.hit = Some(Hit::TableElements);
        }
        Ok(within)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::load::Digest;

    fn limiter() -> Limiter {
        let cpu = Duration::from_millis(25);
        let limits = LimitsSpec { memory: 1_000, cpu, ..LimitsSpec::default() };
        Limiter::new(limits, Arc::new(ComponentCount::new(Digest::from([0; 32]))))
    }

    #[test]
    fn memory_is_the_sum_over_all_memories() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 600, None).unwrap());
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert_eq!(limiter.hit(), None);
        assert!(!limiter.memory_growing(400, 401, None).unwrap());
        assert_eq!(limiter.hit(), Some(Hit::Memory));
        assert_eq!(
            limiter.describe("top", Hit::Memory),
            "it wanted 1001 bytes, more than 1000 bytes of memory; the limit is components.by_name.top.limits.memory"
        );
    }

    #[test]
    fn a_denied_growth_is_forgotten_when_the_next_call_begins() {
        let mut limiter = limiter();
        assert!(!limiter.table_growing(0, TABLE_ELEMENTS + 1, None).unwrap());
        limiter.begin_call();
        assert_eq!(limiter.hit(), None);
    }

    #[test]
    fn processor_time_is_counted_in_ticks_and_per_call() {
        let mut limiter = limiter();
        assert!(limiter.tick());
        assert!(limiter.tick());
        assert!(!limiter.tick());
        assert_eq!(limiter.hit(), Some(Hit::Cpu));
        limiter.begin_call();
        assert!(limiter.tick());
    }
}
