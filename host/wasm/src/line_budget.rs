//! Limits how many lines a component may log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nephometer_model::Bound;
use nephometer_telemetry::events;

/// The period in which a component may write [`Bound::LogLines`].
const WINDOW: Duration = Duration::from_secs(10);

/// The lines that a component at one location of a pipeline may write per window, by its log and by
/// standard output and error, over all calls and instances.
#[derive(Debug, Default)]
pub(super) struct LineBudget(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    /// `None` before the first line.
    started: Option<Instant>,
    lines: u64,
    dropped: u64,
    /// The component, if lines were dropped.
    component: Option<Arc<str>>,
}

impl LineBudget {
    /// Counts lines that were dropped without [`Self::try_take`].
    pub(super) fn drop_lines(&self, component: &Arc<str>, lines: u64) {
        if lines > 0 {
            let mut window = self.window();
            window.dropped += lines;
            window.component.get_or_insert_with(|| Arc::clone(component));
        }
    }

    /// Whether one more line may be written. Counts it either way.
    pub(super) fn try_take(&self, component: &Arc<str>, now: Instant) -> bool {
        let mut window = self.window();
        window.end_if_over(now);
        window.started.get_or_insert(now);
        if window.lines < Bound::LogLines.most() {
            window.lines += 1;
            return true;
        }
        window.dropped += 1;
        window.component.get_or_insert_with(|| Arc::clone(component));
        false
    }

    /// Ends the window if it is over, and logs the dropped lines. Returns whether none is open.
    pub(super) fn end_window(&self, now: Instant) -> bool {
        self.window().end_if_over(now)
    }

    /// Lines of this window that were not written.
    #[cfg(test)]
    pub(super) fn dropped(&self) -> u64 {
        self.window().dropped
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn end_if_over(&mut self, now: Instant) -> bool {
        let Some(started) = self.started else { return true };
        let over = now.saturating_duration_since(started) >= WINDOW;
        if over {
            *self = Self::default();
        }
        over
    }
}

/// Logs the number of dropped lines when the window ends or the component is removed.
impl Drop for Window {
    fn drop(&mut self) {
        if let Some(component) = &self.component {
            let (most, seconds) = (Bound::LogLines.most(), WINDOW.as_secs());
            events::component::log_lines_dropped(component, self.dropped, most, seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_restored_after_the_window() {
        let (budget, name) = (LineBudget::default(), Arc::from("chatty"));
        let started = Instant::now();
        assert!((0..Bound::LogLines.most()).all(|_| budget.try_take(&name, started)));
        let late = started + WINDOW - Duration::from_millis(1);
        assert!(!budget.end_window(late) && !budget.try_take(&name, late));
        assert!(budget.try_take(&name, started + WINDOW));
        assert_eq!(budget.window().dropped, 0);
    }
}
