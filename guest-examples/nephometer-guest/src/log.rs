//! The log of the component.
//!
//! Natively, without a host, the lines are kept per thread, where tests read them with [`taken`].

pub use crate::bindings::stateful::log::Level;

/// Writes one line.
#[cfg(target_arch = "wasm32")]
pub fn write(level: Level, message: &str) {
    crate::bindings::stateful::log::write(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
const MAX_LINES: usize = 1_000;

#[cfg(not(target_arch = "wasm32"))]
thread_local! {
    static LINES: std::cell::RefCell<Vec<(Level, String)>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Writes one line.
#[cfg(not(target_arch = "wasm32"))]
pub fn write(level: Level, message: &str) {
    LINES.with_borrow_mut(|lines| {
        if lines.len() < MAX_LINES {
            lines.push((level, message.to_owned()));
        }
    });
}

/// Returns what this thread has logged without a host since the last call: the first 1,000 lines.
#[cfg(not(target_arch = "wasm32"))]
pub fn taken() -> Vec<(Level, String)> {
    LINES.take()
}

/// Writes a detail, for authors.
pub fn trace(message: &str) {
    write(Level::Trace, message);
}

/// Writes a line for finding faults.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Writes a line worth knowing.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Writes that something is unexpected, but the work goes on.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Writes that something failed.
pub fn error(message: &str) {
    write(Level::Error, message);
}
