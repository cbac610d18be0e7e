//! The log of a component, the one import that every component has.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::bindings::nephometer::metering::log::Level;
use super::stats::ComponentCounters;
use nephometer_model::beginning;
pub(super) use nephometer_model::clean;
use nephometer_telemetry::events;

/// Last lines of a call that are reported with an error.
const TAIL_LINES: usize = 5;
/// Lines that are dropped without a further check of the budget: a flood must be cheap.
const MAX_UNCHECKED: u64 = 63;

/// The log of one instance.
#[derive(Debug)]
pub(super) struct GuestLog {
    component: Arc<str>,
    counters: Arc<ComponentCounters>,
    /// Lines are logged at debug level: an equal instance has logged them before.
    demoted: bool,
    /// Lines dropped unchecked since one that exceeded the budget.
    unchecked: Option<u64>,
    /// The beginnings of the last lines, unmodified.
    tail: VecDeque<String>,
}

impl GuestLog {
    /// `counters` hold the line budget, which instances at one location share.
    pub(super) fn new(component: Arc<str>, counters: Arc<ComponentCounters>) -> Self {
        let tail = VecDeque::with_capacity(TAIL_LINES);
        Self { component, counters, demoted: false, unchecked: None, tail }
    }

    /// Resets the log for a new call.
    pub(super) fn begin_call(&mut self) {
        self.demoted = false;
        self.tail.clear();
    }

    /// Logs at debug level until the next call.
    pub(super) fn demote(&mut self) {
        self.demoted = true;
    }

    /// Ends a call, and logs the number of dropped lines if the window is over.
    pub(super) fn end_call(&mut self) {
        self.count_unchecked();
        self.counters.lines().end_window(Instant::now());
    }

    /// The last lines of the call, oldest first.
    pub(super) fn tail(&self) -> impl Iterator<Item = String> {
        self.tail.iter().map(|line| clean(line))
    }

    pub(super) fn write(&mut self, level: Level, message: &str) {
        if self.may_write() {
            let line = clean(message);
            match level {
                Level::Info | Level::Warn | Level::Error if self.demoted => {
                    tracing::debug!(component = &*self.component, "{line}");
                }
                Level::Trace => tracing::trace!(component = &*self.component, "{line}"),
                Level::Debug => tracing::debug!(component = &*self.component, "{line}"),
                Level::Info => events::component::log_info(&self.component, &line),
                Level::Warn => events::component::log_warn(&self.component, &line),
                Level::Error => events::component::log_error(&self.component, &line),
            }
        }
        // Dropped lines, too: they help to explain an error.
        let oldest = if self.tail.len() == TAIL_LINES { self.tail.pop_front() } else { None };
        let mut line = oldest.unwrap_or_default();
        line.clear();
        line.push_str(beginning(message));
        self.tail.push_back(line);
    }

    fn may_write(&mut self) -> bool {
        if let Some(unchecked) = &mut self.unchecked
            && *unchecked < MAX_UNCHECKED
        {
            *unchecked += 1;
            return false;
        }
        self.count_unchecked();
        let may = self.counters.may_log(&self.component);
        self.unchecked = (!may).then_some(0);
        may
    }

    fn count_unchecked(&mut self) {
        let lines = self.unchecked.take().unwrap_or_default();
        self.counters.drop_lines(&self.component, lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use nephometer_model::Bound;

    fn chatty() -> (GuestLog, Arc<ComponentCounters>) {
        let counters = Arc::new(ComponentCounters::new(Digest::from([0; 32])));
        (GuestLog::new(Arc::from("chatty"), Arc::clone(&counters)), counters)
    }

    #[test]
    fn excess_lines_are_counted_and_the_tail_is_bounded() {
        let (mut log, counters) = chatty();
        for i in 0..Bound::LogLines.most() {
            log.write(Level::Trace, &i.to_string());
        }
        assert_eq!(counters.stats().log_dropped, 0);
        log.write(Level::Trace, "100");
        assert_eq!(counters.stats().log_dropped, 1);
        assert_eq!(log.tail().collect::<Vec<_>>(), ["96", "97", "98", "99", "100"]);
        (0..1_000).for_each(|_| log.write(Level::Trace, "x"));
        log.end_call();
        assert_eq!(counters.stats().log_dropped, 1_001);
        assert_eq!(counters.lines().dropped(), 1_001);
        log.begin_call();
        assert_eq!(log.tail().count(), 0);
        // The budget outlives calls and instances.
        log.write(Level::Trace, "again");
        let mut another = GuestLog::new(Arc::from("chatty"), Arc::clone(&counters));
        another.write(Level::Trace, "again");
        assert_eq!(counters.stats().log_dropped, 1_003);
    }
}
