//! The component's own log.
//!
//! Natively, where there is no host, lines go to a small memory of the thread, for tests to look
//! at with [`taken`].

pub use crate::bindings::stateful::log::Level;

/// Writes one line.
#[cfg(target_arch = "wasm32")]
pub fn write(level: Level, message: &str) {
    crate::bindings::stateful::log::write(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
const REMEMBERED: usize = 1_000;

#[cfg(not(target_arch = "wasm32"))]
thread_local! {
    static LINES: std::cell::RefCell<Vec<(Level, String)>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Writes one line.
#[cfg(not(target_arch = "wasm32"))]
pub fn write(level: Level, message: &str) {
    LINES.with_borrow_mut(|lines| {
        if lines.len() < REMEMBERED {
            lines.push((level, message.to_owned()));
        }
    });
}

/// What this thread has logged since it was last asked, without a host: the first 1,000 lines.
#[cfg(not(target_arch = "wasm32"))]
pub fn taken() -> Vec<(Level, String)> {
    LINES.take()
}

/// Every detail, for the author.
pub fn trace(message: &str) {
    write(Level::Trace, message);
}

/// For finding faults.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Worth knowing.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Something is not as it should be; work goes on.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Something failed.
pub fn error(message: &str) {
    write(Level::Error, message);
}
