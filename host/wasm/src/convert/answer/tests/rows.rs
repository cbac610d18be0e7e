//! Rows that are kept, derived, replaced or flushed.

use std::sync::Arc;

use serde_json::json;

use super::super::*;
use super::fixture::*;
use crate::bindings::nephometer::metering::types;
use crate::convert::filter::Filter;
use crate::convert::numbers::Numbering;
use crate::convert::own::FIRST_OWN;
use nephometer_model::Volume;

#[test]
fn entries_are_sent_once_by_address_and_by_content() {
    let mut batch = batch();
    // Equal content at another address, and another revision of the same resource.
    batch.samples[1].resource = resource("a");
    let mut revised = (*resource("a")).clone();
    revised.metadata.insert("name".to_owned(), json!("renamed"));
    let cpu = Arc::clone(&batch.samples[0].meter);
    batch.samples.push(sample(4, &cpu, &Arc::new(revised), Volume::Integer(1)));
    let globs = Filter::new(&[]).unwrap();
    let session = Session::new(vec!["name".to_owned()], Numbering::Ascending);
    let mut fixture = Fixture { session, filter: globs, batch };
    let sent = fixture.send();
    assert_eq!(
        sent,
        "-[]-[] 0=cpu 1=memory 0=a{\"name\":\"a\"} 1=b{\"name\":\"b\"} 2=a{\"name\":\"renamed\"}"
    );
    let echo = fixture.echo();
    assert_eq!((echo.resource, echo.meter), (vec![0, 0, 1, 2], vec![0, 1, 0, 0]));
    assert_eq!(fixture.send(), "-[]-[] ");
}

#[test]
fn entries_of_removed_resources_are_forgotten_after_the_batch_and_their_numbers_reused() {
    let mut fixture = Fixture::new(batch(), &[]);
    fixture.batch.removed.push("a".into());
    fixture.transformed(Outcome::Unchanged).unwrap();
    assert!(fixture.session.resource(0).is_some(), "the guest may still return it");
    fixture.batch.removed.clear();
    fixture.batch.samples.remove(0);
    fixture.batch.samples[0].resource = resource("c");
    assert_eq!(fixture.send(), "-[]-[0] 0=c{\"name\":\"c\"}");
    assert_eq!(&*fixture.session.resource(0).unwrap().id, "c");
}

#[test]
fn rereversed_row_keeps_id_exact_value_and_clock() {
    let mut fixture = Fixture::new(batch(), &[]);
    let echo = fixture.echo();
    let rows: Vec<(u32, u32, f64)> = (0..)
        .zip(echo.meter.iter().zip(&echo.volume))
        .map(|(row, (meter, volume))| (row, *meter, *volume))
        .collect();
    for samples in [fixture.replace(echo).unwrap(), fixture.derive(&rows).unwrap()] {
        assert_eq!(ids(&samples), [1, 2, 3]);
        assert_eq!(samples[0].volume, Volume::Integer(LARGE));
        assert_eq!(samples[0].taken.monotonic, Some(8));
    }
}

#[test]
fn own_entry_equal_to_a_host_entry_yields_the_original_row() {
    let mut fixture = Fixture::new(batch(), &[]);
    let mut answer = fixture.echo();
    answer.meters = vec![new_meter(FIRST_OWN, "cpu")];
    answer.meter[0] = FIRST_OWN;
    let samples = fixture.replace(answer).unwrap();
    assert_eq!(ids(&samples), [1, 2, 3]);
    assert!(Arc::ptr_eq(&samples[0].meter, &fixture.batch.samples[0].meter));
    assert_eq!(ids(&fixture.derive(&[(0, FIRST_OWN, LARGE as f64)]).unwrap()), [1]);
}

#[test]
fn changed_rows_become_new_samples_and_integers_stay_integers() {
    let mut fixture = Fixture::new(batch(), &[]);
    let mut answer = fixture.echo();
    answer.volume = vec![8.0, 2.0, 0.5];
    let rows: Vec<_> = [(0, 0, 8.0), (1, 1, 2.0), (2, 0, 0.5)].to_vec();
    for samples in [fixture.replace(answer).unwrap(), fixture.derive(&rows).unwrap()] {
        assert_eq!(ids(&samples), [0, 0, 0]);
        assert_eq!(samples[0].volume, Volume::Integer(8));
        assert_eq!(samples[1].volume, Volume::Float(2.0));
        assert_eq!(samples[2].volume, Volume::Float(0.5));
        let taken = samples[0].taken;
        assert_eq!((taken.continuous, taken.monotonic), (Some(7), None));
        assert!(Arc::ptr_eq(&samples[0].resource, &fixture.batch.samples[0].resource));
    }
}

