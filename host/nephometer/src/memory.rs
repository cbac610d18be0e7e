//! Memory of a process that should stay small: settings of the C library's allocator, and pages that only
//! the start needed.
//!
//! glibc gives nearly every thread an arena of its own, and each keeps what its busiest moment took:
//! an agent with 200 simulated domains held 122 MB, with one arena that returns memory 80 MB
//! (`scripts/memory`), at about the same processor time. Other C libraries keep their defaults.
//!
//! Reading the configuration, loading components and connecting to libvirt touches most of the agent's
//! code and of its libraries once, and the kernel maps whole neighbourhoods of what is touched. What is
//! needed again is mapped again from the page cache, a few hundred short faults.

use std::ffi::c_void;
use std::fs;
use std::io;

use rustix::mm::{Advice, madvise};

/// Applies the settings. Call it before the first thread starts.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library has no safe interface for this; see SAFETY")]
pub fn keep_small() {
    /// Bytes at the end of the heap from which on they are returned to the system.
    const TRIM: libc::c_int = 2 << 20;
    /// Larger blocks are mapped on their own, and returned when they are freed.
    const MMAP: libc::c_int = 1 << 20;
    let settings =
        [(libc::M_ARENA_MAX, 1), (libc::M_TRIM_THRESHOLD, TRIM), (libc::M_MMAP_THRESHOLD, MMAP)];
    for (parameter, value) in settings {
        // SAFETY: `mallopt` takes any numbers and only changes how later allocations are served.
        // It returns 0 for a parameter that it does not support, which then keeps its default.
        let _supported = unsafe { libc::mallopt(parameter, value) };
    }
}

/// Other C libraries keep their defaults.
#[cfg(not(target_env = "gnu"))]
pub fn keep_small() {}

/// Unmaps the pages of files that are mapped read-only and were never written to. Returns the bytes that
/// were in memory.
///
/// # Errors
/// If the kernel does not list the mappings of this process.
#[expect(unsafe_code, reason = "addresses come from the kernel's list; see SAFETY")]
pub(crate) fn give_back_startup_pages() -> io::Result<u64> {
    let mut bytes = 0;
    for Mapping { begin, length, resident } in untouched(&fs::read_to_string("/proc/self/smaps")?) {
        // SAFETY: the mapping is private, of a file, not writable, and has no page of its own, so that
        // each page is read from the file again when it is needed. Nothing unmaps these: programs and
        // libraries stay until the process ends.
        let advised = unsafe { madvise(begin as *mut c_void, length, Advice::LinuxDontNeed) };
        if advised.is_ok() {
            bytes += resident;
        }
    }
    Ok(bytes)
}

/// Pages of a file in the address space.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    begin: usize,
    length: usize,
    /// Bytes in memory.
    resident: u64,
}

/// The mappings of programs and libraries without a page of their own. Relocated pages are read-only as
/// well, but belong to the process.
fn untouched(smaps: &str) -> Vec<Mapping> {
    let mut found = Vec::new();
    let mut current: Option<Mapping> = None;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else { continue };
        match first {
            "Rss:" => {
                if let (Some(mapping), Ok(kib)) = (&mut current, second.parse::<u64>()) {
                    mapping.resident = kib << 10;
                }
            }
            // The list has it after Rss.
            "Anonymous:" => {
                let mapping = current.take().filter(|one| second == "0" && one.resident > 0);
                found.extend(mapping);
            }
            _ if first.ends_with(':') => {}
            _ => {
                let path = words.nth(3).unwrap_or_default();
                let is_program = matches!(second, "r-xp" | "r--p") && path.starts_with('/');
                current = range(first).filter(|_| is_program);
            }
        }
    }
    found
}

fn range(text: &str) -> Option<Mapping> {
    let (begin, end) = text.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let (begin, end) = (number(begin)?, number(end)?);
    Some(Mapping { begin, length: end.checked_sub(begin)?, resident: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_that_equal_their_file_are_given_back() {
        let smaps = "\
7f00-9f00 r-xp 00001000 08:01 12 /usr/bin/nephometer\nSize: 8 kB\nRss: 8 kB\nAnonymous: 0 kB\nVmFlags: rd ex mr\n\
a000-b000 r--p 00003000 08:01 12 /usr/bin/nephometer\nRss: 4 kB\nAnonymous: 4 kB\n\
b000-c000 rw-p 00004000 08:01 12 /usr/bin/nephometer\nRss: 4 kB\nAnonymous: 0 kB\n\
c000-d000 r-xs 00000000 00:01 13 /memfd:code (deleted)\nRss: 4 kB\nAnonymous: 0 kB\n\
d000-e000 r--p 00000000 00:00 0 \nRss: 4 kB\nAnonymous: 0 kB\n\
e000-f000 r--p 00000000 08:01 14 /usr/lib/libvirt.so.0\nRss: 0 kB\nAnonymous: 0 kB\n";
        let program = Mapping { begin: 0x7f00, length: 0x2000, resident: 8192 };
        assert_eq!(untouched(smaps), [program]);
    }

    /// The code that runs is in these pages.
    #[test]
    fn the_process_goes_on_after_it() {
        let bytes = give_back_startup_pages().unwrap();
        assert!(bytes > 1 << 20, "{bytes}");
        assert_eq!((1..=10).product::<u64>(), 3_628_800);
    }
}
