//! This process: its numbers from the kernel, and memory that only its start needed.

use std::fs;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::time::{ClockId, clock_gettime};

use crate::memory;
use nephometer_telemetry::events;

/// After this the start is over, with the first polling cycle and the loading of components.
const STARTED: Duration = Duration::from_secs(20);

/// What the kernel counts for this process. `None` where it does not say.
#[derive(Debug)]
pub(super) struct ProcessNumbers {
    /// Processor time of all threads, also of those that have ended.
    pub(super) cpu: Duration,
    /// Bytes in memory.
    pub(super) resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub(super) open_files: Option<u64>,
    /// Threads.
    pub(super) threads: Option<u64>,
    /// Seconds since the epoch.
    pub(super) start_seconds: Option<f64>,
}

impl ProcessNumbers {
    /// The numbers now. Reads a few files of `/proc`, which never block.
    pub(super) fn read() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name of the program, in brackets, may contain anything.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
        let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
        Self {
            cpu: Duration::try_from(cpu).unwrap_or_default(),
            resident_bytes: pages.map(|pages| pages * page_size() as u64),
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
            threads: number(17),
            start_seconds: number(19).and_then(start),
        }
    }
}

/// Once the agent runs, it needs little of what its start has touched.
pub(super) async fn give_back_startup_pages() {
    tokio::time::sleep(STARTED).await;
    match tokio::task::spawn_blocking(memory::give_back_startup_pages).await {
        Ok(Ok(bytes)) => events::process::startup_pages_given_back(bytes),
        Ok(Err(error)) => events::process::startup_pages_kept(&error),
        // The agent is shutting down.
        Err(_) => {}
    }
    // Background tasks end with the agent.
    std::future::pending::<()>().await;
}

/// The time of a start that is given in ticks since the boot.
fn start(ticks: u64) -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot: i64 = boot.trim().parse().ok()?;
    let ticks = i64::try_from(ticks).ok()?;
    let per_second = i64::try_from(clock_ticks_per_second()).ok()?;
    Some(seconds(boot) + seconds(ticks) / seconds(per_second))
}

#[expect(clippy::cast_precision_loss, reason = "seconds and ticks are below 2^53")]
fn seconds(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_this_process() {
        let numbers = ProcessNumbers::read();
        assert!(
            numbers.cpu > Duration::ZERO && numbers.resident_bytes.unwrap() > 1 << 20,
            "{numbers:?}"
        );
        assert!(numbers.threads.unwrap() >= 1 && numbers.open_files.unwrap() >= 3, "{numbers:?}");
        assert!(numbers.start_seconds.unwrap() > 1.6e9, "{numbers:?}");
    }
}
