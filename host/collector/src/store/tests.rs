//! What every engine has to do, tried on SQLite.

use std::ops::ControlFlow;
use std::time::Duration;

use nephometer_config::{KeepSpec, RetentionClass};
use nephometer_model::{Glob, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::message::{Arrival, ReadMessage, StreamPlace};
use crate::signature::Verifier;

const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

pub(super) fn now() -> Timestamp {
    time("2026-12-02T12:00:00")
}

pub(super) fn keep(folder: &std::path::Path) -> KeepSpec {
    let class = |name: &str, meters: &[&str]| RetentionClass {
        name: name.into(),
        meters: meters.iter().map(|glob| Glob::new(glob).unwrap()).collect(),
        keep: Some(60 * DAY),
        rollups: Some(120 * DAY),
    };
    KeepSpec {
        path: folder.to_owned(),
        clickhouse: None,
        window: 35 * DAY,
        ahead: DAY,
        classes: vec![class("disks", &["disk.*"]), class("default", &[])],
    }
}

/// What a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    Sqlite,
    /// Two servers, each with a part of the resources.
    ClickHouse,
}

/// Makes tests of functions that take an engine, one on each.
macro_rules! on_each_engine {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[test]
            fn $name() {
                super::$name(crate::store::tests::Engine::Sqlite);
            })*
        }
        mod on_clickhouse {
            $(#[test]
            fn $name() {
                super::$name(crate::store::tests::Engine::ClickHouse);
            })*
        }
    };
}
pub(super) use on_each_engine;

on_each_engine! {
    a_sample_is_stored_once_whatever_is_repeated,
    samples_outside_the_window_are_refused,
    values_come_back_as_they_were,
    the_newest_come_first_over_months_and_classes,
    meters_and_resources_belong_to_their_latest_owner,
    streams_are_kept_whole,
    dead_letters_are_kept_once_and_removed,
    sums_equal_a_recount,
    months_are_dropped_and_their_sums_outlive_them,
}

pub(super) struct Fixture {
    pub(super) folder: tempfile::TempDir,
    pub(super) keep: KeepSpec,
    pub(super) store: Box<dyn Storage>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::on(Engine::Sqlite)
    }

    pub(super) fn on(engine: Engine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut keep = keep(folder.path());
        keep.clickhouse =
            (engine == Engine::ClickHouse).then(clickhouse::test_servers::new_database);
        let store = open_store(&keep, DEFAULT_BUDGET).unwrap();
        Self { folder, keep, store }
    }

    /// Another process with the same store.
    pub(super) fn beside(&self) -> Box<dyn Storage> {
        open_store(&self.keep, DEFAULT_BUDGET).unwrap()
    }

    pub(super) fn put(&mut self, samples: &[Value]) -> Committed {
        self.store.write(&group(samples, None), now()).unwrap()
    }

    pub(super) fn maintain(&mut self, now: Timestamp) {
        while self.store.maintain(now).unwrap() {}
    }

    pub(super) fn reader(&self) -> Box<dyn Reader> {
        self.store.reader().unwrap()
    }

    pub(super) fn all(&self, selection: &Selection) -> Vec<StoredSample> {
        let mut found = Vec::new();
        let mut visit = |sample| {
            found.push(sample);
            ControlFlow::Continue(())
        };
        self.reader().scan(selection, &mut visit).unwrap();
        found
    }
}

pub(super) fn group(samples: &[Value], place: Option<StreamPlace>) -> Group {
    let body = json!(samples).to_string().into_bytes();
    let arrival = Arrival { origin: "test".into(), body, place };
    let message = ReadMessage::read(&arrival, &Verifier::new(&[], true)).unwrap();
    assert!(message.refused.is_empty(), "{:?}", message.refused);
    Group { messages: vec![message], ..Group::default() }
}

pub(super) fn sample(
    number: u32,
    meter: &str,
    resource: &str,
    time: &str,
    volume: impl Into<Value>,
) -> Value {
    let volume: Value = volume.into();
    json!({
        "source": "openstack", "counter_name": meter, "counter_type": "gauge",
        "counter_unit": "%", "counter_volume": volume, "user_id": "u",
        "project_id": format!("project-{}", resource.len()), "resource_id": resource,
        "timestamp": time, "resource_metadata": {"name": resource, "size": 7},
        "message_id": format!("00000000-0000-4000-8000-{number:012}"),
    })
}

