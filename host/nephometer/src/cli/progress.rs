//! What a long command is doing, on standard error, if that is a terminal.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::time::{Duration, Instant};

use super::{columns, output};
use nephometer_model::clean;

/// The time between two lines, and before the first.
const EVERY: Duration = Duration::from_millis(200);

/// Waits for something, and shows what for if it takes a while.
pub(super) async fn waiting<T>(doing: &str, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut progress = Progress::new();
    tokio::select! {
        biased;
        done = &mut work => done,
        () = tokio::time::sleep(EVERY) => {
            progress.step(doing);
            work.await
        }
    }
}

/// One line that is written again and again, and removed at the end.
#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
    next: Instant,
    has_line: bool,
}

impl Progress {
    /// Shows nothing yet. A command that ends soon has no progress.
    pub(super) fn new() -> Self {
        let is_shown = io::stderr().is_terminal();
        Self { is_shown, next: Instant::now() + EVERY, has_line: false }
    }

    /// The same for a command that prints its results meanwhile: nothing is shown between them.
    pub(super) fn beside_output() -> Self {
        let all = Self::new();
        Self { is_shown: all.is_shown && !io::stdout().is_terminal(), ..all }
    }

    /// Shows how much is done, of how much if that is known.
    pub(super) fn count(&mut self, doing: &str, done: usize, of: Option<usize>) {
        if self.is_due() {
            match of.filter(|of| *of > 0) {
                Some(of) => self.write(&format!("{doing}: {done} of {of} ({}%)", 100 * done / of)),
                None => self.write(&format!("{doing}: {done}")),
            }
        }
    }

    /// Shows what is done next, at once.
    pub(super) fn step(&mut self, doing: &str) {
        if self.is_shown {
            self.write(doing);
        }
    }

    fn is_due(&self) -> bool {
        self.is_shown && Instant::now() >= self.next
    }

    fn write(&mut self, line: &str) {
        let width = output::size().map_or(80, |(columns, _)| columns.saturating_sub(1));
        let line = columns::cut(&clean(line), width);
        // Progress that cannot be shown must not end the command.
        drop(write!(io::stderr(), "\r\x1b[K{line}"));
        self.has_line = true;
        self.next = Instant::now() + EVERY;
    }

    /// Removes the line, for other output.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.has_line) {
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
