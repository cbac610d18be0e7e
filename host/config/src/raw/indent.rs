//! Indents lines that the YAML parser rejects. Inside brackets and quotes, PyYAML accepts any
//! indentation, but the parser requires more than that of the enclosing block. Leading blanks have
//! no meaning there, so rejected lines are indented, and columns are converted back for locations.

use std::collections::BTreeMap;

/// A text with additional indentation in some lines.
pub(super) struct Indented {
    text: String,
    /// The number of added blanks by line, counted from 1.
    shifts: BTreeMap<usize, usize>,
    lines: usize,
}

impl Indented {
    pub(super) fn new(text: &str) -> Self {
        let lines = text.split_inclusive('\n').count();
        Self { text: text.to_owned(), shifts: BTreeMap::new(), lines }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Converts a column to that of the original text.
    pub(super) fn column(&self, line: usize, column: usize) -> usize {
        column.saturating_sub(self.shifts.get(&line).copied().unwrap_or(0)).max(1)
    }

    /// Indents the line that a parser error is about. Returns false if the error has another cause,
    /// or if there is no line left to indent.
    pub(super) fn mend(&mut self, fault: &str, line: usize) -> bool {
        let line = match fault {
            "invalid indentation"
            | "invalid indentation in flow construct"
            | "tab cannot be used as indentation" => line,
            // The error names the line of the opening quote; the cause is one of the next lines.
            "invalid indentation in quoted scalar" => {
                let mut next = line + 1;
                while self.shifts.contains_key(&next) {
                    next += 1;
                }
                next
            }
            _ => return false,
        };
        if line > self.lines || self.shifts.contains_key(&line) {
            return false;
        }
        let start: usize = self.text.split_inclusive('\n').take(line - 1).map(str::len).sum();
        // No open block is deeper than the longest line before, measured in bytes: a line has at
        // least as many bytes as characters.
        let deepest = self.text[..start].lines().map(str::len).max();
        let shift = deepest.unwrap_or(0) + 1;
        self.text.insert_str(start, &" ".repeat(shift));
        self.shifts.insert(line, shift);
        true
    }
}
