//! The one import of every component: its log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::bindings::nephometer::metering::log::Level;
use super::stats::ComponentCount;
use nephometer_model::beginning;
pub(super) use nephometer_model::clean;
use nephometer_telemetry::events;

/// Lines that are remembered, to be reported with an error.
const TAIL: usize = 5;
/// Lines that are dropped without another look at the clock: a flood has to cost little.
const UNASKED: u64 = 63;

/// The log of one instance.
#[derive(Debug)]
pub(super) struct GuestLog {
    component: Arc<str>,
    count: Arc<ComponentCount>,
    /// What it writes has been logged before, of an instance that was configured alike.
    quiet: bool,
    /// The last line was over the budget, and so many after it were taken for the same.
    unasked: Option<u64>,
    /// As the guest wrote them, but no more of each than is needed.
    tail: VecDeque<String>,
}

impl GuestLog {
    /// `count` is that of the place, whose budget is used.
    pub(super) fn new(component: Arc<str>, count: Arc<ComponentCount>) -> Self {
        let tail = VecDeque::with_capacity(TAIL);
        Self { component, count, quiet: false, unasked: None, tail }
    }

    /// A call begins.
    pub(super) fn begin_call(&mut self) {
        self.quiet = false;
        self.tail.clear();
    }

    /// Until the next call its lines are for those who debug.
    pub(super) fn quiet(&mut self) {
        self.quiet = true;
    }

    /// A call has ended: a good time to report what was dropped.
    pub(super) fn end_call(&mut self) {
        self.count_unasked();
        self.count.lines().turn(Instant::now());
    }

    /// The last lines of the call, oldest first.
    pub(super) fn tail(&self) -> impl Iterator<Item = String> {
        self.tail.iter().map(|line| clean(line))
    }

    pub(super) fn write(&mut self, level: Level, message: &str) {
        if self.may_write() {
            let line = clean(message);
            match level {
                Level::Info | Level::Warn | Level::Error if self.quiet => {
                    tracing::debug!(component = &*self.component, "{line}");
                }
                Level::Trace => tracing::trace!(component = &*self.component, "{line}"),
                Level::Debug => tracing::debug!(component = &*self.component, "{line}"),
                Level::Info => events::component::log_info(&self.component, &line),
                Level::Warn => events::component::log_warn(&self.component, &line),
                Level::Error => events::component::log_error(&self.component, &line),
            }
        }
        // Also of those that are not written: an error is easier to understand with them.
        let oldest = if self.tail.len() == TAIL { self.tail.pop_front() } else { None };
        let mut line = oldest.unwrap_or_default();
        line.clear();
        line.push_str(beginning(message));
        self.tail.push_back(line);
    }

    fn may_write(&mut self) -> bool {
        if let Some(unasked) = &mut self.unasked
            && *unasked < UNASKED
        {
            *unasked += 1;
            return false;
        }
        self.count_unasked();
        let may = self.count.may_log(&self.component);
        self.unasked = (!may).then_some(0);
        may
    }

    fn count_unasked(&mut self) {
        let lines = self.unasked.take().unwrap_or_default();
        self.count.drop_lines(&self.component, lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use nephometer_model::Bound;

    fn chatty() -> (GuestLog, Arc<ComponentCount>) {
        let count = Arc::new(ComponentCount::new(Digest::from([0; 32])));
        (GuestLog::new(Arc::from("chatty"), Arc::clone(&count)), count)
    }

    #[test]
    fn a_flood_is_counted_and_the_tail_is_bounded() {
        let (mut log, count) = chatty();
        for i in 0..Bound::LogLines.most() {
            log.write(Level::Trace, &i.to_string());
        }
        assert_eq!(count.numbers().log_dropped, 0);
        log.write(Level::Trace, "100");
        assert_eq!(count.numbers().log_dropped, 1);
        assert_eq!(log.tail().collect::<Vec<_>>(), ["96", "97", "98", "99", "100"]);
        (0..1_000).for_each(|_| log.write(Level::Trace, "x"));
        log.end_call();
        assert_eq!(count.numbers().log_dropped, 1_001);
        assert_eq!(count.lines().dropped(), 1_001);
        log.begin_call();
        assert_eq!(log.tail().count(), 0);
        // Neither a call nor an instance begins anew what belongs to the place.
        log.write(Level::Trace, "again");
        let mut another = GuestLog::new(Arc::from("chatty"), Arc::clone(&count));
        another.write(Level::Trace, "again");
        assert_eq!(count.numbers().log_dropped, 1_003);
    }
}
