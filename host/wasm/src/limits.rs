//! Enforces the limits of one instance, and formats the error when one is exceeded.
//!
//! Memory, processor time, wall clock time and the size of results are settings of a component; all
//! other limits are in the table of bounds.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use wasmtime::ResourceLimiter;

use super::stats::ComponentCounters;
use nephometer_config::{LimitsSpec, live_name};
use nephometer_model::Bound;

/// Linear memory of all instances of a host, bytes.
#[derive(Debug)]
pub(super) struct TotalMemory {
    max: AtomicU64,
    used: AtomicU64,
}

impl TotalMemory {
    /// A limit of `max` bytes.
    pub(super) fn new(max: u64) -> Self {
        Self { max: AtomicU64::new(max), used: AtomicU64::new(0) }
    }

    /// Changes the limit. Memory in use is not affected.
    pub(super) fn set(&self, max: u64) {
        self.max.store(max, Relaxed);
    }

    /// Takes `bytes` if the limit allows it.
    fn try_take(&self, bytes: u64) -> bool {
        let max = self.max.load(Relaxed);
        let take = |used: u64| used.checked_add(bytes).filter(|used| *used <= max);
        self.used.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// An exceeded limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitExceeded {
    Memory,
    TotalMemory,
    TableElements,
    Cpu,
    Wall,
    Returned,
    Parts,
    State,
}

impl LimitExceeded {
    /// The error text, with the configuration key of the limit. `requested` is the denied amount of
    /// memory in bytes.
    pub(super) fn describe(self, component: &str, limits: &LimitsSpec, requested: u64) -> String {
        let key = match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Returned => "returned",
            Self::TotalMemory => return Bound::TotalMemory.refusal(),
            Self::TableElements => return Bound::TableElements.refusal(),
            Self::State => return Bound::State.refusal(),
            Self::Parts => {
                let bounds = [Bound::Instances, Bound::Memories, Bound::Tables];
                return bounds.map(Bound::refusal).join(", or ");
            }
        };
        let what: &dyn fmt::Display = match self {
            Self::Cpu => &format!("used more than {:?} of processor time in one call", limits.cpu),
            Self::Wall => &format!("took more than {:?} in one call", limits.wall),
            Self::Returned => {
                &format!("passed more than {} bytes to the host in one call", limits.returned)
            }
            _ => {
                &format!("requested {requested} bytes of memory, more than {} bytes", limits.memory)
            }
        };
        let live = live_name(component);
        let section = if live == component { "limits" } else { "shadow_limits" };
        format!("{what} (components.by_name.{live}.{section}.{key})")
    }

    /// The limit's name in log fields.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::TotalMemory => "total_memory",
            Self::TableElements => "table_elements",
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Returned => "returned",
            Self::Parts => "parts",
            Self::State => Bound::State.row().name,
        }
    }
}

/// Tracks the memory and tables of one instance.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: LimitsSpec,
    memory: u64,
    elements: usize,
    exceeded: Option<LimitExceeded>,
    /// The denied amount of memory, bytes.
    denied: u64,
    counters: Arc<ComponentCounters>,
    total: Arc<TotalMemory>,
}

impl Limiter {
    /// Memory counts towards `counters` and `total` until the limiter is dropped.
    pub(super) fn new(
        limits: LimitsSpec,
        counters: Arc<ComponentCounters>,
        total: Arc<TotalMemory>,
    ) -> Self {
        Self { limits, memory: 0, elements: 0, exceeded: None, denied: 0, counters, total }
    }

    pub(super) fn counters(&self) -> &Arc<ComponentCounters> {
        &self.counters
    }

    pub(super) fn limits(&self) -> &LimitsSpec {
        &self.limits
    }

    /// Resets the exceeded limit for a new call.
    pub(super) fn begin_call(&mut self) {
        self.exceeded = None;
    }

    /// Whether the call may go on after `used` processor time.
    pub(super) fn has_cpu(&mut self, used: Duration) -> bool {
        let within = used <= self.limits.cpu;
        if !within {
            self.exceeded = Some(LimitExceeded::Cpu);
        }
        within
    }

