//! The processor time of the agent by part: its tasks, and its threads outside the runtime.
//!
//! The parts and a part `unattributed` add up to the time of the process. Threads that have ended keep
//! the time that was last seen of them, so that no part ever decreases; the rest of it is unattributed.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::{Mutex, PoisonError};

use nephometer_telemetry::TaskTimes;

/// The part of threads that run tasks, when they run none: timers, connections, the disk.
const RUNTIME: &str = "runtime";
/// What no part has.
const UNATTRIBUTED: &str = "unattributed";

/// What was seen of all threads so far.
#[derive(Debug, Default)]
pub(super) struct ThreadTimes(Mutex<SeenThreads>);

#[derive(Debug, Default)]
struct SeenThreads {
    /// By number of the thread: its part and its nanoseconds.
    alive: HashMap<u64, (&'static str, u64)>,
    /// Nanoseconds of threads that have ended, by part.
    ended: BTreeMap<&'static str, u64>,
    /// The parts as they were reported last.
    reported: BTreeMap<&'static str, u64>,
}

impl ThreadTimes {
    /// Nanoseconds by part, of a process that has used `total` so far.
    pub(super) fn parts(&self, tasks: &TaskTimes, total: u64) -> BTreeMap<&'static str, u64> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.update(threads());
        let mut parts = seen.by_part();
        let tasks = tasks.nanos();
        // Tasks run on the threads of the runtime.
        let runtime = parts.entry(RUNTIME).or_default();
        *runtime = runtime.saturating_sub(tasks.values().sum());
        parts.extend(tasks);
        // Counters: what was read at slightly different moments never decreases.
        for (part, before) in &seen.reported {
            let now = parts.entry(part).or_default();
            *now = (*now).max(*before);
        }
        parts.remove(UNATTRIBUTED);
        let known: u64 = parts.values().sum();
        let before = seen.reported.get(UNATTRIBUTED).copied().unwrap_or_default();
        parts.insert(UNATTRIBUTED, total.saturating_sub(known).max(before));
        seen.reported.clone_from(&parts);
        parts
    }
}

impl SeenThreads {
    fn update(&mut self, now: HashMap<u64, (&'static str, u64)>) {
        for (thread, (part, nanos)) in std::mem::replace(&mut self.alive, now) {
            // A number that another thread has got begins with less.
            if self.alive.get(&thread).is_none_or(|(_, now)| *now < nanos) {
                *self.ended.entry(part).or_default() += nanos;
            }
        }
    }

    fn by_part(&self) -> BTreeMap<&'static str, u64> {
        let mut parts = self.ended.clone();
        for (part, nanos) in self.alive.values() {
            *parts.entry(part).or_default() += nanos;
        }
        parts
    }
}

/// The threads of this process by number. Empty where `/proc` does not have them.
fn threads() -> HashMap<u64, (&'static str, u64)> {
    let Ok(found) = fs::read_dir("/proc/self/task") else { return HashMap::new() };
    let thread = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        // Nanoseconds on a processor come first.
        let times = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        let nanos = times.split_whitespace().next()?.parse().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        Some((number, (part_of(name.trim_end()), nanos)))
    };
    found.flatten().filter_map(thread).collect()
}

/// The part of a thread with this name.
fn part_of(thread: &str) -> &'static str {
    match thread.split('-').next() {
        Some("guest") => "components",
        Some("libvirt") => "libvirt",
        Some("notify") => "file_watch",
        Some("agent") => RUNTIME,
        // The first thread: start and end.
        Some("nephometer") => "main",
        _ => "other_threads",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_threads_that_end_stays_with_their_part() {
        let mut seen = SeenThreads::default();
        seen.update(HashMap::from([(1, ("libvirt", 10)), (2, ("libvirt", 5))]));
        assert_eq!(seen.by_part(), BTreeMap::from([("libvirt", 15)]));
        // One has ended, and the other's number belongs to a new thread.
        seen.update(HashMap::from([(2, ("components", 3))]));
        assert_eq!(seen.by_part(), BTreeMap::from([("components", 3), ("libvirt", 15)]));
    }

    #[test]
    fn parts_add_up_to_the_process_and_never_decrease() {
        let (times, tasks) = (ThreadTimes::default(), TaskTimes::default());
        let total = 3_600_000_000_000;
        let first = times.parts(&tasks, total);
        assert_eq!(first.values().sum::<u64>(), total);
        let second = times.parts(&tasks, total + 5);
        assert!(first.iter().all(|(part, nanos)| second[part] >= *nanos), "{first:?} {second:?}");
    }
}
