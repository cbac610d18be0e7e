//! The picture of the live view, and what its keys change. Pure.

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::TableState;

use super::tables::{LiveTable, SnapshotChange, SortOrder};

/// The tables, from above.
const NAMES: [&str; 4] = ["DOMAINS", "SINKS", "COMPONENTS", "PUBLISHERS"];
const HELP: &str = "tab: next table; left, right: sort by; r: reverse; up, down: scroll; q: quit";
/// Rows of the tables that are not selected, if the screen is full.
const FEW: usize = 3;
/// An empty line, the name of the table and its header.
const AROUND: usize = 3;

/// What the keys change.
#[derive(Debug)]
pub(super) struct LiveView {
    /// Whether the terminal shows styles and colours.
    styled: bool,
    selected: usize,
    orders: [Option<SortOrder>; NAMES.len()],
    scrolled: [usize; NAMES.len()],
}

impl LiveView {
    /// The first table, which has the order that the agent gives it until a key changes that.
    pub(super) fn new(styled: bool) -> Self {
        let first = Some(SortOrder::default());
        let orders = [None, first, first, first];
        Self { styled, selected: 0, orders, scrolled: [0; NAMES.len()] }
    }

    /// Applies a key. Returns false for the end.
    pub(super) fn press(&mut self, key: KeyEvent, change: &SnapshotChange<'_>) -> bool {
        let columns = tables(change)[self.selected].headers.len();
        let order = &mut self.orders[self.selected];
        let scrolled = &mut self.scrolled[self.selected];
        let last = columns.saturating_sub(1);
        match key.code {
            KeyCode::Char('q') => return false,
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return false;
            }
            KeyCode::Tab => self.selected = (self.selected + 1) % NAMES.len(),
            KeyCode::BackTab => self.selected = (self.selected + NAMES.len() - 1) % NAMES.len(),
            KeyCode::Char('r') => {
                let order = order.get_or_insert_default();
                order.reversed = !order.reversed;
            }
            KeyCode::Left => {
                let order = order.get_or_insert_default();
                order.column = order.column.saturating_sub(1);
            }
            KeyCode::Right => {
                let order = order.get_or_insert_default();
                order.column = (order.column + 1).min(last);
            }
            KeyCode::Up => *scrolled = scrolled.saturating_sub(1),
            KeyCode::Down => *scrolled += 1,
            _ => {}
        }
        true
    }

    /// Draws all. The tables share the rows that the titles leave.
    pub(super) fn draw(
        &mut self,
        frame: &mut Frame<'_>,
        titles: &[String],
        change: &SnapshotChange<'_>,
    ) {
        let tables = tables(change);
        let states = format!("domains {}", change.domain_states());
        let [top, middle, bottom] = Layout::vertical([
            Constraint::Length(u16::try_from(titles.len() + 1).unwrap_or(u16::MAX)),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        for (line, row) in titles.iter().chain([&states]).zip(top.rows()) {
            frame.render_widget(Line::from(line.as_str()), row);
        }
        frame.render_widget(Line::from(HELP), bottom);
        let counts = [0, 1, 2, 3].map(|at: usize| tables[at].rows.len());
        let left = usize::from(middle.height).saturating_sub(AROUND * NAMES.len());
        let shown = share(counts, self.selected, left);
        let heights = shown.map(|rows| u16::try_from(rows + AROUND).unwrap_or(u16::MAX));
        let areas: [Rect; NAMES.len()] =
            Layout::vertical(heights.map(Constraint::Length)).areas(middle);
        for (at, table) in tables.into_iter().enumerate() {
            let all = (at == 0).then(|| change.domain_count());
            self.draw_table(frame, areas[at], (at, table), (shown[at], all));
        }
    }

    /// `all` is the number of domains, if that is the table.
    fn draw_table(
        &mut self,
        frame: &mut Frame<'_>,
        area: Rect,
        (at, mut table): (usize, LiveTable),
        (shown, all): (usize, Option<Option<u64>>),
    ) {
        if let Some(order) = self.orders[at] {
            table.sort(order);
        }
        let is_selected = at == self.selected;
        let count = table.rows.len();
        let skipped = count.saturating_sub(shown).min(self.scrolled[at]);
        self.scrolled[at] = skipped;
        let total = match all {
            Some(None) => "the agent has no telemetry.listen".to_owned(),
            Some(Some(all)) if all > count as u64 => format!("{count} of {all}"),
            _ => count.to_string(),
        };
        let part = match count - shown {
            0 => total,
            _ => format!("{} to {} of {total}", skipped + 1, skipped + shown),
        };
        let mark = if is_selected { ">" } else { " " };
        let heading = Line::from(format!("{mark} {} ({part})", NAMES[at]));
        let heading = if self.styled { heading.style(Style::new().bold()) } else { heading };
        let [_, name, rows] =
            Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Fill(1)])
                .areas(area);
        frame.render_widget(heading, name);
        let widget = table.widget(self.orders[at].filter(|_| is_selected), self.styled);
        let mut state = TableState::new().with_offset(skipped);
        frame.render_stateful_widget(widget, rows, &mut state);
    }
}

