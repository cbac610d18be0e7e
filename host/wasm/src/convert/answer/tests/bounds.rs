//! The bounds of an answer, and of the entries of one instance.

use std::sync::Arc;

use serde_json::json;

use super::super::*;
use super::fixture::*;
use crate::convert::numbers::Numbering;
use crate::convert::own::FIRST_OWN;
use nephometer_model::{Bound, Volume};

/// A JSON object with one string, `length` bytes in total.
fn object(length: usize) -> String {
    format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8))
}

fn numbered(count: usize) -> impl Iterator<Item = u32> {
    (FIRST_OWN..).take(count)
}

#[test]
fn answer_at_each_bound_is_accepted_and_one_more_is_refused() {
    let check = |bound: Bound, answer: &dyn Fn(usize) -> Result<Vec<Sample>, String>| {
        assert!(answer(bound.size()).is_ok(), "{bound:?}: {:?}", answer(bound.size()).err());
        let refusal = answer(bound.size() + 1).unwrap_err();
        assert!(refusal.contains(bound.row().name), "{refusal}");
    };
    let one = || vec![new_meter(FIRST_OWN, "m")];
    let plain = || vec![new_resource(FIRST_OWN, "r", "{}")];
    check(Bound::AnswerRows, &|count| flushed(flush_of(count, one(), plain())).map(|_| Vec::new()));
    check(Bound::NewMeters, &|count| {
        let meters = numbered(count).map(|number| new_meter(number, "m")).collect();
        flushed(flush_of(1, meters, plain()))
    });
    check(Bound::NewResources, &|count| {
        let resources = numbered(count).map(|number| new_resource(number, "r", "{}")).collect();
        flushed(flush_of(1, one(), resources))
    });
    check(Bound::IdBytes, &|length| {
        flushed(flush_of(1, vec![new_meter(FIRST_OWN, &"m".repeat(length))], plain()))
    });
    check(Bound::IdBytes, &|length| {
        flushed(flush_of(1, one(), vec![new_resource(FIRST_OWN, &"r".repeat(length), "{}")]))
    });
    check(Bound::MetadataBytes, &|length| {
        flushed(flush_of(1, one(), vec![new_resource(FIRST_OWN, "r", &object(length))]))
    });
    check(Bound::MetadataValues, &|count| {
        // In two resources: one alone would exceed the limit on bytes.
        let half = count / 2;
        let resources = [(FIRST_OWN, half), (FIRST_OWN + 1, count - half)];
        let resources = resources.map(|(number, count)| new_resource(number, "r", &list(count)));
        flushed(flush_of(1, one(), resources.to_vec()))
    });
}

/// A JSON object with `count` values: the object, the list, and each number.
fn list(count: usize) -> String {
    format!("{{\"a\":[1{}]}}", ",1".repeat(count - 3))
}

