//! Sums over the resources of a project, against those of each resource and against a recount.

use rusqlite::Connection;

use super::tests::{Fixture, group, keep, now, sample, time};
use super::*;
use serde_json::{Value, json};

const HOUR: i64 = 3_600_000_000;

/// A known sequence of numbers that look random.
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % most
    }

    fn time(&mut self, from: &str, seconds: u64) -> Timestamp {
        let start = micros(time(from));
        from_micros(start + i64::try_from(self.below(seconds)).unwrap() * 1_000_000)
    }
}

/// Samples of four days over the end of a month: two projects with many resources, one with few, and
/// resources of nobody.
fn samples(random: &mut Sequence, count: u32) -> Vec<Value> {
    let made = (0..count).map(|number| {
        let (project, resources) =
            [("a", 12), ("b", 9), ("c", 3), ("", 10)][usize::try_from(random.below(4)).unwrap()];
        let resource = format!("{project}-{}", random.below(resources));
        // Some hours have most resources, and others have none.
        let hour = i64::try_from(random.below(14)).unwrap() * 6 * HOUR;
        let at = from_micros(micros(random.time("2026-11-29T00:00:00", 3_600)) + hour);
        // Whole numbers, whose sums are the same in any order.
        let volume = match number % 17 {
            0 => json!(null),
            1 => json!(-7),
            _ => json!(random.below(1_000)),
        };
        let mut one = sample(number, "cpu", &resource, &at.iso(), volume);
        one["project_id"] = if project.is_empty() { Value::Null } else { json!(project) };
        if number % 5 == 0 {
            one["counter_unit"] = json!("cores");
        }
        one
    });
    made.collect()
}

fn questions() -> Vec<StatisticsQuery> {
    let start = micros(time("2026-11-29T03:20:00"));
    let end = micros(time("2026-12-02T09:00:00"));
    let times = [
        TimeRange::default(),
        TimeRange { start, end },
        TimeRange { start: start - 20 * 60_000_000, end: start + 49 * HOUR },
    ];
    let projects = [None, Some(WantedOwner::Id("b".into())), Some(WantedOwner::Nobody)];
    let mut all = Vec::new();
    for (times, project) in times
        .into_iter()
        .flat_map(|times| projects.clone().into_iter().map(move |project| (times, project)))
    {
        for (period, groups) in [
            (None, vec![]),
            (None, vec![GroupField::Project]),
            (Some(1), vec![GroupField::Project]),
            (Some(1), vec![]),
            (Some(2), vec![]),
            (Some(24), vec![GroupField::Project]),
            (Some(31), vec![]),
        ] {
            let project = project.clone();
            let meter = Some("cpu".to_owned());
            all.push(StatisticsQuery {
                selection: Selection { meter, times, project, ..Selection::default() },
                groups,
                period: period.map(|hours: i64| hours * HOUR),
                deviation: false,
                cardinality: false,
                start: None,
                end: None,
            });
        }
    }
    all
}

/// What sums by hour have, in a form that can be compared.
fn figures(totals: &[Totals]) -> Vec<String> {
    let figures = totals.iter().map(|one| {
        let sums = &one.sums;
        let numbers = (sums.rows, sums.count, sums.sum(), sums.min, sums.max);
        format!("{:?} {numbers:?} {:?}", one.key, (sums.first_time, sums.last_time, one.period))
    });
    figures.collect()
}

/// Answers from projects, from the series of each resource, and from samples are the same.
fn assert_answers(fixture: &Fixture, questions: &[StatisticsQuery]) {
    let mut reader = fixture.reader();
    for question in questions {
        let found = figures(&reader.statistics(question).unwrap());
        let by_series = StatisticsQuery { cardinality: true, ..question.clone() };
        assert_eq!(found, figures(&reader.statistics(&by_series).unwrap()), "{question:?}");
        let by_samples = StatisticsQuery { deviation: true, ..question.clone() };
        assert_eq!(found, figures(&reader.statistics(&by_samples).unwrap()), "{question:?}");
    }
}