fn a_sample_is_stored_once_whatever_is_repeated(engine: Engine) {
    let mut fixture = Fixture::on(engine);
    let one = sample(1, "cpu", "r1", "2026-12-01T10:00:00", json!(1));
    let disk = sample(2, "disk.read", "r1", "2026-11-30T10:00:00", json!(2.5));
    let first = fixture.put(&[one.clone(), disk.clone(), one.clone()]);
    assert_eq!((first.stored, first.duplicates), (2, 1));
    // The same id with another time, meter or month is the same sample.
    let mut other = one.clone();
    other["timestamp"] = json!("2026-11-20T10:00:00");
    let mut moved = one.clone();
    moved["counter_name"] = json!("disk.write");
    let second = fixture.put(&[one, disk, other, moved]);
    // ClickHouse compares with samples of the same hour and the same server.
    let again = u64::from(engine == Engine::ClickHouse);
    assert_eq!((second.stored, second.duplicates), (again, 4 - again));
    let all = fixture.all(&Selection::default()).len() as u64;
    assert_eq!(all, 2 + again);
    // Another process with the same folder.
    let mut beside = fixture.beside();
    let again = sample(1, "cpu", "r1", "2026-12-01T10:00:00", json!(1));
    let new = sample(3, "cpu", "r1", "2026-12-01T10:00:00", json!(1));
    let committed = beside.write(&group(&[again, new.clone()], None), now()).unwrap();
    assert_eq!((committed.stored, committed.duplicates), (1, 1));
    assert_eq!(fixture.put(&[new]).duplicates, 1);
}

fn samples_outside_the_window_are_refused(engine: Engine) {
    let mut fixture = Fixture::on(engine);
    let old = sample(1, "cpu", "r", "2026-10-20T00:00:00", json!(1));
    let early = sample(2, "cpu", "r", "2026-12-03T13:00:00", json!(1));
    let soon = sample(3, "cpu", "r", "2026-12-03T11:00:00", json!(1));
    let committed = fixture.put(&[old.clone(), early, soon]);
    assert_eq!((committed.stored, committed.duplicates), (1, 0));
    let refused: Vec<(&str, u64)> = committed.refused.into_iter().collect();
    assert_eq!(refused, [("too_early", 1), ("too_old", 1)]);
    let history = Group { rule: WriteRule::History, ..group(&[old], None) };
    assert_eq!(fixture.store.write(&history, now()).unwrap().stored, 1);
    let state = fixture.reader().state().unwrap();
    assert_eq!((state.samples, state.counts["too_old"], state.counts["stored"]), (2, 1, 2));
}

/// After the window a file has no index of ids any more. It gets one when samples are added.
#[test]
fn months_beyond_the_window_are_packed() {
    let mut fixture = Fixture::new();
    let minute = |at: u32| format!("2026-11-{:02}T10:{:02}:00", at / 60 + 1, at % 60);
    let samples: Vec<Value> =
        (0..1_500).map(|at| sample(at, "cpu", "r", &minute(at), json!(at))).collect();
    assert_eq!(fixture.put(&samples).stored, 1_500);
    fixture.maintain(now());
    let size = |fixture: &Fixture| fixture.reader().state().unwrap().files[0].bytes;
    let before = size(&fixture);
    let later = time("2027-01-05T00:00:01");
    fixture.maintain(later);
    assert!(size(&fixture) * 3 < before * 2, "{} of {before} bytes", size(&fixture));
    let id = "00000000-0000-4000-8000-000000000007".to_owned();
    let one = Selection { message_id: Some(id), ..Selection::default() };
    assert_eq!(fixture.all(&one).len(), 1);
    let narrow = Selection { budget: 1_499, ..one };
    let found = fixture.reader().newest(&narrow, 1, &mut |_| true);
    assert!(matches!(found, Err(StoreError::TooMuch(1_499))), "{found:?}");
    // An import of history, or a longer window.
    let more = sample(9_999, "cpu", "r", "2026-11-30T10:00:00", json!(1));
    let mut moved = samples[3].clone();
    moved["timestamp"] = json!("2026-11-29T10:00:00");
    let history = Group { rule: WriteRule::History, ..group(&[more, moved], None) };
    let committed = fixture.store.write(&history, later).unwrap();
    assert_eq!((committed.stored, committed.duplicates), (1, 1));
    fixture.maintain(later);
    assert_eq!(fixture.all(&Selection::default()).len(), 1_501);
    assert!(size(&fixture) * 3 < before * 2, "{} of {before} bytes", size(&fixture));
}