// Regression: a renamed counter of 2^60 + 1 became 2^60.
#[test]
fn renamed_row_keeps_its_exact_value_unless_the_component_sends_another() {
    let mut fixture = Fixture::new(batch(), &[]);
    let renamed = fixture.derive(&[(0, 1, LARGE as f64)]).unwrap();
    assert_eq!((ids(&renamed), renamed[0].volume), (vec![0], Volume::Integer(LARGE)));
    let exact = |row: u32, value: i64| vec![types::ExactInteger { row, value }];
    let with = |exact| Derived { exact, ..derived(&[(0, 1, LARGE as f64)]) };
    let value = i64::try_from(LARGE).unwrap() + 2;
    let samples = fixture.transformed(Outcome::Derive(with(exact(0, value)))).unwrap();
    assert_eq!(samples[0].volume, Volume::Integer(LARGE + 2));
    for (exact, text) in [
        (exact(0, 5), "5 does not match"),
        (exact(1, value), "row does not exist"),
        ([exact(0, value), exact(0, value)].concat(), "row does not exist"),
    ] {
        let error = fixture.transformed(Outcome::Derive(with(exact))).unwrap_err();
        assert!(error.contains(text) && error.contains("column exact"), "{error}");
    }
    let sent = fixture.echo();
    assert_eq!(sent.origin.len(), 3);
    let selected = fixture.session.select(&fixture.batch, &fixture.filter).unwrap();
    let argument = fixture.session.argument(&selected);
    assert_eq!((argument.exact.len(), argument.exact[0].value), (1, value - 2));
}

#[test]
fn row_rereversed_twice_is_a_copy_the_second_time() {
    let mut fixture = Fixture::new(batch(), &[]);
    let mut answer = fixture.echo();
    answer.origin[1] = 0;
    answer.meter[1] = 0;
    answer.volume[1] = answer.volume[0];
    assert_eq!(ids(&fixture.replace(answer).unwrap()), [1, 0, 3]);
    assert_eq!(ids(&fixture.derive(&[(2, 0, 4.0), (2, 0, 4.0)]).unwrap()), [3, 0]);
}

#[test]
fn every_error_names_row_and_column() {
    type Corrupt = fn(&mut Answer);
    let cases: [(Corrupt, &str); 17] = [
        (|a| a.meter.truncate(1), "column meter has 1 rows"),
        (|a| a.volume.push(1.0), "column volume has 4 rows"),
        (|a| a.origin[1] = 3, "row 1, column origin: row 3 is out of range"),
        (|a| a.meter[2] = 2, "row 2, column meter: number 0x2 is unknown"),
        (|a| a.meter[2] = FIRST_OWN, "row 2, column meter: number 0x80000000 is unknown"),
        (|a| a.resource[0] = 9, "row 0, column resource: number 0x9 is unknown"),
        (|a| a.resource[0] = u32::MAX, "row 0, column resource: number 0xffffffff is unknown"),
        (|a| a.volume[1] = f64::NAN, "row 1, column volume: NaN"),
        (|a| a.volume[1] = f64::NEG_INFINITY, "row 1, column volume: -inf"),
        (|a| a.time[0] = 315_532_799_999_999_999, "row 0, column time"),
        (|a| a.time[0] = NOW + DAY + 1, "row 0, column time"),
        (|a| a.time[0] = u64::MAX, "row 0, column time"),
        (
            |a| a.resources.push(new_resource(FIRST_OWN, "r", "[]")),
            "new resource 0x80000000: metadata",
        ),
        (
            |a| a.resources.push(new_resource(FIRST_OWN, "r", "{")),
            "new resource 0x80000000: metadata",
        ),
        (
            |a| a.resources.push(new_resource(FIRST_OWN, "", "{}")),
            "new resource 0x80000000 has no id",
        ),
        (|a| a.meters.push(new_meter(FIRST_OWN, "")), "new meter 0x80000000 has no name"),
        (|a| a.meters.push(new_meter(FIRST_OWN + 1, "m")), "number 0x80000001 leaves a gap"),
    ];
    for (corrupt, text) in cases {
        let mut fixture = Fixture::new(batch(), &[]);
        let mut answer = fixture.echo();
        corrupt(&mut answer);
        let error = fixture.replace(answer).unwrap_err();
        assert!(error.contains(text), "{error} should contain {text}");
    }
    let mut fixture = Fixture::new(batch(), &[]);
    let mut answer = fixture.echo();
    answer.time[0] = NOW + DAY;
    assert!(fixture.replace(answer).is_ok());
    for (rows, text) in [
        (&[(1, 0, 1.0), (0, 0, 1.0)][..], "row 1, column origin: 0 after 1: not ascending"),
        (&[(3, 0, 1.0)], "row 0, column origin: row 3 is out of range"),
        (&[(u32::MAX, 0, 1.0)], "is out of range"),
        (&[(0, 2, 1.0)], "row 0, column meter: number 0x2 is unknown"),
        (&[(0, 0, f64::INFINITY)], "row 0, column volume: inf"),
    ] {
        let error = fixture.derive(rows).unwrap_err();
        assert!(error.contains(text), "{error} should contain {text}");
    }
    let mut unequal = derived(&[(0, 0, 1.0)]);
    unequal.meter.clear();
    let error = fixture.transformed(Outcome::Derive(unequal)).unwrap_err();
    assert!(error.contains("column meter has 0 rows"), "{error}");
}

