//! The tables of the live view, from two answers of the agent: domains, sinks, components and publishers.
//! Pure.

use std::cmp::Ordering;
use std::time::Duration;

use ratatui::layout::{Constraint, Flex};
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::{Row, Table};
use serde_json::Value;

use crate::cli::ask::{list, text};
use crate::cli::columns::{self, Attention, attention};

/// What the agent returned at one time.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// The answer to `status`.
    pub(super) status: Value,
    /// The answer to `component_status`.
    pub(super) components: Value,
    /// The answer to `domains`.
    pub(super) domains: Value,
}

/// A snapshot with the one before, for rates.
#[derive(Debug)]
pub(super) struct SnapshotChange<'a> {
    pub(super) now: &'a Snapshot,
    /// `None` at the start, and after a restart of the agent.
    pub(super) before: Option<(&'a Snapshot, Duration)>,
}

/// A cell: what is shown, and what it is sorted by.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    /// `None` for texts.
    pub(super) number: Option<f64>,
}

/// One table.
#[derive(Debug)]
pub(super) struct LiveTable {
    pub(super) headers: Vec<&'static str>,
    pub(super) rows: Vec<Vec<Cell>>,
}

/// What a table is sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SortOrder {
    pub(super) column: usize,
    pub(super) reversed: bool,
}

impl LiveTable {
    /// Sorts the rows: texts from a to z, numbers from the largest on, or the reverse.
    pub(super) fn sort(&mut self, order: SortOrder) {
        let key = |row: &Vec<Cell>| row.get(order.column).cloned();
        self.rows.sort_by(|a, b| {
            let compared = match (key(a), key(b)) {
                (Some(a), Some(b)) => match (a.number, b.number) {
                    (Some(a), Some(b)) => b.total_cmp(&a),
                    _ => a.text.cmp(&b.text),
                },
                _ => Ordering::Equal,
            };
            if order.reversed { compared.reverse() } else { compared }
        });
    }

    /// Its widget: numbers are aligned to the right, and the header marks the order.
    pub(super) fn widget(&self, order: Option<SortOrder>, styled: bool) -> Table<'static> {
        let headers: Vec<String> = self
            .headers
            .iter()
            .enumerate()
            .map(|(at, header)| match order.filter(|order| order.column == at) {
                Some(order) if order.reversed => format!("{header}^"),
                Some(_) => format!("{header}v"),
                None => (*header).to_owned(),
            })
            .collect();
        let width = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            let cells = cells.map(|cell| columns::width(&cell.text));
            cells.chain([columns::width(&headers[at])]).max().unwrap_or(0)
        };
        let widths = (0..headers.len()).map(width);
        let widths =
            widths.map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)));
        let widths: Vec<Constraint> = widths.collect();
        let is_number = |at: usize| {
            self.rows.first().and_then(|row| row.get(at)).is_some_and(|cell| cell.number.is_some())
        };
        let aligned = |at: usize, text: &str| {
            let line = Line::from(text.to_owned());
            if is_number(at) { line.right_aligned() } else { line }
        };
        let row = |cells: &Vec<Cell>| {
            Row::new(cells.iter().enumerate().map(|(at, cell)| {
                let colour =
                    attention(&cell.text).filter(|_| styled && self.headers[at] == "STATE");
                aligned(at, &cell.text).style(match colour {
                    Some(Attention::Now) => Style::new().fg(Color::Red),
                    Some(Attention::Soon) => Style::new().fg(Color::Yellow),
                    None => Style::new(),
                })
            }))
        };
        let header = Row::new(headers.iter().enumerate().map(|(at, text)| aligned(at, text)));
        let header = if styled { header.style(Style::new().reversed()) } else { header };
        Table::new(self.rows.iter().map(row), widths)
            .header(header)
            .column_spacing(2)
            .flex(Flex::Start)
    }
}

fn word(value: &Value) -> Cell {
    Cell { text: text(value), number: None }
}

/// A time in seconds, in UTC.
fn time(value: &Value) -> Cell {
    let text = text(value);
    let whole = text.split_once('.').map_or(text.as_str(), |(whole, _)| whole);
    Cell { text: whole.replacen('T', " ", 1), number: None }
}

fn count(value: &Value) -> Cell {
    let number = value.as_f64().unwrap_or_default();
    Cell { text: short(number), number: Some(number) }
}

/// At most five characters: `9999`, `12.3k`, `4.5M`.
fn short(number: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")];
    match units.iter().find(|(least, _)| number >= *least) {
        Some((least, unit)) => {
            let scale = if *unit == "k" { 1e3 } else { *least };
            format!("{:.1}{unit}", number / scale)
        }
        None if number.fract() == 0.0 => format!("{number:.0}"),
        None => format!("{number:.1}"),
    }
}

fn bytes(value: &Value) -> Cell {
    let number = value.as_f64().unwrap_or_default();
    let text = match number {
        small if small < 1024.0 * 1024.0 => format!("{:.0} KiB", small / 1024.0),
        large => format!("{:.1} MiB", large / 1024.0 / 1024.0),
    };
    Cell { text, number: Some(number) }
}