fn values_come_back_as_they_were(engine: Engine) {
    let mut fixture = Fixture::on(engine);
    let values = [
        json!(null),
        json!(0),
        json!(1.0),
        json!(-7),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e300),
        json!(5e-324),
        json!(0.1),
    ];
    let samples: Vec<Value> = (0..)
        .zip(&values)
        .map(|(at, value)| {
            sample(at, "cpu", "r", &format!("2026-12-01T10:00:0{at}.000001"), value.clone())
        })
        .collect();
    assert_eq!(fixture.put(&samples).stored, 9);
    let mut found = fixture.all(&Selection::default());
    found.sort_by_key(|sample| sample.time);
    let volumes: Vec<Option<Volume>> = found.iter().map(|sample| sample.volume).collect();
    assert_eq!(volumes[..3], [None, Some(Volume::Integer(0)), Some(Volume::Float(1.0))]);
    assert_eq!(volumes[4], Some(Volume::Integer(i64::MAX.into())));
    // More than 63 bits are kept as the nearest double, as the real collector keeps all of them.
    assert_eq!(volumes[5], Some(Volume::Float(Volume::Integer(u64::MAX.into()).as_f64())));
    assert_eq!(
        volumes[6..],
        [Some(Volume::Float(1e300)), Some(Volume::Float(5e-324)), Some(Volume::Float(0.1))]
    );
    assert_eq!(found[8].time.iso(), "2026-12-01T10:00:08.000001");
    assert_eq!(found[8].recorded, now());
    let mut text = sample(99, "cpu", "r", "2026-12-01T10:00:00", json!(1));
    text["message_id"] = json!("no uuid at all");
    assert_eq!(fixture.put(&[text.clone(), text]).stored, 1);
    let selection = Selection { message_id: Some("no uuid at all".into()), ..Selection::default() };
    assert_eq!(fixture.all(&selection).len(), 1);
}

fn the_newest_come_first_over_months_and_classes(engine: Engine) {
    let mut fixture = Fixture::on(engine);
    let mut samples = Vec::new();
    for number in 0..40 {
        let meter = if number % 2 == 0 { "cpu" } else { "disk.read" };
        let day = format!("2026-{}", if number < 20 { "11-30" } else { "12-01" });
        let at = format!("{day}T{:02}:00:00", number % 20);
        samples.push(sample(number, meter, &format!("r{}", number % 3), &at, json!(number)));
    }
    fixture.put(&samples);
    let mut reader = fixture.reader();
    let newest = |reader: &mut Box<dyn Reader>, selection: &Selection, limit| {
        let found = reader.newest(selection, limit, &mut |_| true).unwrap();
        found.iter().map(|one| one.volume.unwrap().as_f64()).collect::<Vec<f64>>()
    };
    let all = newest(&mut reader, &Selection::default(), 100);
    let expected: Vec<f64> = (0..40).rev().map(f64::from).collect();
    assert_eq!(all, expected);
    assert_eq!(newest(&mut reader, &Selection::default(), 25), expected[..25]);
    let selection = Selection { meter: Some("cpu".into()), ..Selection::default() };
    assert_eq!(newest(&mut reader, &selection, 3), [38.0, 36.0, 34.0]);
    let end = super::selection::micros(time("2026-12-01T05:00:00"));
    let times = TimeRange { start: 0, end };
    let selection = Selection { times, resource: Some("r1".into()), ..Selection::default() };
    assert_eq!(newest(&mut reader, &selection, 2), [22.0, 19.0]);
    let narrow = Selection { budget: 10, ..Selection::default() };
    let error = reader.newest(&narrow, 100, &mut |_| true).unwrap_err().to_string();
    assert!(error.contains("more than 10 samples; narrow it"), "{error}");
}