#[test]
fn own_entries_persist_and_can_be_replaced() {
    let mut fixture = Fixture::new(batch(), &[]);
    let with = |meters| Derived { meters, ..derived(&[(2, FIRST_OWN, 1.0)]) };
    let name = |samples: &[Sample]| samples[0].meter.name.to_string();
    let first =
        fixture.transformed(Outcome::Derive(with(vec![new_meter(FIRST_OWN, "x")]))).unwrap();
    let later = fixture.transformed(Outcome::Derive(with(Vec::new()))).unwrap();
    assert_eq!((name(&first), name(&later)), ("x".to_owned(), "x".to_owned()));
    let replaced =
        fixture.transformed(Outcome::Derive(with(vec![new_meter(FIRST_OWN, "y")]))).unwrap();
    assert_eq!((name(&replaced), name(&first)), ("y".to_owned(), "x".to_owned()));
    // Within one answer, the last entry wins.
    let twice = vec![new_meter(FIRST_OWN, "v"), new_meter(FIRST_OWN, "w")];
    assert_eq!(name(&fixture.transformed(Outcome::Derive(with(twice))).unwrap()), "w");
    let hosts = vec![new_meter(0, "cpu")];
    assert!(fixture.transformed(Outcome::Derive(with(hosts))).unwrap_err().contains("number 0x0"));
}

#[test]
fn keep_requires_ascending_rows() {
    let mut fixture = Fixture::new(batch(), &["cpu"]);
    let mut keep = |rows: &[u32]| fixture.transformed(Outcome::Keep(rows.to_vec()));
    assert_eq!(ids(&keep(&[1]).unwrap()), [2, 3]);
    assert_eq!(ids(&keep(&[]).unwrap()), [2]);
    for (rows, text) in [(&[2][..], "out of range"), (&[1, 0], "ascend"), (&[0, 0], "ascend")] {
        assert!(keep(rows).unwrap_err().contains(text));
    }
    assert_eq!(ids(&fixture.transformed(Outcome::Unchanged).unwrap()), [1, 2, 3]);
}

#[test]
fn bypassed_samples_keep_their_position() {
    let mut fixture = Fixture::new(batch(), &["c?u"]);
    let answer = fixture.echo();
    assert_eq!(answer.origin, [0, 1]);
    assert_eq!(ids(&fixture.replace(answer).unwrap()), [1, 2, 3]);
    assert_eq!(ids(&fixture.derive(&[(1, 0, 9.0)]).unwrap()), [2, 0]);
    assert_eq!(ids(&fixture.derive(&[(0, 0, 9.0)]).unwrap()), [0, 2]);
    assert_eq!(ids(&fixture.derive(&[]).unwrap()), [2]);
    let mut reversed = fixture.echo();
    reversed.origin.reverse();
    reversed.resource.reverse();
    reversed.volume.reverse();
    assert_eq!(ids(&fixture.replace(reversed).unwrap()), [2, 3, 1]);
    let without_origin = Answer {
        origin: vec![NO_ORIGIN],
        meter: vec![0],
        resource: vec![0],
        time: vec![NOW],
        volume: vec![1.0],
        ..fixture.echo()
    };
    assert_eq!(ids(&fixture.replace(without_origin).unwrap()), [0, 2]);
}

#[test]
fn flush_may_use_the_dictionary_but_no_origins() {
    let mut fixture = Fixture::new(batch(), &[]);
    let now = Timestamp::from_nanos(NOW);
    assert!(fixture.session.flushed(None, now).unwrap().is_empty());
    let own = || {
        flush_of(
            1,
            vec![new_meter(FIRST_OWN, "m")],
            vec![new_resource(FIRST_OWN, "r", "{\"k\":1}")],
        )
    };
    let samples = flushed(own()).unwrap();
    assert_eq!(samples[0].volume, Volume::Float(1.0));
    assert_eq!(&*samples[0].resource.source, "openstack");
    let with_origin = Answer { origin: vec![0], ..own() };
    assert!(flushed(with_origin).unwrap_err().contains("column origin"));
    let hosts = Answer { meter: vec![1], resource: vec![0], ..flush_of(1, Vec::new(), Vec::new()) };
    let samples = fixture.session.flushed(Some(hosts), now).unwrap();
    assert_eq!((&*samples[0].meter.name, &*samples[0].resource.id), ("memory", "a"));
    let value = i64::try_from(LARGE).unwrap();
    let exact = vec![types::ExactInteger { row: 0, value }];
    let exact = Answer { volume: vec![LARGE as f64], exact, ..own() };
    assert_eq!(flushed(exact).unwrap()[0].volume, Volume::Integer(LARGE));
}
