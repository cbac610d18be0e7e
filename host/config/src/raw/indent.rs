//! Lines within brackets and quotes may stand as far to the left as they like for PyYAML; the
//! parser wants them deeper than what is around them. Blanks before such a line mean nothing, so
//! the ones that it stumbles over are indented, and the places are counted back.

use std::collections::BTreeMap;

/// A text with some of its lines moved to the right.
pub(super) struct Indented {
    text: String,
    /// By line, counted from 1.
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

    /// The column in the text as it was written.
    pub(super) fn column(&self, line: usize, column: usize) -> usize {
        column.saturating_sub(self.shifts.get(&line).copied().unwrap_or(0)).max(1)
    }

    /// Mends what the parser says about a line, if that is one of the faults meant above and
    /// there is a line left to move.
    pub(super) fn mend(&mut self, fault: &str, line: usize) -> bool {
        let line = match fault {
            "invalid indentation"
            | "invalid indentation in flow construct"
            | "tab cannot be used as indentation" => line,
            // It names the line where the quotes begin; it is one of the next.
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
        // No block that is open here can be deeper than the lines before are long, in bytes, which
        // are as many as characters or more.
        let deepest = self.text[..start].lines().map(str::len).max();
        let shift = deepest.unwrap_or(0) + 1;
        self.text.insert_str(start, &" ".repeat(shift));
        self.shifts.insert(line, shift);
        true
    }
}
