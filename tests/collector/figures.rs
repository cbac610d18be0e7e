//! Statistics against a recount: late, early, repeated, zoned, null and huge values, from sums by hour
//! and from samples.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::Collector;

/// Microseconds since the epoch of the first hour.
const HOURS: i64 = 60;

/// A sample of the test: its hour, minute, resource and volume.
struct Made {
    hour: i64,
    minute: i64,
    resource: usize,
    volume: Value,
}

/// The time `hour` and `minute` after the start, in a zone.
fn stamp(start: jiff::Timestamp, made: &Made, zone: i8) -> String {
    let minutes = made.hour * 60 + made.minute;
    let time = start + jiff::SignedDuration::from_mins(minutes);
    let offset = jiff::tz::Offset::from_hours(zone).unwrap();
    let civil = offset.to_datetime(time);
    let text = civil.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    match zone {
        0 => text,
        zone => format!("{text}{}{:02}:00", if zone < 0 { '-' } else { '+' }, zone.abs()),
    }
}

/// Samples of 60 hours that ended some hours ago, in an order of arrival that is not theirs.
fn samples() -> Vec<Made> {
    let mut seed = 3_u64;
    let mut random = |most: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        i64::try_from((seed >> 33) % most).unwrap()
    };
    let mut all = Vec::new();
    for number in 0..1_500 {
        let volume = match number % 50 {
            0 => json!(null),
            1 => json!(1e15),
            2 => json!(-3),
            3 => json!("12.5"),
            4 => json!(i64::MAX / 1_000_000),
            _ => json!(random(1_000)),
        };
        let (hour, minute) = (random(HOURS.unsigned_abs()), random(60));
        let resource = usize::try_from(random(3)).unwrap();
        all.push(Made { hour, minute, resource, volume });
    }
    all
}

fn line(start: jiff::Timestamp, number: usize, made: &Made) -> String {
    let zone = [0, 0, 2, -5, 11][number % 5];
    json!({
        "id": format!("00000000-0000-4000-8000-{number:012}"), "name": "cpu", "type": "gauge",
        "unit": "%", "volume": made.volume, "user_id": "u", "source": "openstack",
        "project_id": format!("p{}", made.resource % 2),
        "resource_id": format!("r{}", made.resource), "timestamp": stamp(start, made, zone),
        "resource_metadata": {"display_name": format!("vm-{}", made.resource)},
    })
    .to_string()
}

/// Count, sum, min and max of non-null volumes.
type Figures = (u64, f64, f64, f64);

fn value(made: &Made) -> Option<f64> {
    made.volume.as_f64().or_else(|| made.volume.as_str().map(|text| text.parse().unwrap()))
}

fn recount<K: Ord>(all: &[Made], key: impl Fn(&Made) -> K) -> BTreeMap<K, Figures> {
    let mut found: BTreeMap<K, Figures> = BTreeMap::new();
    for made in all {
        let Some(volume) = value(made) else { continue };
        let entry = found.entry(key(made)).or_insert((0, 0.0, f64::INFINITY, f64::NEG_INFINITY));
        *entry = (entry.0 + 1, entry.1 + volume, entry.2.min(volume), entry.3.max(volume));
    }
    found
}

fn figures(row: &Value) -> Figures {
    let number = |name: &str| row[name].as_f64().unwrap();
    (row["count"].as_u64().unwrap(), number("sum"), number("min"), number("max"))
}

/// Sums of whole numbers are exact in any order; only the few huge and broken ones may round.
fn assert_equal(found: &Figures, expected: &Figures, of: &str) {
    assert_eq!((found.0, found.2, found.3), (expected.0, expected.2, expected.3), "{of}");
    let close = (found.1 - expected.1).abs() <= expected.1.abs() * 1e-12;
    assert!(close, "{of}: {found:?}, {expected:?}");
}