#[test]
fn own_entries_are_bounded_over_all_answers_of_an_instance() {
    let now = Timestamp::from_nanos(NOW);
    let none = || flush_of(0, Vec::new(), Vec::new());
    let refused = |session: &mut Session, answer: Answer, bound: Bound| {
        let refusal = session.flushed(Some(answer), now).unwrap_err();
        assert!(refusal.contains(bound.row().name), "{refusal}");
    };
    let mut session = Session::new(Vec::new(), Numbering::Ascending);
    let mut next = FIRST_OWN;
    for _ in 0..Bound::OwnMeters.size() / Bound::NewMeters.size() {
        let meters = (next..).take(Bound::NewMeters.size());
        let meters = meters.map(|number| new_meter(number, "m")).collect();
        session.flushed(Some(Answer { meters, ..none() }), now).unwrap();
        next += u32::try_from(Bound::NewMeters.size()).unwrap();
    }
    let replaced = Answer { meters: vec![new_meter(next - 1, "n")], ..none() };
    session.flushed(Some(replaced), now).unwrap();
    refused(
        &mut session,
        Answer { meters: vec![new_meter(next, "m")], ..none() },
        Bound::OwnMeters,
    );

    let mut session = Session::new(Vec::new(), Numbering::Ascending);
    let all = numbered(Bound::OwnResources.size()).map(|number| new_resource(number, "r", "{}"));
    session.flushed(Some(Answer { resources: all.collect(), ..none() }), now).unwrap();
    let next = FIRST_OWN + u32::try_from(Bound::OwnResources.size()).unwrap();
    let one_more = Answer { resources: vec![new_resource(next, "r", "{}")], ..none() };
    refused(&mut session, one_more, Bound::OwnResources);

    // Each counts with its metadata, plus 10 bytes for `r` and `openstack`.
    let mut session = Session::new(Vec::new(), Numbering::Ascending);
    let each = 1 << 18;
    let of = |number: u32, bytes: usize| Answer {
        resources: vec![new_resource(number, "r", &object(bytes - 10))],
        ..none()
    };
    let count = u32::try_from(Bound::OwnBytes.size() / each).unwrap();
    for number in 0..count {
        session.flushed(Some(of(FIRST_OWN + number, each)), now).unwrap();
    }
    session.flushed(Some(of(FIRST_OWN, each)), now).unwrap();
    refused(&mut session, of(FIRST_OWN, each + 1), Bound::OwnBytes);

    let mut session = Session::new(Vec::new(), Numbering::Ascending);
    let each = 100_000;
    let of = |number: u32, values: usize| Answer {
        resources: vec![new_resource(number, "r", &list(values))],
        ..none()
    };
    let count = u32::try_from(Bound::OwnValues.size() / each).unwrap();
    for number in 0..count {
        session.flushed(Some(of(FIRST_OWN + number, each)), now).unwrap();
    }
    refused(&mut session, of(FIRST_OWN + count, 3), Bound::OwnValues);
}

// Regression: a component of 9 KB referred to one resource of 200 KB in 20,000 rows: 4 GB.
#[test]
fn message_bytes_of_an_answer_are_bounded() {
    let large = |rows: usize, bytes: usize| {
        let resources = vec![new_resource(FIRST_OWN, "r", &object(bytes))];
        flushed(flush_of(rows, vec![new_meter(FIRST_OWN, "m")], resources))
    };
    assert!(large(200, 200_000).is_ok());
    let refusal = large(20_000, 200_000).unwrap_err();
    assert!(refusal.contains(Bound::AnswerBytes.row().name), "{refusal}");
    // A row counts with 256 bytes, the name and unit of its meter, and 10 bytes of `r` and
    // `openstack`.
    let rows = 1_024;
    let each = Bound::AnswerBytes.size() / rows - 256 - 3 - 10;
    assert!(large(rows, each).is_ok(), "{:?}", large(rows, each).err());
    assert!(large(rows, each + 1).is_err());
}

#[test]
fn message_bytes_of_the_input_are_not_counted() {
    let mut batch = batch();
    let mut large = (*resource("a")).clone();
    large.metadata.insert("x".to_owned(), json!("y".repeat(1 << 20)));
    let large = Arc::new(large);
    batch.samples = (0..300)
        .map(|number| sample(number, &batch.samples[0].meter, &large, Volume::Integer(1)))
        .collect();
    let mut fixture = Fixture::new(batch, &[]);
    // 300 MB of messages, as much as the input.
    let echo = fixture.echo();
    assert_eq!(fixture.replace(echo).unwrap().len(), 300);
    let all: Vec<(u32, u32, f64)> = (0..300).map(|row| (row, 0, 2.0)).collect();
    assert_eq!(fixture.derive(&all).unwrap().len(), 300);
    let mut doubled = fixture.echo();
    for column in [&mut doubled.origin, &mut doubled.meter, &mut doubled.resource] {
        column.extend_from_within(..);
    }
    doubled.time.extend_from_within(..);
    doubled.volume.extend_from_within(..);
    assert!(fixture.replace(doubled).unwrap_err().contains("answer_bytes"));
    let doubled: Vec<(u32, u32, f64)> = (0..600).map(|row| (row / 2, 0, 2.0)).collect();
    assert!(fixture.derive(&doubled).unwrap_err().contains("answer_bytes"));
}