fn tables(change: &SnapshotChange<'_>) -> [LiveTable; NAMES.len()] {
    [change.domains(), change.sinks(), change.components(), change.publishers()]
}

/// Shares rows among tables: the selected one gets what the others leave.
fn share(counts: [usize; NAMES.len()], selected: usize, left: usize) -> [usize; NAMES.len()] {
    if counts.iter().sum::<usize>() <= left {
        return counts;
    }
    let mut shown = counts.map(|count| count.min(FEW));
    let others: usize = (0..NAMES.len()).filter(|at| *at != selected).map(|at| shown[at]).sum();
    shown[selected] = counts[selected].min(left.saturating_sub(others));
    shown
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::super::tables::Snapshot;
    use super::*;

    fn snapshot() -> Snapshot {
        let domains: Vec<_> = (0..30)
            .map(|nth| {
                let state = if nth == 0 { "stuck" } else { "healthy" };
                json!({"id": nth.to_string(), "name": format!("web-{nth:02}"), "state": state})
            })
            .collect();
        let domains = json!({"all": 300, "domains": domains});
        Snapshot { status: json!({}), components: json!([]), domains }
    }

    fn shown(view: &mut LiveView, (columns, rows): (u16, u16)) -> Vec<String> {
        let now = snapshot();
        let change = SnapshotChange { now: &now, before: None };
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        let titles = ["nephometer, a title that is too long for a small terminal".to_owned()];
        terminal.draw(|frame| view.draw(frame, &titles, &change)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..rows).map(|y| line(y).trim_end().to_owned()).collect()
    }

    fn press(view: &mut LiveView, keys: &[KeyCode]) -> bool {
        let now = snapshot();
        let change = SnapshotChange { now: &now, before: None };
        keys.iter().all(|key| view.press(KeyEvent::from(*key), &change))
    }

    #[test]
    fn the_selected_table_gets_the_rows_that_are_left() {
        assert_eq!(share([2, 3, 4, 0], 0, 9), [2, 3, 4, 0]);
        assert_eq!(share([20, 20, 2, 0], 0, 15), [10, 3, 2, 0]);
        assert_eq!(share([20, 20, 2, 0], 1, 15), [3, 10, 2, 0]);
        assert_eq!(share([20, 20, 20, 0], 2, 2), [3, 3, 0, 0]);
    }

    #[test]
    fn domains_are_listed_scrolled_and_sorted() {
        let mut view = LiveView::new(false);
        let lines = shown(&mut view, (80, 24));
        assert!(lines[3].starts_with("> DOMAINS (1 to 9 of 30 of 300)"), "{lines:#?}");
        assert!(lines[5].starts_with("web-00") && lines[5].contains("stuck"), "{lines:#?}");
        assert!(press(&mut view, &[KeyCode::Down, KeyCode::Down]));
        assert!(shown(&mut view, (80, 24))[5].starts_with("web-02"));
        assert!(press(&mut view, &[KeyCode::Char('r')]));
        let lines = shown(&mut view, (80, 24));
        assert!(lines[4].starts_with("DOMAIN^") && lines[5].starts_with("web-27"), "{lines:#?}");
    }

    #[test]
    fn keys_select_tables_columns_and_the_end() {
        let mut view = LiveView::new(true);
        assert!(press(&mut view, &[KeyCode::Tab, KeyCode::Tab]) && view.selected == 2);
        assert!(press(&mut view, &[KeyCode::Right; 20]));
        assert_eq!(view.orders[2].unwrap().column, 7);
        assert!(press(&mut view, &[KeyCode::Left, KeyCode::Char('r'), KeyCode::Char('c')]));
        assert_eq!(view.orders[2], Some(SortOrder { column: 6, reversed: true }));
        assert!(press(&mut view, &[KeyCode::BackTab]) && view.selected == 1);
        assert!(!press(&mut view, &[KeyCode::Char('q')]));
        let now = snapshot();
        let change = SnapshotChange { now: &now, before: None };
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(!view.press(interrupt, &change));
    }

    #[test]
    fn a_small_terminal_has_the_title_and_the_help() {
        let lines = shown(&mut LiveView::new(true), (20, 4));
        assert_eq!(
            (lines[0].as_str(), lines[3].as_str()),
            ("nephometer, a title", "tab: next table; lef")
        );
    }
}
