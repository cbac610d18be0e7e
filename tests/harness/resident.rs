use std::fs;
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::Running;

/// Resident memory at which an agent is killed to protect the machine, KiB.
const KILL_LIMIT: u64 = 3 << 20;

/// Records the peak of an agent's resident memory until it ends.
pub(crate) struct Resident(JoinHandle<u64>);

impl Resident {
    /// Starts recording, on a thread of its own.
    pub(crate) fn of(running: &Running) -> Self {
        let pid = running.pid();
        Self(spawn(move || {
            let mut peak = 0;
            // A process that has ended has no `VmHWM`.
            while let Some(resident) = high_water(pid) {
                peak = peak.max(resident);
                if peak > KILL_LIMIT {
                    // Fails if it has just ended.
                    kill_process(pid, Signal::KILL).ok();
                }
                sleep(Duration::from_millis(10));
            }
            peak
        }))
    }

    /// Waits until the agent has ended; returns the peak in KiB.
    pub(crate) fn most(self) -> u64 {
        self.0.join().expect("the recording thread does not panic")
    }
}

/// The peak of the resident memory of a process so far, KiB. `None` if it has ended.
pub(crate) fn high_water(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse().expect("a number of KiB"))
}
