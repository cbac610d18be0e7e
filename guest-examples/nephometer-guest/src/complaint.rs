use crate::{Row, log};

/// One line of log for all rows of a batch that have the same trouble.
#[derive(Debug)]
pub struct Complaint {
    what: &'static str,
    level: log::Level,
    rows: usize,
    first: String,
}

impl Complaint {
    /// Nothing to complain of yet. `what` says what happens to the rows.
    pub fn new(level: log::Level, what: &'static str) -> Self {
        Self { what, level, rows: 0, first: String::new() }
    }

    /// One more row, and why.
    pub fn add(&mut self, row: &Row<'_>, reason: &str) {
        if self.rows == 0 {
            let separator = if reason.is_empty() { "" } else { ": " };
            self.first =
                format!("{} of {}{separator}{reason}", row.meter().name, row.resource().id);
        }
        self.rows += 1;
    }

    /// Writes the line, if there is something to say.
    pub fn write(self) {
        let Self { what, level, rows, first } = self;
        match rows {
            0 => {}
            1 => log::write(level, &format!("{what}: {first}")),
            _ => log::write(level, &format!("{what}: {first}, and {} more", rows - 1)),
        }
    }
}
