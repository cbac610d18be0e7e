//! The clock: whether it is synchronised, as the kernel knows it.

use super::Diagnosis;

const CHECK: &str = "clock";
/// Samples of hosts that differ by more are hard to compare.
const MOST_MICROS: libc::c_long = 1_000_000;

pub(super) fn check() -> Diagnosis {
    let remedy = "start a service that sets the clock, such as chrony or systemd-timesyncd";
    match kernel() {
        Ok((true, error)) if error <= MOST_MICROS => {
            let millis = error / 1000;
            Diagnosis::ok(CHECK, format!("synchronised, off by at most {millis} ms"))
        }
        Ok((true, error)) => {
            let millis = error / 1000;
            let what = format!("synchronised, but may be off by {millis} ms");
            Diagnosis::warning(CHECK, what, remedy)
        }
        Ok((false, _)) => {
            let what = "not synchronised: times of samples may be wrong";
            Diagnosis::warning(CHECK, what, remedy)
        }
        Err(error) => {
            let what = format!("the kernel does not report the state of the clock: {error}");
            Diagnosis::warning(
                CHECK,
                what,
                "ask for it in another way: timedatectl, chronyc tracking",
            )
        }
    }
}

/// Whether the kernel takes the clock for synchronised, and by how many microseconds it may be off.
#[expect(unsafe_code, reason = "no crate here has a safe interface for this; see SAFETY")]
fn kernel() -> std::io::Result<(bool, libc::c_long)> {
    // SAFETY: `timex` consists of numbers, for which zeros are valid.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: with `modes` 0 the call changes nothing, and writes into the structure only, which lives
    // until it returns.
    let code = unsafe { libc::adjtimex(&raw mut state) };
    if code < 0 {
        return Err(std::io::Error::last_os_error());
    }
    let is_synchronised = code != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0;
    Ok((is_synchronised, state.maxerror))
}