/// The growth of a number in a second; unknown without an earlier one.
fn rate(now: &Value, before: Option<&Value>, time: Option<Duration>) -> Option<f64> {
    let (now, before) = (now.as_f64()?, before?.as_f64()?);
    let seconds = time?.as_secs_f64();
    (seconds > 0.0).then(|| ((now - before) / seconds).max(0.0))
}

fn per_second(rate: Option<f64>) -> Cell {
    Cell { text: rate.map_or_else(|| "-".to_owned(), short), number: Some(rate.unwrap_or(-1.0)) }
}

fn sum(counts: &Value) -> Value {
    let all = counts.as_object().into_iter().flat_map(|counts| counts.values());
    all.filter_map(Value::as_u64).sum::<u64>().into()
}

/// The element of a list with the same keys as another one.
fn same<'a>(all: &'a [Value], like: &Value, keys: &[&str]) -> Option<&'a Value> {
    all.iter().find(|one| keys.iter().all(|key| one[*key] == like[*key]))
}

impl SnapshotChange<'_> {
    fn time(&self) -> Option<Duration> {
        self.before.map(|(_, time)| time)
    }

    /// Samples that were polled in a second.
    pub(super) fn polled(&self) -> Option<f64> {
        let of = |one: &Snapshot| one.status["ledger"]["polled"].clone();
        rate(&of(self.now), self.before.map(|(one, _)| of(one)).as_ref(), self.time())
    }

    /// The domains that the agent reports, those with missing values first.
    pub(super) fn domains(&self) -> LiveTable {
        let rows = list(&self.now.domains["domains"]).iter().map(|one| {
            let meters = list(&one["missing"]).iter().filter_map(|it| it["meter_count"].as_u64());
            let missing: u64 = meters.sum();
            let name = if one["name"].is_string() { &one["name"] } else { &one["id"] };
            vec![
                word(name),
                word(&one["project"]),
                word(&one["state"]),
                time(&one["since"]),
                count(&missing.into()),
                time(&one["newest"]),
            ]
        });
        let headers = vec!["DOMAIN", "PROJECT", "STATE", "SINCE", "METERS MISSING", "LAST VALUE"];
        LiveTable { headers, rows: rows.collect() }
    }

    /// How many domains there are; `None` if the agent does not report them.
    pub(super) fn domain_count(&self) -> Option<u64> {
        self.now.domains["all"].as_u64()
    }

    /// The domains of all intervals by state, as one line.
    pub(super) fn domain_states(&self) -> String {
        let polling = &self.now.status["polling"];
        if let Some(reason) = polling["unlistable"].as_str() {
            return format!("domains cannot be listed: {}", nephometer_model::clean(reason));
        }
        let intervals = list(&polling["intervals"]).iter().map(|one| {
            let domains = one["domains"].as_object();
            let states =
                domains.into_iter().flatten().map(|(state, count)| format!("{count} {state}"));
            let states = states.collect::<Vec<_>>().join(", ");
            let [interval, age] = ["interval_seconds", "age_seconds"]
                .map(|key| one[key].as_f64().unwrap_or_default());
            format!("every {interval} s, {age:.0} s ago: {states}")
        });
        let intervals = intervals.collect::<Vec<_>>();
        if intervals.is_empty() {
            "no polling cycle so far".to_owned()
        } else {
            intervals.join("; ")
        }
    }

    pub(super) fn sinks(&self) -> LiveTable {
        let before = self.before.map(|(one, _)| list(&one.status["ledger"]["sinks"]));
        let states = list(&self.now.status["sinks"]);
        let rows = list(&self.now.status["ledger"]["sinks"]).iter().filter_map(|sink| {
            // The ledger keeps sinks that are not configured any more.
            let state = same(states, sink, &["sink"])?;
            let earlier = before.and_then(|all| same(all, sink, &["sink"]));
            let entered = rate(&sink["entered"], earlier.map(|one| &one["entered"]), self.time());
            Some(vec![
                word(&sink["sink"]),
                word(&state["state"]),
                per_second(entered),
                count(&sink["processed"]),
                count(&sink["pending"]),
                count(&sum(&sink["dropped"])),
                count(&state["reloads"]),
            ])
        });
        let headers = vec!["SINK", "STATE", "IN /s", "PROCESSED", "PENDING", "DROPPED", "RELOADS"];
        LiveTable { headers, rows: rows.collect() }
    }

    pub(super) fn components(&self) -> LiveTable {
        let before = self.before.map(|(one, _)| list(&one.components));
        let rows = list(&self.now.components).iter().map(|one| {
            let earlier = before.and_then(|all| same(all, one, &["place", "component"]));
            let grown = |key: &str| rate(&one[key], earlier.map(|it| &it[key]), self.time());
            let cpu = grown("cpu_seconds").map(|share| share * 100.0);
            let digest = text(&one["digest"]);
            vec![
                word(&one["place"]),
                Cell { text: format!("{}@{digest}", text(&one["component"])), number: None },
                per_second(grown("calls")),
                per_second(grown("rows_in")),
                per_second(cpu),
                bytes(&one["memory_bytes"]),
                count(&one["failures"]),
                count(&one["restarts"]),
            ]
        });
        let headers = vec![
            "PLACE",
            "COMPONENT",
            "CALLS /s",
            "ROWS /s",
            "CPU %",
            "MEMORY",
            "FAILURES",
            "RESTARTS",
        ];
        LiveTable { headers, rows: rows.collect() }
    }

    pub(super) fn publishers(&self) -> LiveTable {
        let before = self.before.map(|(one, _)| list(&one.status["ledger"]["sinks"]));
        let mut rows = Vec::new();
        for sink in list(&self.now.status["ledger"]["sinks"]) {
            let earlier = before.and_then(|all| same(all, sink, &["sink"]));
            for one in list(&sink["publishers"]) {
                let earlier = earlier.map(|it| list(&it["publishers"]));
                let earlier = earlier.and_then(|all| same(all, one, &["publisher"]));
                let confirmed =
                    rate(&one["confirmed"], earlier.map(|it| &it["confirmed"]), self.time());
                rows.push(vec![
                    word(&one["publisher"]),
                    word(&sink["sink"]),
                    per_second(confirmed),
                    count(&one["confirmed"]),
                    count(&one["pending"]),
                    count(&sum(&one["dropped"])),
                ]);
            }
        }
        let headers = vec!["PUBLISHER", "SINK", "CONFIRMED /s", "CONFIRMED", "PENDING", "DROPPED"];
        LiveTable { headers, rows }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn snapshot(entered: u64) -> Snapshot {
        let sink = |name: &str, entered: u64| {
            json!({
                "sink": name, "entered": entered, "processed": entered, "pending": 0,
                "dropped": {"policy": 2, "too_old": 1},
                "publishers": [{"publisher": "test://", "confirmed": entered, "pending": 1, "dropped": {}}],
            })
        };
        let state = |name: &str| json!({"sink": name, "state": "running", "reloads": 0});
        let status = json!({
            "ledger": {"polled": entered, "sinks": [sink("a", entered), sink("b", 3 * entered), sink("old", 1)]},
            "sinks": [state("a"), state("b")],
            "polling": {"unlistable": null, "intervals": [
                {"interval_seconds": 10.0, "age_seconds": 3.2, "domains": {"healthy": 9, "stuck": 1}},
            ]},
        });
        let components = json!([{
            "place": "a/0", "component": "c", "digest": "8a4c", "calls": entered, "rows_in": entered,
            "cpu_seconds": entered as f64 / 1000.0, "memory_bytes": 3 << 20, "failures": 0, "restarts": 0,
        }]);
        let domains = json!({"all": 2, "domains": [
            {"id": "u1", "name": "web", "project": "p", "state": "stuck", "since": "2026-03-01T10:00:00.5",
             "newest": "2026-03-01T09:59:50", "missing": [{"meter_count": 3}, {"meter_count": 2}]},
            {"id": "u2", "name": null, "project": null, "state": "healthy", "since": null, "newest": null, "missing": []},
        ]});
        Snapshot { status, components, domains }
    }

    fn texts(table: &LiveTable, column: usize) -> Vec<&str> {
        table.rows.iter().map(|row| row[column].text.as_str()).collect()
    }

    #[test]
    fn tables_have_rates_and_are_sorted() {
        let (before, now) = (snapshot(100), snapshot(300));
        let change = SnapshotChange { now: &now, before: Some((&before, Duration::from_secs(2))) };
        assert_eq!(change.polled(), Some(100.0));
        assert_eq!(change.domain_states(), "every 10 s, 3 s ago: 9 healthy, 1 stuck");
        let mut sinks = change.sinks();
        assert_eq!((texts(&sinks, 0), texts(&sinks, 2)), (vec!["a", "b"], vec!["100", "300"]));
        assert_eq!(texts(&sinks, 5), ["3", "3"]);
        sinks.sort(SortOrder { column: 2, reversed: false });
        assert_eq!(texts(&sinks, 0), ["b", "a"], "the largest first");
        sinks.sort(SortOrder { column: 0, reversed: true });
        assert_eq!(texts(&sinks, 0), ["b", "a"]);
        let components = change.components();
        assert_eq!((texts(&components, 4), texts(&components, 5)), (vec!["10"], vec!["3.0 MiB"]));
        assert_eq!(texts(&change.publishers(), 1), ["a", "b", "old"]);
        let domains = change.domains();
        assert_eq!((texts(&domains, 0), texts(&domains, 4)), (vec!["web", "u2"], vec!["5", "0"]));
        assert_eq!(texts(&domains, 3), ["2026-03-01 10:00:00", ""]);
        assert_eq!(change.domain_count(), Some(2));

        let first = SnapshotChange { now: &now, before: None };
        assert_eq!(texts(&first.sinks(), 2), ["-", "-"]);
    }

    #[test]
    fn numbers_are_short() {
        for (number, expected) in
            [(0.0, "0"), (9_999.0, "9999"), (12_345.0, "12.3k"), (4.5e6, "4.5M"), (0.25, "0.2")]
        {
            assert_eq!(short(number), expected);
        }
    }
}
