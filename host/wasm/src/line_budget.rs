//! How many lines a component may log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nephometer_model::Bound;
use nephometer_telemetry::events;

/// The time in which [`Bound::LogLines`] may be written.
const WINDOW: Duration = Duration::from_secs(10);

/// The lines that one place of a component may write in a window: through its log and through
/// standard output and error, in all calls of all its instances.
#[derive(Debug, Default)]
pub(super) struct LineBudget(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    /// `None` before the first line.
    began: Option<Instant>,
    lines: u64,
    dropped: u64,
    /// Whose lines were dropped.
    component: Option<Arc<str>>,
}

impl LineBudget {
    /// These lines were dropped without asking.
    pub(super) fn drop_lines(&self, component: &Arc<str>, lines: u64) {
        if lines > 0 {
            let mut window = self.window();
            window.dropped += lines;
            window.component.get_or_insert_with(|| Arc::clone(component));
        }
    }

    /// Takes one line: whether it may be written.
    pub(super) fn take(&self, component: &Arc<str>, now: Instant) -> bool {
        let mut window = self.window();
        window.turn(now);
        window.began.get_or_insert(now);
        if window.lines < Bound::LogLines.most() {
            window.lines += 1;
            return true;
        }
        window.dropped += 1;
        window.component.get_or_insert_with(|| Arc::clone(component));
        false
    }

    /// Reports what was dropped, if the window is over. Whether it is, or none has begun.
    pub(super) fn turn(&self, now: Instant) -> bool {
        self.window().turn(now)
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
    fn turn(&mut self, now: Instant) -> bool {
        let Some(began) = self.began else { return true };
        let over = now.saturating_duration_since(began) >= WINDOW;
        if over {
            *self = Self::default();
        }
        over
    }
}

/// A window is over, or its place is no more: reports what was dropped.
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
    fn a_window_ends() {
        let (budget, name) = (LineBudget::default(), Arc::from("chatty"));
        let began = Instant::now();
        assert!((0..Bound::LogLines.most()).all(|_| budget.take(&name, began)));
        let late = began + WINDOW - Duration::from_millis(1);
        assert!(!budget.turn(late) && !budget.take(&name, late));
        assert!(budget.take(&name, began + WINDOW));
        assert_eq!(budget.window().dropped, 0);
    }
}