#[test]
fn statistics_equal_a_recount_in_any_order_of_arrival() {
    let now = jiff::Timestamp::now().as_second();
    // At the beginning of a day, so that days have sums as well.
    let start = jiff::Timestamp::from_second((now / 86_400 - 3) * 86_400).unwrap();
    let all = samples();
    let collector = Collector::new("collector-figures");
    // Every second sample comes first, and a third of all is repeated.
    let numbered: Vec<(usize, &Made)> = all.iter().enumerate().collect();
    let parts = [0, 1, 2].map(|part| {
        let chosen = numbered.iter().filter(|(number, _)| match part {
            0 => number % 2 == 0,
            1 => number % 2 == 1,
            _ => number % 3 == 0,
        });
        let lines: Vec<String> = chosen.map(|(number, made)| line(start, *number, made)).collect();
        lines.join("\n")
    });
    let mut stored = 0;
    for (part, text) in parts.iter().enumerate() {
        let file = collector.folder.write(&format!("part-{part}"), text);
        let done = collector.execute(&["import", "--unsigned", file.to_str().unwrap()]).code(0);
        let count: usize = done.stdout.split(' ').nth(1).unwrap().parse().unwrap();
        stored += count;
    }
    assert_eq!(stored, all.len());

    let from = start.to_string();
    let to = (start + jiff::SignedDuration::from_hours(HOURS)).to_string();
    let ask = |more: &[&str]| {
        let base = ["statistics", "--meter", "cpu", "--from", &*from, "--to", &*to];
        collector.query(&[&base, more].concat())
    };
    // By hour and resource, from sums; the same by minutes, from samples.
    for (period, minutes) in [("3600", 60), ("600", 10), ("86400", 1_440), ("5400", 90)] {
        let expected = recount(&all, |made| {
            ((made.hour * 60 + made.minute) / minutes, format!("r{}", made.resource))
        });
        let rows = ask(&["--period", period, "--group", "resource_id"]);
        assert_eq!(rows.len(), expected.len(), "{period}");
        for row in &rows {
            let begin: jiff::Timestamp =
                format!("{}Z", row["period_start"].as_str().unwrap()).parse().unwrap();
            let number = (begin.as_second() - start.as_second()) / 60 / minutes;
            let resource = row["groupby"]["resource_id"].as_str().unwrap().to_owned();
            let expected = &expected[&(number, resource)];
            assert_equal(&figures(row), expected, &format!("{period}: {row}"));
        }
    }
    let by_project = recount(&all, |made| format!("p{}", made.resource % 2));
    for row in ask(&["--group", "project_id"]) {
        let project = row["groupby"]["project_id"].as_str().unwrap();
        assert_equal(&figures(&row), &by_project[project], project);
    }
    // Conditions on metadata are answered from samples.
    let named = ask(&["--metadata", "display_name=vm-1"]);
    let expected = recount(&all, |made| made.resource);
    assert_equal(&figures(&named[0]), &expected[&1], "vm-1");
}

/// Older samples are refused by default, and taken where the store has none of their time.
#[test]
fn history_needs_an_empty_range() {
    let collector = Collector::new("collector-history");
    let start: jiff::Timestamp = "2020-02-28T22:00:00Z".parse().unwrap();
    let mades: Vec<Made> =
        (0..6).map(|hour| Made { hour, minute: 30, resource: 1, volume: json!(hour) }).collect();
    let lines: Vec<String> =
        mades.iter().enumerate().map(|(number, made)| line(start, number, made)).collect();
    let file = collector.folder.write("history", lines.join("\n"));
    let file = file.to_str().unwrap();
    let refused = collector.execute(&["import", "--unsigned", file]).code(0);
    let text = "refused: 6 too_old, too old to check; --empty-range accepts them";
    assert!(refused.stderr.contains(text), "{}", refused.stderr);
    let dropped = collector.execute(&["import", "--unsigned", "--empty-range", file]).code(64);
    assert!(dropped.stderr.contains("the class default does not keep it"), "{}", dropped.stderr);
    let collector = collector.set("store.keep", "forever").set("store.rollups", "forever");
    let taken = collector.execute(&["import", "--unsigned", "--empty-range", file]).code(0);
    assert!(taken.stdout.contains("ok: 6 stored"), "{}", taken.stdout);
    let again = collector.execute(&["import", "--unsigned", "--empty-range", file]).code(64);
    assert!(again.stderr.contains("the store has samples of this time"), "{}", again.stderr);
    // Over the end of a leap day's month.
    let days = collector.query(&[
        "statistics",
        "--meter",
        "cpu",
        "--period",
        "86400",
        "--from",
        "2020-02-28T00:00:00",
        "--to",
        "2020-03-02T00:00:00",
    ]);
    let found: Vec<(&str, f64)> = days
        .iter()
        .map(|day| (day["period_start"].as_str().unwrap(), day["sum"].as_f64().unwrap()))
        .collect();
    assert_eq!(found, [("2020-02-28T00:00:00", 1.0), ("2020-02-29T00:00:00", 14.0)]);
}

