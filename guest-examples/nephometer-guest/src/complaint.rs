//! Log lines that summarize rows.

use crate::{Row, log};

/// One log line for all rows of a batch with the same problem.
#[derive(Debug)]
pub struct Complaint {
    what: &'static str,
    level: log::Level,
    rows: usize,
    first: String,
}

impl Complaint {
    /// Begins without rows. `what` names what happens to the rows, such as `dropping late samples`.
    pub fn new(level: log::Level, what: &'static str) -> Self {
        Self { what, level, rows: 0, first: String::new() }
    }

    /// Counts a row. The first one is named in the line, with the reason; it may be empty.
    pub fn add(&mut self, row: &Row<'_>, reason: &str) {
        if self.rows == 0 {
            let separator = if reason.is_empty() { "" } else { ": " };
            self.first =
                format!("{} of {}{separator}{reason}", row.meter().name, row.resource().id);
        }
        self.rows += 1;
    }

    /// Writes the line, unless there are no rows.
    pub fn write(self) {
        let Self { what, level, rows, first } = self;
        match rows {
            0 => {}
            1 => log::write(level, &format!("{what}: {first}")),
            _ => log::write(level, &format!("{what}: {first}, and {} more", rows - 1)),
        }
    }
}
