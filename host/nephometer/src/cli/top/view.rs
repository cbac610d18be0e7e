//! The picture of the live view as lines of text, and what its keys change. Pure.

use super::tables::{SnapshotChange, SortOrder};
use super::terminal::Key;
use crate::cli::columns::{BOLD, Canvas};

const REVERSE: &str = "\x1b[7m";
const NAMES: [&str; 3] = ["sinks", "components", "publishers"];
const HELP: &str = "tab: next table; left, right: sort by; r: reverse; up, down: scroll; q: quit";
/// Rows of the tables that are not selected, if the screen is full.
const FEW: usize = 3;

/// What the keys change.
#[derive(Debug, Default)]
pub(super) struct LiveView {
    selected: usize,
    orders: [SortOrder; 3],
    scrolled: [usize; 3],
}

impl LiveView {
    /// Applies a key. Returns false for the end.
    pub(super) fn press(&mut self, key: Key, columns: [usize; 3]) -> bool {
        let order = &mut self.orders[self.selected];
        let scrolled = &mut self.scrolled[self.selected];
        let last = columns[self.selected].saturating_sub(1);
        match key {
            Key::Char('q' | '\u{3}' | '\u{4}') => return false,
            Key::Char('\t') => self.selected = (self.selected + 1) % NAMES.len(),
            Key::Char('r') => order.reversed = !order.reversed,
            Key::Left => order.column = order.column.saturating_sub(1),
            Key::Right => order.column = (order.column + 1).min(last),
            Key::Up => *scrolled = scrolled.saturating_sub(1),
            Key::Down => *scrolled += 1,
            Key::Char(_) => {}
        }
        true
    }

    /// Makes the lines. `title` is cut; the tables share the rows that are left.
    pub(super) fn lines(
        &mut self,
        titles: &[String],
        change: Option<&SnapshotChange<'_>>,
        canvas: Canvas,
    ) -> Vec<String> {
        let fit = |line: &str| canvas.fit(line);
        let mut lines: Vec<String> = titles.iter().map(|line| fit(line)).collect();
        if let Some(change) = change {
            lines.push(fit(&format!("domains {}", change.domains())));
            let tables = [change.sinks(), change.components(), change.publishers()];
            let counts = [0, 1, 2].map(|at: usize| tables[at].rows.len());
            // Each table has an empty line and two headings; the help is below.
            let left = canvas.rows.saturating_sub(lines.len() + 3 * NAMES.len() + 2);
            let shown = share(counts, self.selected, left);
            for (at, mut table) in tables.into_iter().enumerate() {
                let order = self.orders[at];
                table.sort(order);
                let selected = at == self.selected;
                let skipped = counts[at].saturating_sub(shown[at]).min(self.scrolled[at]);
                self.scrolled[at] = skipped;
                let more = match counts[at] - shown[at] {
                    0 => String::new(),
                    _ => format!(", {} to {} of", skipped + 1, skipped + shown[at]),
                };
                let mark = if selected { ">" } else { " " };
                let heading = format!("{mark} {}{more} {}", NAMES[at].to_uppercase(), counts[at]);
                let heading = match more.is_empty() {
                    true => format!("{mark} {} ({})", NAMES[at].to_uppercase(), counts[at]),
                    false => heading,
                };
                lines.push(String::new());
                lines.push(canvas.style(BOLD, &heading));
                let mut rows = table.lines(selected.then_some(order)).into_iter();
                lines.extend(rows.next().map(|header| canvas.style(REVERSE, &header)));
                lines.extend(rows.skip(skipped).take(shown[at]).map(|row| fit(&row)));
            }
        }
        lines.truncate(canvas.rows.saturating_sub(2));
        lines.push(String::new());
        lines.push(fit(HELP));
        lines
    }
}

/// Shares rows among tables: the selected one gets what the others leave.
fn share(counts: [usize; 3], selected: usize, left: usize) -> [usize; 3] {
    if counts.iter().sum::<usize>() <= left {
        return counts;
    }
    let mut shown = counts.map(|count| count.min(FEW));
    let others: usize = (0..3).filter(|at| *at != selected).map(|at| shown[at]).sum();
    shown[selected] = counts[selected].min(left.saturating_sub(others));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_table_gets_the_rows_that_are_left() {
        assert_eq!(share([2, 3, 4], 0, 9), [2, 3, 4]);
        assert_eq!(share([20, 20, 2], 0, 15), [10, 3, 2]);
        assert_eq!(share([20, 20, 2], 1, 15), [3, 10, 2]);
        assert_eq!(share([20, 20, 20], 2, 2), [3, 3, 0]);
    }

    #[test]
    fn keys_select_tables_columns_and_the_end() {
        let mut view = LiveView::default();
        let columns = [2, 8, 6];
        assert!(view.press(Key::Char('\t'), columns) && view.selected == 1);
        for _ in 0..20 {
            assert!(view.press(Key::Right, columns));
        }
        assert_eq!(view.orders[1].column, 7);
        assert!(view.press(Key::Left, columns) && view.press(Key::Char('r'), columns));
        assert_eq!(view.orders[1], SortOrder { column: 6, reversed: true });
        assert!(!view.press(Key::Char('q'), columns) && !view.press(Key::Char('\u{3}'), columns));
    }

    #[test]
    fn a_small_terminal_has_the_titles_and_the_help() {
        let mut view = LiveView::default();
        let canvas = Canvas { columns: 20, rows: 4, styled: false };
        let titles = ["nephometer, a title that is too long".to_owned()];
        let lines = view.lines(&titles, None, canvas);
        assert_eq!(lines, ["nephometer, a title…", "", "tab: next table; le…"]);
    }
}
