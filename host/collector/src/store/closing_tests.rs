//! Closed months and erased projects, as every engine has to have them.

use std::path::Path;

use nephometer_model::Volume;
use serde_json::{Value, json};

use super::tests::{Engine, Fixture, group, keep, now, on_each_engine, sample, time};
use super::*;
use crate::message::Arrival;
use crate::signature::Verifier;

on_each_engine! {
    a_month_is_closed_once_and_its_edges_are_those_of_utc,
    late_samples_are_stored_and_listed_as_corrections,
    erased_names_are_in_no_file_and_numbers_stay,
    with_keep_erasing_no_name_is_stored_later,
}

/// The samples, sum, min and max of a key.
fn figures(sums: &MonthSum) -> (u64, f64, Option<Volume>, Option<Volume>) {
    (sums.samples, sums.sum, sums.min, sums.max)
}

fn months_of_two_projects(engine: Engine) -> Fixture {
    let mut fixture = Fixture::on(engine);
    fixture.put(&[
        sample(1, "cpu", "r1", "2026-11-01T00:00:00Z", 1),
        sample(2, "cpu", "r1", "2026-11-30T23:59:59.999999Z", 2.5),
        // November in UTC, and December where it was written.
        sample(3, "cpu", "r1", "2026-12-01T00:30:00+02:00", 4),
        // December in UTC, and November where it was written.
        sample(4, "cpu", "r1", "2026-11-30T23:30:00-01:00", 100),
        sample(5, "cpu", "r1", "2026-12-01T00:00:00Z", 100),
        // Another class, and so another file; another project by the length of its name.
        sample(6, "disk.read", "other", "2026-11-15T12:00:00Z", 7),
        sample(7, "cpu", "other", "2026-11-15T12:00:00Z", Value::Null),
    ]);
    fixture
}