/// Local days in Central Europe, by their offsets to UTC: midnight to midnight with 23 and with 25
/// hours, of which the latter has one twice. Neither an hour nor a sample is missing or counted twice.
#[test]
fn days_of_23_and_25_hours_have_each_hour_once() {
    let collector = Collector::new("collector-days")
        .set("store.window", "40000d")
        .set("store.keep", "forever")
        .set("store.rollups", "forever");
    // Midnight with the offset before, and the one after; both change at 01:00 in UTC.
    let days = [
        (["2024-03-31", "2024-04-01"], ["+01:00", "+02:00"], 23_i32),
        (["2024-10-27", "2024-10-28"], ["+02:00", "+01:00"], 25),
    ];
    let mut lines = Vec::new();
    for ([day, _], [before, after], hours) in days {
        let midnight: jiff::Timestamp = format!("{day}T00:00:00{before}").parse().unwrap();
        let change: jiff::Timestamp = format!("{day}T01:00:00Z").parse().unwrap();
        for half in -1..=2 * hours {
            let time = midnight + jiff::SignedDuration::from_mins(i64::from(30 * half));
            let offset = if time < change { before } else { after };
            let shift = if offset == "+01:00" { 1 } else { 2 };
            let local = jiff::tz::Offset::from_hours(shift).unwrap().to_datetime(time);
            let number = lines.len();
            lines.push(
                json!({
                    "id": format!("00000000-0000-4000-8000-{number:012}"), "name": "cpu_util",
                    "type": "gauge", "unit": "%", "volume": half, "user_id": "u",
                    "project_id": "p", "resource_id": "r", "source": "openstack",
                    "timestamp": format!("{}{offset}", local.strftime("%Y-%m-%dT%H:%M:%S")),
                    "resource_metadata": {},
                })
                .to_string(),
            );
        }
    }
    let file = collector.folder.write("days", lines.join("\n"));
    let stored = collector.execute(&["import", "--unsigned", file.to_str().unwrap()]).code(0);
    stored.reports(&format!("ok: {} stored, 0 duplicates", lines.len()));
    for ([day, next], [before, after], hours) in days {
        let (from, to) = (format!("{day}T00:00:00{before}"), format!("{next}T00:00:00{after}"));
        let ask = |period: &str| {
            let range = ["--from", &*from, "--to", &*to, "--period", period];
            collector.query(&[&["statistics", "--meter", "cpu_util"], &range[..]].concat())
        };
        let whole = ask(&(hours * 3_600).to_string());
        assert_eq!((whole.len(), &whole[0]["count"]), (1, &json!(2 * hours)), "{day}");
        assert_eq!(whole[0]["duration"], json!(f64::from(hours) * 3_600.0 - 1_800.0), "{day}");
        let each = ask("3600");
        assert_eq!(each.len(), usize::try_from(hours).unwrap(), "{day}");
        assert!(each.iter().all(|hour| hour["count"] == 2), "{day}: {each:?}");
    }
}