    /// The limit exceeded since the call began. A guest may survive a denied allocation: this is
    /// the cause of a failure only if the call failed.
    pub(super) fn exceeded(&self) -> Option<LimitExceeded> {
        self.exceeded
    }

    /// The error text of an exceeded limit.
    pub(super) fn describe(&self, component: &str, exceeded: LimitExceeded) -> String {
        exceeded.describe(component, &self.limits, self.denied)
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.counters.memory_freed(self.memory);
        self.total.release(self.memory);
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
        let requested = self.memory.saturating_add(growth);
        if requested > self.limits.memory {
            self.exceeded = Some(LimitExceeded::Memory);
            self.denied = requested;
            return Ok(false);
        }
        if !self.total.try_take(growth) {
            self.exceeded = Some(LimitExceeded::TotalMemory);
            return Ok(false);
        }
        self.memory = requested;
        self.counters.memory_grew(growth);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let requested = self.elements.saturating_add(desired.saturating_sub(current));
        let within = requested <= Bound::TableElements.size();
        if within {
            self.elements = requested;
        } else {
            self.exceeded = Some(LimitExceeded::TableElements);
        }
        Ok(within)
    }

    fn instances(&self) -> usize {
        Bound::Instances.size()
    }

    fn tables(&self) -> usize {
        Bound::Tables.size()
    }

    fn memories(&self) -> usize {
        Bound::Memories.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn limiter() -> Limiter {
        let cpu = Duration::from_millis(25);
        let limits = LimitsSpec { memory: 1_000, cpu, ..LimitsSpec::default() };
        Limiter::new(
            limits,
            Arc::new(ComponentCounters::new(Digest::from([0; 32]))),
            Arc::new(TotalMemory::new(1_500)),
        )
    }

    #[test]
    fn memory_is_the_sum_over_all_memories() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 600, None).unwrap());
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert_eq!(limiter.exceeded(), None);
        assert!(!limiter.memory_growing(400, 401, None).unwrap());
        assert_eq!(limiter.exceeded(), Some(LimitExceeded::Memory));
        assert_eq!(
            limiter.describe("top", LimitExceeded::Memory),
            "requested 1001 bytes of memory, more than 1000 bytes \
             (components.by_name.top.limits.memory)"
        );
    }

    // Regression: six sinks had 248 MB each, without a common limit.
    #[test]
    fn memory_of_all_instances_is_bounded_and_released_on_drop() {
        let total = Arc::new(TotalMemory::new(1_500));
        let counters = Arc::new(ComponentCounters::new(Digest::from([0; 32])));
        let limits = LimitsSpec { memory: 1_000, ..LimitsSpec::default() };
        let limiter = || Limiter::new(limits, Arc::clone(&counters), Arc::clone(&total));
        let (mut one, mut two) = (limiter(), limiter());
        assert!(one.memory_growing(0, 1_000, None).unwrap());
        assert!(two.memory_growing(0, 500, None).unwrap());
        assert!(!two.memory_growing(500, 501, None).unwrap());
        let reason = two.describe("top", two.exceeded().unwrap());
        assert!(reason.contains("components.totals.memory"), "{reason}");
        drop(one);
        assert!(two.memory_growing(500, 1_000, None).unwrap());
    }

    #[test]
    fn the_limit_of_a_shadow_has_a_key_of_its_own() {
        let limits = LimitsSpec::default();
        let reason = LimitExceeded::Cpu.describe("price/shadow", &limits, 0);
        assert!(reason.ends_with("(components.by_name.price.shadow_limits.cpu)"), "{reason}");
    }

    #[test]
    fn exceeded_limit_is_reset_by_the_next_call() {
        let mut limiter = limiter();
        assert!(!limiter.table_growing(0, Bound::TableElements.size() + 1, None).unwrap());
        limiter.begin_call();
        assert_eq!(limiter.exceeded(), None);
    }

    #[test]
    fn processor_time_is_bounded_per_call() {
        let mut limiter = limiter();
        assert!(limiter.has_cpu(Duration::from_millis(25)));
        assert!(!limiter.has_cpu(Duration::from_micros(25_001)));
        assert_eq!(limiter.exceeded(), Some(LimitExceeded::Cpu));
        limiter.begin_call();
        assert_eq!(limiter.exceeded(), None);
    }
}