fn meters_and_resources_belong_to_their_latest_owner(engine: Engine) {
    let mut fixture = Fixture::on(engine);
    let mut later = sample(2, "cpu", "r", "2026-12-01T11:00:00", json!(2));
    later["project_id"] = json!("other");
    later["resource_metadata"] = json!({"name": "renamed"});
    fixture.put(&[sample(1, "cpu", "r", "2026-11-30T10:00:00", json!(1)), later]);
    let mut reader = fixture.reader();
    let meters = reader.meters(&Selection::default()).unwrap();
    assert_eq!(meters.len(), 1);
    assert_eq!(meters[0].owner.project_id.as_deref(), Some("other"));
    let before =
        Selection { project: Some(WantedOwner::Id("project-1".into())), ..Selection::default() };
    assert_eq!(reader.meters(&before).unwrap(), []);
    let resources = reader.resources(&Selection::default()).unwrap();
    assert_eq!(resources.len(), 1);
    assert_eq!(resources[0].first.iso(), "2026-11-30T10:00:00");
    assert_eq!(resources[0].last.iso(), "2026-12-01T11:00:00");
    assert_eq!(resources[0].metadata, r#"{"name":"renamed"}"#);
    assert_eq!(reader.resources(&before).unwrap()[0].last.iso(), "2026-11-30T10:00:00");
    let metadata = vec![MetaCondition { path: "size".into(), value: MetaScalar::Integer(7) }];
    let sized = Selection { metadata, ..Selection::default() };
    assert_eq!(reader.resources(&sized).unwrap()[0].last.iso(), "2026-11-30T10:00:00");
    assert_eq!(reader.meters(&sized).unwrap(), []);
}

/// Records of streams are kept although they have no samples, once, however often they arrive.
fn streams_are_kept_whole(engine: Engine) {
    let mut fixture = Fixture::on(engine);
    let stream = uuid::Uuid::from_u128(7);
    let start = nephometer_proof::Digest::start(stream);
    let link = start.link(1, &start);
    let place = |sequence| {
        Some(StreamPlace { stream, sequence, previous: link.previous, digest: link.digest })
    };
    let one = sample(1, "cpu", "r", "2026-12-01T10:00:00", json!(1));
    for _ in 0..3 {
        fixture.store.write(&group(&[], place(1)), now()).unwrap();
        fixture.store.write(&group(std::slice::from_ref(&one), place(2)), now()).unwrap();
    }
    let state = fixture.reader().state().unwrap();
    assert_eq!(state.files.iter().map(|file| file.messages).sum::<u64>(), 2);
    assert_eq!(state.samples, 1);
}

fn dead_letters_are_kept_once_and_removed(engine: Engine) {
    let mut fixture = Fixture::on(engine);
    let letter = |body: &[u8]| DeadLetter {
        origin: "metering.sample".into(),
        place: None,
        body: body.to_vec(),
        reason: "the body is not JSON".into(),
    };
    let letters = vec![letter(b"{"), letter(b"["), letter(b"{")];
    let group = Group { letters, ..Group::default() };
    assert_eq!(fixture.store.write(&group, now()).unwrap().letters, 2);
    assert_eq!(fixture.store.write(&group, now()).unwrap().letters, 0);
    let found = fixture.store.letters(0, 10).unwrap();
    assert_eq!(found.iter().map(|one| &*one.letter.body).collect::<Vec<_>>(), [b"{", b"["]);
    fixture.store.remove_letters(&[found[0].number]).unwrap();
    assert_eq!(fixture.store.letters(0, 10).unwrap().len(), 1);
    assert_eq!(fixture.reader().state().unwrap().dead_letters, 1);
}

fn question(period: Option<i64>, times: TimeRange) -> StatisticsQuery {
    let selection = Selection { meter: Some("cpu".into()), times, ..Selection::default() };
    StatisticsQuery {
        selection,
        groups: vec![GroupField::Resource],
        period: period.map(|seconds| seconds * 1_000_000),
        deviation: false,
        cardinality: true,
        start: None,
        end: None,
    }
}

/// Sums by hour and day equal a count of the samples, before and after late ones.
fn sums_equal_a_recount(engine: Engine) {
    let mut fixture = Fixture::on(engine);
    let mut samples = Vec::new();
    let mut seed = 1_u64;
    let mut random = |most: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % most
    };
    for number in 0..600 {
        let seconds = random(3 * 86_400);
        let at = super::selection::micros(time("2026-11-29T00:00:00"))
            + i64::try_from(seconds).unwrap() * 1_000_000;
        let volume = if number % 17 == 0 { json!(null) } else { json!(random(1_000)) };
        let resource = ["a", "bb", "ccc"][usize::try_from(random(3)).unwrap()];
        samples.push(sample(
            number,
            "cpu",
            resource,
            &super::selection::from_micros(at).iso(),
            volume,
        ));
    }
    let all = TimeRange::default();
    let start = super::selection::micros(time("2026-11-29T03:20:00"));
    let part = TimeRange { start, end: start + 2 * 86_400_000_000 };
    let questions: Vec<StatisticsQuery> =
        [None, Some(3_600), Some(86_400), Some(5_000), Some(7_200)]
            .into_iter()
            .flat_map(|period| [question(period, all), question(period, part)])
            .collect();
    for chunk in samples.chunks(200) {
        fixture.put(chunk);
        let mut reader = fixture.reader();
        let before: Vec<_> = questions.iter().map(|one| reader.statistics(one).unwrap()).collect();
        fixture.maintain(now());
        for (question, before) in questions.iter().zip(&before) {
            let after = reader.statistics(question).unwrap();
            // The deviation is known of samples only.
            let figures = |totals: &[Totals]| -> Vec<_> {
                totals
                    .iter()
                    .map(|one| {
                        let sums = &one.sums;
                        let numbers = (sums.rows, sums.count, sums.sum(), sums.min, sums.max);
                        let times = (sums.first_time, sums.last_time, one.period);
                        (one.key.clone(), numbers, times, sums.owners.clone())
                    })
                    .collect()
            };
            assert_eq!(figures(&after), figures(before), "{question:?}");
        }
        // Whole hours are answered from sums: far fewer rows than samples are read.
        let mut cheap = question(Some(86_400), all);
        cheap.groups = Vec::new();
        (cheap.start, cheap.end) = (Some(part.start - 12_000_000_000), Some(part.end));
        cheap.selection.budget = 40;
        reader.statistics(&cheap).unwrap();
    }
}