fn a_month_is_closed_once_and_its_edges_are_those_of_utc(engine: Engine) {
    let mut fixture = months_of_two_projects(engine);
    let (closing, new) = fixture.store.close_month("2026-11", now()).unwrap();
    assert!(new && closing.is_intact());
    let found: Vec<_> = closing
        .sums
        .iter()
        .map(|(key, sums)| (key.project.as_deref().unwrap(), &*key.meter, figures(sums)))
        .collect();
    let whole = |value: i64| Some(Volume::Integer(value.into()));
    assert_eq!(
        found,
        [
            ("project-2", "cpu", (3, 7.5, whole(1), whole(4))),
            ("project-5", "cpu", (1, 0.0, None, None)),
            ("project-5", "disk.read", (1, 7.0, whole(7), whole(7))),
        ]
    );
    // Again, also by another process, later and after late samples: the same record.
    fixture.put(&[sample(8, "cpu", "r1", "2026-11-02T00:00:00Z", 1)]);
    let mut beside = fixture.beside();
    let again = beside.close_month("2026-11", time("2027-01-01T00:00:00Z")).unwrap();
    assert_eq!(again, (closing, false));
    let state = fixture.reader().state().unwrap();
    assert_eq!(state.closed_months, ["2026-11"]);
    for (month, expected) in [
        ("2026-12", "it ends at 2027-01-01T00:00:00 (UTC)"),
        ("2026-13", "write it like 2026-11"),
        ("2026-1", "write it like 2026-11"),
        ("26-11", "write it like 2026-11"),
    ] {
        let error = fixture.store.close_month(month, now()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // At the very end of a month it is over.
    let empty = fixture.store.close_month("2026-10", time("2026-11-01T00:00:00Z")).unwrap();
    assert_eq!((empty.0.sums.len(), empty.1), (0, true));
    let mut other = Fixture::on(engine);
    assert!(other.store.close_month("2026-11", time("2026-11-30T23:59:59.999999Z")).is_err());
    assert!(other.store.close_month("2026-11", time("2026-12-01T00:00:00Z")).unwrap().1);
}

fn late_samples_are_stored_and_listed_as_corrections(engine: Engine) {
    let mut fixture = months_of_two_projects(engine);
    let open = fixture.store.corrections("2026-11").unwrap_err().to_string();
    assert!(open.contains("`close-month 2026-11` closes it"), "{open}");
    fixture.store.close_month("2026-11", now()).unwrap();
    let none = fixture.store.corrections("2026-11").unwrap();
    assert_eq!((none.late.len(), none.difference), (0, None));
    let late = [
        sample(11, "cpu", "r1", "2026-11-20T00:00:00Z", 9),
        sample(12, "cpu", "r1", "2026-11-20T00:10:00Z", 0.5),
        sample(13, "memory", "r1", "2026-11-20T00:10:00Z", Value::Null),
        // Not in the closed month.
        sample(14, "cpu", "r1", "2026-12-01T10:00:00Z", 1),
        // Not new.
        sample(1, "cpu", "r1", "2026-11-01T00:00:00Z", 1),
    ];
    let committed = fixture.put(&late);
    assert_eq!((committed.stored, committed.duplicates, committed.corrections), (4, 1, 3));
    let repeated = fixture.put(&late);
    assert_eq!((repeated.duplicates, repeated.corrections), (5, 0));
    let check = |store: &mut dyn Storage| {
        let corrections = store.corrections("2026-11").unwrap();
        assert_eq!(corrections.difference, None);
        let found: Vec<_> =
            corrections.late.iter().map(|one| (&*one.key.meter, figures(&one.sums))).collect();
        let (half, nine) = (Volume::Float(0.5), Volume::Integer(9));
        let expected =
            [("cpu", (2, 9.5, Some(half), Some(nine))), ("memory", (1, 0.0, None, None))];
        assert_eq!(found, expected);
        assert_eq!(corrections.late[0].arrived, [now(); 2]);
    };
    check(&mut *fixture.store);
    // They are in the statistics, and survive a backup.
    fixture.maintain(now());
    assert_eq!(fixture.all(&Selection::default()).len(), 11);
    if engine == Engine::Sqlite {
        survives_a_backup(&mut fixture, &check);
    } else {
        let error = fixture.store.backup(Path::new("copy")).unwrap_err().to_string();
        assert!(error.contains("by their own means"), "{error}");
    }
    // When the samples are dropped, the sums and corrections stay.
    fixture.maintain(time("2027-02-15T00:00:00Z"));
    check(&mut *fixture.store);
    // When the sums are dropped as well, the record stays.
    fixture.maintain(time("2027-06-15T00:00:00Z"));
    let dropped = fixture.store.corrections("2026-11").unwrap();
    assert_eq!((dropped.late.len(), dropped.difference), (0, None));
    assert_eq!(dropped.closing.sums.len(), 3);
}

fn survives_a_backup(fixture: &mut Fixture, check: &dyn Fn(&mut dyn Storage)) {
    let target = fixture.folder.path().join("copy");
    fixture.store.backup(&target).unwrap();
    let restored = fixture.folder.path().join("restored");
    sqlite::restore(&target, &restored).unwrap();
    let mut restored = SqliteStore::open(&keep(&restored), DEFAULT_BUDGET).unwrap();
    check(&mut restored);
    // The closing lasts in the copy.
    let more = group(&[sample(21, "cpu", "r1", "2026-11-20T00:20:00Z", 1)], None);
    assert_eq!(restored.write(&more, now()).unwrap().corrections, 1);
}

#[test]
fn an_altered_record_is_reported() {
    let mut fixture = months_of_two_projects(Engine::Sqlite);
    fixture.store.close_month("2026-11", now()).unwrap();
    let ledger = rusqlite::Connection::open(fixture.folder.path().join("ledger.db")).unwrap();
    let sql = "UPDATE closed_sum SET sum = sum + 1 WHERE meter = 'cpu' AND volumes > 0";
    assert_eq!(ledger.execute(sql, []).unwrap(), 1);
    let difference = fixture.store.corrections("2026-11").unwrap().difference.unwrap();
    assert!(difference.contains("it was altered"), "{difference}");
    ledger.execute(&sql.replace("+ 1", "- 1"), []).unwrap();
    let month =
        rusqlite::Connection::open(fixture.folder.path().join("2026-11.default.db")).unwrap();
    month.execute("DELETE FROM sample WHERE volume = 4", []).unwrap();
    month.execute("UPDATE rollup SET stale = 1", []).unwrap();
    let difference = fixture.store.corrections("2026-11").unwrap().difference.unwrap();
    assert!(difference.contains("have 5 samples, the month has 4"), "{difference}");
}

/// Whether a text is in any file of a store.
fn is_on_disk(fixture: &Fixture, text: &str) -> bool {
    if fixture.keep.clickhouse.is_some() {
        return clickhouse::test_servers::has_text(&fixture.keep, text);
    }
    let folder = fixture.folder.path();
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

fn named(number: u32, resource: &str, name: &str) -> Value {
    let mut sample = sample(number, "cpu", resource, "2026-11-20T00:00:00Z", number);
    sample["resource_metadata"] = json!({"display_name": name, "number": number});
    sample
}

fn letter(body: &str) -> Group {
    let arrival = Arrival { origin: "test".into(), body: body.as_bytes().to_vec(), place: None };
    let letter = crate::ingest::writer::read(arrival, &Verifier::new(&[], true)).0.unwrap_err();
    Group { letters: vec![letter], ..Group::default() }
}

fn erased_names_are_in_no_file_and_numbers_stay(engine: Engine) {
    let mut fixture = Fixture::on(engine);
    // Many, so that pages are divided and old text is left in free space.
    let many: Vec<Value> =
        (0..2_000).map(|number| named(number, "r1", &format!("Ada Lovelace {number}"))).collect();
    fixture.put(&many);
    fixture.put(&[named(5_000, "other", "Grace Hopper")]);
    fixture.store.write(&letter("{project-2 Ada Lovelace"), now()).unwrap();
    fixture.store.write(&letter("{nobody"), now()).unwrap();
    // As a running collector does, with what it knows in memory.
    let mut running = fixture.beside();
    running.write(&group(&[named(6_000, "r1", "Ada Lovelace again")], None), now()).unwrap();
    let mut reader = fixture.reader();
    reader.newest(&Selection::default(), 10, &mut |_| true).unwrap();
    assert!(is_on_disk(&fixture, "Ada Lovelace") && is_on_disk(&fixture, "Grace Hopper"));

    let erased = fixture.store.erase_project("project-2", false, now()).unwrap();
    assert_eq!(erased, Erased { files: 1, resources: 1, revisions: 2_001, letters: 1 });
    assert!(!is_on_disk(&fixture, "Ada Lovelace"), "the text is still in a file");
    assert!(is_on_disk(&fixture, "Grace Hopper") && is_on_disk(&fixture, "{nobody"));
    let found = fixture.all(&Selection {
        project: Some(WantedOwner::Id("project-2".into())),
        ..Selection::default()
    });
    assert_eq!(found.len(), 2_001);
    assert!(found.iter().all(|sample| &*sample.metadata == "{}" && sample.volume.is_some()));
    assert_eq!(&*found[0].owner.resource_id, "r1");
    let again = fixture.store.erase_project("project-2", false, now()).unwrap();
    assert_eq!((again.revisions, again.resources, again.letters), (0, 1, 0));
    let unknown = fixture.store.erase_project("nobody", false, now()).unwrap();
    assert_eq!(unknown.resources, 0);
    // Without `keep` what arrives later has its names, also in a process that knew the old ones.
    running.write(&group(&[named(6_001, "r1", "Ada Lovelace 7")], None), now()).unwrap();
    let newest = reader.newest(&Selection::default(), 10_000, &mut |_| true).unwrap();
    let later = newest.iter().filter(|one| one.metadata.contains("Ada Lovelace 7")).count();
    assert_eq!(later, 1);
    let counts = reader.state().unwrap().counts;
    assert_eq!(counts["erased_revisions"], 2_001);
}

fn with_keep_erasing_no_name_is_stored_later(engine: Engine) {
    let mut fixture = Fixture::on(engine);
    let mut running = fixture.beside();
    running.write(&group(&[named(1, "r1", "Ada Lovelace")], None), now()).unwrap();
    fixture.store.erase_project("project-2", true, now()).unwrap();
    let late =
        [named(2, "r1", "Ada Lovelace"), named(3, "r2", "Ada Byron"), named(4, "other", "G")];
    assert_eq!(running.write(&group(&late, None), now()).unwrap().stored, 3);
    running.write(&letter("{project-2 Ada Byron"), now()).unwrap();
    assert!(!is_on_disk(&fixture, "Ada"), "a name is in a file");
    let state = fixture.reader().state().unwrap();
    assert_eq!((state.erasing, state.dead_letters), (vec!["project-2".to_owned()], 0));
    assert_eq!(state.counts["dead_letters_erased"], 1);
    assert!(fixture.store.stop_erasing("project-2").unwrap());
    assert!(!fixture.store.stop_erasing("project-2").unwrap());
    running.write(&group(&[named(5, "r1", "Ada Lovelace")], None), now()).unwrap();
    assert!(is_on_disk(&fixture, "Ada Lovelace"));
}

/// A store of the first version is brought to the present form when it is opened.
#[test]
fn files_of_the_first_schema_are_migrated() {
    let fixture = months_of_two_projects(Engine::Sqlite);
    for (name, statements) in [
        (
            "2026-11.default.db",
            "DROP TABLE correction; DROP INDEX message_declared; DROP TABLE repeated; \
             DROP TABLE closed_day; ALTER TABLE message DROP COLUMN refused; \
             DROP TABLE project_rollup; DROP INDEX series_by_project_meter; \
             ALTER TABLE series DROP COLUMN project_meter; DROP TABLE project_meter",
        ),
        (
            "ledger.db",
            "DROP TABLE closed_project; DROP TABLE closed_sum; DROP TABLE closing; \
             DROP TABLE erasing",
        ),
    ] {
        let file = rusqlite::Connection::open(fixture.folder.path().join(name)).unwrap();
        file.execute_batch(&format!("{statements}; PRAGMA user_version = 1")).unwrap();
    }
    let mut store = SqliteStore::open(&keep(fixture.folder.path()), DEFAULT_BUDGET).unwrap();
    assert!(store.close_month("2026-11", now()).unwrap().1);
    assert_eq!(store.corrections("2026-11").unwrap().difference, None);
    assert_eq!(store.reader().unwrap().state().unwrap().samples, 7);
}
