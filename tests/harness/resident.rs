use std::fs;
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::Running;

/// An agent that has so much is ended, before the machine suffers: KiB.
const RUNAWAY: u64 = 3 << 20;

/// The most memory that an agent has had resident, from here to its end.
pub(crate) struct Resident(JoinHandle<u64>);

impl Resident {
    /// Looks on until the agent has ended.
    pub(crate) fn of(running: &Running) -> Self {
        let pid = running.pid();
        Self(spawn(move || {
            let mut most = 0;
            // An agent that has ended has no memory.
            while let Some(resident) = high_water(pid) {
                most = most.max(resident);
                if most > RUNAWAY {
                    // It may have ended by itself just now.
                    kill_process(pid, Signal::KILL).ok();
                }
                sleep(Duration::from_millis(10));
            }
            most
        }))
    }

    /// The most there was, in KiB. The agent has ended.
    pub(crate) fn most(self) -> u64 {
        self.0.join().expect("it only reads")
    }
}

fn high_water(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse().expect("a number of KiB"))
}