fn months_are_dropped_and_their_sums_outlive_them(engine: Engine) {
    let mut fixture = Fixture::on(engine);
    fixture.put(&[
        sample(1, "cpu", "r", "2026-11-30T10:00:00", json!(1)),
        sample(2, "cpu", "r", "2026-11-30T10:30:00", json!(3)),
    ]);
    let later = time("2027-02-15T00:00:00");
    fixture.maintain(later);
    assert_eq!(fixture.all(&Selection::default()), []);
    let mut reader = fixture.reader();
    let totals = reader.statistics(&question(Some(86_400), TimeRange::default())).unwrap();
    assert_eq!((totals[0].sums.sum(), totals[0].sums.count), (4.0, 2));
    let mut fine = question(Some(60), TimeRange::default());
    (fine.start, fine.end) = (Some(0), Some(i64::MAX / 2));
    let error = reader.statistics(&fine).unwrap_err().to_string();
    assert!(error.contains("the samples of 2026-11 are no longer kept"), "{error}");
    fixture.maintain(time("2027-05-15T00:00:00"));
    assert_eq!(fixture.reader().state().unwrap().files.len(), 0);
}

#[test]
fn a_backup_is_the_store_that_was() {
    let mut fixture = Fixture::new();
    fixture.put(&[sample(1, "cpu", "r", "2026-12-01T10:00:00", json!(1))]);
    let target = fixture.folder.path().join("backup");
    assert!(fixture.store.backup(&target).unwrap() > 0);
    fixture.put(&[sample(2, "cpu", "r", "2026-12-01T10:00:01", json!(1))]);
    let restored = fixture.folder.path().join("restored");
    sqlite::restore(&target, &restored).unwrap();
    let error = sqlite::restore(&target, &restored).unwrap_err().to_string();
    assert!(error.contains("already has a store"), "{error}");
    let mut store = SqliteStore::open(&keep(&restored), DEFAULT_BUDGET).unwrap();
    assert_eq!(store.reader().unwrap().state().unwrap().samples, 1);
    let again = sample(1, "cpu", "r", "2026-12-01T10:00:00", json!(1));
    assert_eq!(store.write(&group(&[again], None), now()).unwrap().duplicates, 1);
}