/// Every sum of a project that is not stale is the sum of those of its series, none of which is stale.
/// Returns how many there are, and how many are stale.
fn assert_sums(fixture: &Fixture) -> [usize; 2] {
    let mut found = [0, 0];
    for month in ["2026-11", "2026-12"] {
        let path = fixture.folder.path().join(format!("{month}.default.db"));
        let Ok(file) =
            Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
        else {
            continue;
        };
        let sql = "SELECT p.stale, max(u.stale), count(*) >= 8, \
                   (p.row_count, p.volume_count, p.sum) IS \
                   (sum(u.row_count), sum(u.volume_count), total(u.sum)) \
                   AND (p.min, p.max, p.first_time, p.last_time) IS \
                   (min(u.min), max(u.max), min(u.first_time), max(u.last_time)) \
                   FROM project_rollup p JOIN series s ON s.project_meter = p.project_meter \
                   JOIN resource r ON r.id = s.resource \
                   JOIN project_meter m ON m.id = s.project_meter AND m.meter = s.meter \
                   AND m.project_id IS r.project_id \
                   JOIN rollup u ON u.series = s.id AND u.span = p.span AND u.start = p.start \
                   GROUP BY p.project_meter, p.span, p.start";
        let mut statement = file.prepare(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let [stale, series_stale, many, equal] =
                [0, 1, 2, 3].map(|at| row.get::<_, bool>(at).unwrap());
            assert!(stale || (!series_stale && many && equal), "{row:?}");
            found[usize::from(stale)] += 1;
        }
        let sql = "SELECT count(*) FROM rollup u JOIN series s ON s.id = u.series \
                   WHERE u.stale = 1 AND NOT EXISTS (SELECT 1 FROM project_rollup p \
                   WHERE p.project_meter = s.project_meter AND p.span = u.span \
                   AND p.start = u.start AND p.stale = 1)";
        let unmarked: i64 = file.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(unmarked, 0, "stale sums of series without a stale one of the project");
    }
    found
}

/// In any order of arrival, whenever sums are counted, and by whichever process.
#[test]
fn sums_of_projects_equal_those_of_their_resources() {
    for seed in 1..=4 {
        let mut random = Sequence(seed);
        let mut fixture = Fixture::new();
        let questions = questions();
        let all = samples(&mut random, 1_600);
        let mut beside = fixture.beside();
        for (at, chunk) in all.chunks(100).enumerate() {
            // A repeated one changes nothing.
            let mut chunk = chunk.to_vec();
            chunk.push(all[usize::try_from(random.below(1_600)).unwrap().min(at * 100)].clone());
            if random.below(3) == 0 {
                beside.write(&group(&chunk, None), now()).unwrap();
            } else {
                fixture.put(&chunk);
            }
            if random.below(2) == 0 {
                fixture.maintain(random.time("2026-11-30T00:00:00", 3 * 86_400));
            }
            assert_sums(&fixture);
            if at % 5 == 4 {
                assert_answers(&fixture, &questions);
            }
        }
        fixture.maintain(time("2026-12-05T00:00:00"));
        let [counted, stale] = assert_sums(&fixture);
        assert!(counted > 30 && stale == 0, "{counted} counted, {stale} stale");
        assert_answers(&fixture, &questions);
    }
}

/// Ninety series of a day have 2,160 hours; those of the project are 24.
#[test]
fn queries_read_the_sums_of_projects() {
    let mut fixture = Fixture::new();
    let samples: Vec<Value> = (0..90 * 24)
        .map(|number| {
            let at = format!("2026-11-30T{:02}:10:00", number / 90);
            sample(number, "cpu", &format!("r{:02}", number % 90), &at, json!(1))
        })
        .collect();
    fixture.put(&samples);
    fixture.maintain(now());
    let selection =
        Selection { meter: Some("cpu".into()), budget: 48, ..questions()[0].selection.clone() };
    let start = Some(micros(time("2026-11-30T00:00:00")));
    let end = start.map(|start| start + 24 * HOUR);
    let period = Some(HOUR);
    let question = StatisticsQuery { period, selection, start, end, ..questions()[0].clone() };
    let hours = fixture.reader().statistics(&question).unwrap();
    assert_eq!(hours.len(), 24);
    assert!(hours.iter().all(|hour| (hour.sums.count, hour.sums.sum()) == (90, 90.0)));
    // Each of these asks for what a project does not have.
    let by = |group| StatisticsQuery { groups: vec![group], ..question.clone() };
    for narrow in [
        by(GroupField::Resource),
        by(GroupField::User),
        by(GroupField::Source),
        StatisticsQuery { cardinality: true, ..question.clone() },
        StatisticsQuery { deviation: true, ..question.clone() },
    ] {
        let error = fixture.reader().statistics(&narrow).unwrap_err();
        assert!(matches!(error, StoreError::TooMuch(48)), "{error}");
    }
}

