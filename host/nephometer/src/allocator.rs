//! Settings of the C library's allocator, for a process that should stay small.
//!
//! glibc gives nearly every thread an arena of its own, and each keeps what its busiest moment took:
//! an agent with 200 simulated domains held 122 MB, with one arena that returns memory 80 MB
//! (`scripts/memory`), at about the same processor time. Other C libraries keep their defaults.

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
