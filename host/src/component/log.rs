//! The one import of every component: its log.

use std::collections::VecDeque;
use std::sync::Arc;

use super::bindings::nephometer::metering::log::Level;
pub(super) use crate::model::clean;
use crate::telemetry::events;

/// Lines that one call may write. More help nobody, and a guest can write millions.
const LINES: u32 = 100;
/// Lines that are remembered, to be told with an error.
const TAIL: usize = 5;

/// The log of one instance.
#[derive(Debug)]
pub(super) struct GuestLog {
    component: Arc<str>,
    lines: u32,
    dropped: u64,
    /// What it writes has been logged before, of an instance that was configured alike.
    quiet: bool,
    tail: VecDeque<String>,
}

impl GuestLog {
    pub(super) fn new(component: Arc<str>) -> Self {
        Self { component, lines: 0, dropped: 0, quiet: false, tail: VecDeque::with_capacity(TAIL) }
    }

    /// A call begins: the limit starts anew.
    pub(super) fn begin_call(&mut self) {
        self.lines = 0;
        self.dropped = 0;
        self.quiet = false;
        self.tail.clear();
    }

    /// Until the next call its lines are for those who debug.
    pub(super) fn quiet(&mut self) {
        self.quiet = true;
    }

    /// A call has ended: says how many lines were dropped in it, and gives the number.
    pub(super) fn end_call(&mut self) -> u64 {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            events::component::log_dropped(&self.component, dropped);
        }
        dropped
    }

    /// The last lines of the call, oldest first.
    pub(super) fn tail(&self) -> impl Iterator<Item = &str> {
        self.tail.iter().map(String::as_str)
    }

    pub(super) fn write(&mut self, level: Level, message: &str) {
        if self.lines >= LINES {
            self.dropped += 1;
            return;
        }
        self.lines += 1;
        let line = clean(message);
        match level {
            Level::Info | Level::Warn | Level::Error if self.quiet => {
                tracing::debug!(component = &*self.component, "{line}");
            }
            Level::Trace => tracing::trace!(component = &*self.component, "{line}"),
            Level::Debug => tracing::debug!(component = &*self.component, "{line}"),
            Level::Info => events::component::says(&self.component, &line),
            Level::Warn => events::component::warns(&self.component, &line),
            Level::Error => events::component::complains(&self.component, &line),
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_the_tail_is_bounded() {
        let mut log = GuestLog::new(Arc::from("chatty"));
        for i in 0..LINES + 7 {
            log.write(Level::Trace, &i.to_string());
        }
        assert_eq!(log.dropped, 7);
        assert_eq!(log.tail().collect::<Vec<_>>(), ["95", "96", "97", "98", "99"]);
        log.begin_call();
        assert_eq!(log.tail().count(), 0);
        log.write(Level::Trace, "again");
        assert_eq!(log.dropped, 0);
    }
}
