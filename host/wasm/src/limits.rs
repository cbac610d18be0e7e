//! What one instance may use, and what it is told when it wants more.
//!
//! Memory, processor time, wall time and the size of what comes back are settings of a component; all
//! others are in the table of bounds.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use wasmtime::ResourceLimiter;

use super::stats::ComponentCount;
use nephometer_config::LimitsSpec;
use nephometer_model::Bound;

/// Linear memory of all instances of a host, together.
#[derive(Debug)]
pub(super) struct TotalMemory {
    most: AtomicU64,
    used: AtomicU64,
}

impl TotalMemory {
    /// `most` bytes.
    pub(super) fn new(most: u64) -> Self {
        Self { most: AtomicU64::new(most), used: AtomicU64::new(0) }
    }

    /// From now on `most` bytes; what is used already stays.
    pub(super) fn set(&self, most: u64) {
        self.most.store(most, Relaxed);
    }

    /// Whether there were so many bytes left; they are taken then.
    fn take(&self, bytes: u64) -> bool {
        let most = self.most.load(Relaxed);
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= most);
        self.used.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// A limit that was hit.
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

/// Keeps the account of one instance.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: LimitsSpec,
    memory: u64,
    elements: usize,
    hit: Option<LimitExceeded>,
    /// Bytes of memory that were denied.
    denied: u64,
    count: Arc<ComponentCount>,
    total: Arc<TotalMemory>,
}

impl Limiter {
    /// `count` and `total` get the memory, for as long as this lives.
    pub(super) fn new(
        limits: LimitsSpec,
        count: Arc<ComponentCount>,
        total: Arc<TotalMemory>,
    ) -> Self {
        Self { limits, memory: 0, elements: 0, hit: None, denied: 0, count, total }
    }

    pub(super) fn count(&self) -> &Arc<ComponentCount> {
        &self.count
    }

    pub(super) fn limits(&self) -> &LimitsSpec {
        &self.limits
    }

    /// A call begins.
    pub(super) fn begin_call(&mut self) {
        self.hit = None;
    }

    /// The call has used so much processor time. Whether it may go on.
    pub(super) fn has_cpu(&mut self, used: Duration) -> bool {
        let within = used <= self.limits.cpu;
        if !within {
            self.hit = Some(LimitExceeded::Cpu);
        }
        within
    }

    /// The limit that was hit since the call began. A guest that was denied memory may have lived
    /// on; this only tells why it failed, if it did.
    pub(super) fn hit(&self) -> Option<LimitExceeded> {
        self.hit
    }

    /// A limit that was hit, in words.
    pub(super) fn describe(&self, component: &str, hit: LimitExceeded) -> String {
        let wanted = (hit == LimitExceeded::Memory).then_some(self.denied);
        hit.describe(component, &self.limits, wanted)
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.count.shrank(self.memory);
        self.total.give_back(self.memory);
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
        if wanted > self.limits.memory {
            self.hit = Some(LimitExceeded::Memory);
            self.denied = wanted;
            return Ok(false);
        }
        if !self.total.take(growth) {
            self.hit = Some(LimitExceeded::TotalMemory);
            return Ok(false);
        }
        self.memory = wanted;
        self.count.grew(growth);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.elements.saturating_add(desired.saturating_sub(current));
        let within = wanted <= Bound::TableElements.size();
        if within {
            self.elements = wanted;
        } else {
            self.hit = Some(LimitExceeded::TableElements);
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
            Arc::new(ComponentCount::new(Digest::from([0; 32]))),
            Arc::new(TotalMemory::new(1_500)),
        )
    }

    #[test]
    fn memory_is_the_sum_over_all_memories() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 600, None).unwrap());
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert_eq!(limiter.hit(), None);
        assert!(!limiter.memory_growing(400, 401, None).unwrap());
        assert_eq!(limiter.hit(), Some(LimitExceeded::Memory));
        assert_eq!(
            limiter.describe("top", LimitExceeded::Memory),
            "it wanted 1001 bytes, more than 1000 bytes of memory; the limit is components.by_name.top.limits.memory"
        );
    }

    // Six sinks once had 248 MB each: nothing bounded them together.
    #[test]
    fn memory_of_all_instances_is_bounded_and_comes_back() {
        let total = Arc::new(TotalMemory::new(1_500));
        let count = Arc::new(ComponentCount::new(Digest::from([0; 32])));
        let limits = LimitsSpec { memory: 1_000, ..LimitsSpec::default() };
        let limiter = || Limiter::new(limits, Arc::clone(&count), Arc::clone(&total));
        let (mut one, mut two) = (limiter(), limiter());
        assert!(one.memory_growing(0, 1_000, None).unwrap());
        assert!(two.memory_growing(0, 500, None).unwrap());
        assert!(!two.memory_growing(500, 501, None).unwrap());
        let reason = two.describe("top", two.hit().unwrap());
        assert!(reason.contains("components.totals.memory"), "{reason}");
        drop(one);
        assert!(two.memory_growing(500, 1_000, None).unwrap());
    }

    #[test]
    fn a_denied_growth_is_forgotten_when_the_next_call_begins() {
        let mut limiter = limiter();
        assert!(!limiter.table_growing(0, Bound::TableElements.size() + 1, None).unwrap());
        limiter.begin_call();
        assert_eq!(limiter.hit(), None);
    }

    #[test]
    fn processor_time_is_bounded_per_call() {
        let mut limiter = limiter();
        assert!(limiter.has_cpu(Duration::from_millis(25)));
        assert!(!limiter.has_cpu(Duration::from_micros(25_001)));
        assert_eq!(limiter.hit(), Some(LimitExceeded::Cpu));
        limiter.begin_call();
        assert_eq!(limiter.hit(), None);
    }
}