/// They outlive the samples, and are counted again after a sample of history and in a backup.
#[test]
fn sums_of_projects_outlive_samples() {
    let mut fixture = Fixture::new();
    let all = samples(&mut Sequence(9), 1_200);
    fixture.put(&all);
    let hourly: Vec<StatisticsQuery> = questions()
        .into_iter()
        .filter(|one| one.selection.times == TimeRange::default())
        .map(|one| StatisticsQuery { start: Some(0), end: Some(i64::MAX / 2), ..one })
        .collect();
    let answers = |reader: &mut Box<dyn Reader>| -> Vec<Vec<String>> {
        hourly.iter().map(|one| figures(&reader.statistics(one).unwrap())).collect()
    };
    let expected = answers(&mut fixture.reader());
    fixture.store.close_month("2026-11", now()).unwrap();
    fixture.store.erase_project("a", true, now()).unwrap();
    assert_eq!(answers(&mut fixture.reader()), expected);
    let target = fixture.folder.path().join("copy");
    fixture.store.backup(&target).unwrap();
    // Packed, and then without samples.
    for later in ["2027-01-10T00:00:00", "2027-03-15T00:00:00"] {
        fixture.maintain(time(later));
        let [counted, stale] = assert_sums(&fixture);
        assert!(counted > 30 && stale == 0, "{counted} counted, {stale} stale");
        assert_eq!(answers(&mut fixture.reader()), expected, "{later}");
    }
    assert_eq!(fixture.all(&Selection::default()), []);
    let restored = fixture.folder.path().join("restored");
    sqlite::restore(&target, &restored).unwrap();
    let mut store = SqliteStore::open(&keep(&restored), DEFAULT_BUDGET).unwrap();
    assert_eq!(answers(&mut store.reader().unwrap()), expected);
    let mut late = sample(90_000, "cpu", "a-1", "2026-11-30T01:00:00", json!(5));
    late["project_id"] = json!("a");
    let history = Group { rule: WriteRule::History, ..group(&[late], None) };
    assert_eq!(store.write(&history, time("2027-02-01T00:00:00")).unwrap().stored, 1);
    let changed = answers(&mut store.reader().unwrap());
    assert_ne!(changed, expected);
    while store.maintain(time("2027-01-20T00:00:00")).unwrap() {}
    assert_eq!(answers(&mut store.reader().unwrap()), changed);
}

/// A file of the schema before gets the sums of projects when it is opened, from those of its resources.
#[test]
fn files_without_sums_of_projects_get_them() {
    let mut fixture = Fixture::new();
    fixture.put(&samples(&mut Sequence(11), 2_000));
    fixture.maintain(now());
    for month in ["2026-11", "2026-12"] {
        let path = fixture.folder.path().join(format!("{month}.default.db"));
        let before = "DROP TABLE project_rollup; DROP INDEX series_by_project_meter; \
                      ALTER TABLE series DROP COLUMN project_meter; DROP TABLE project_meter; \
                      PRAGMA user_version = 4";
        Connection::open(path).unwrap().execute_batch(before).unwrap();
    }
    fixture.store = fixture.beside();
    let [counted, stale] = assert_sums(&fixture);
    assert!(counted == 0 && stale > 30, "{counted} counted, {stale} stale");
    assert_answers(&fixture, &questions());
    // More of a resource that was there, and one that is new.
    fixture.put(&samples(&mut Sequence(12), 2_100)[2_000..]);
    fixture.maintain(time("2026-12-05T00:00:00"));
    let [counted, stale] = assert_sums(&fixture);
    assert!(counted > 30 && stale == 0, "{counted} counted, {stale} stale");
    assert_answers(&fixture, &questions());
}
