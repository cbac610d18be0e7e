use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::super::{Filter, Texts};
use super::*;
use nephometer_model::{Batch, Bound};

const TICK: u64 = 1_700_000_000_000_000_000;

fn resource(id: &str) -> Arc<Resource> {
    Arc::new(Resource {
        id: id.into(),
        source: "openstack".into(),
        project_id: Some("p".into()),
        user_id: None,
        metadata: json!({"cpu_number": 2, "name": id}).as_object().unwrap().clone(),
    })
}

fn sample(number: u128, meter: &Arc<Meter>, resource: &Arc<Resource>, volume: Volume) -> Sample {
    let wall = Timestamp::from_nanos(TICK);
    Sample {
        id: Uuid::from_u128(number),
        meter: Arc::clone(meter),
        resource: Arc::clone(resource),
        volume,
        taken: Moment { wall, continuous: Some(7), monotonic: Some(8) },
    }
}

/// Three samples: cpu of a, memory of a, cpu of b. The first is exact only as an integer.
fn batch() -> Batch {
    let cpu = Arc::new(Meter::new("cpu", MeterType::Cumulative, "ns"));
    let memory = Arc::new(Meter::new("memory", MeterType::Gauge, "MB"));
    let (a, b) = (resource("a"), resource("b"));
    let exact = Volume::Integer((1 << 60) + 1);
    Batch {
        source: "s".into(),
        tick: Moment { wall: Timestamp::from_nanos(TICK), ..Moment::default() },
        samples: vec![
            sample(1, &cpu, &a, exact),
            sample(2, &memory, &a, Volume::Float(1.5)),
            sample(3, &cpu, &b, Volume::Integer(4)),
        ],
        gone: Vec::new(),
    }
}

fn columns<'a>(batch: &'a Batch, meters: &[&str]) -> Columns<'a> {
    let globs: Vec<String> = meters.iter().map(|glob| (*glob).to_owned()).collect();
    Columns::new(batch, &Filter::new(&globs).unwrap()).unwrap()
}

/// The answer that gives all rows back as they are.
fn echo(columns: &Columns<'_>) -> Answer {
    let mut texts = Texts::new(Vec::new());
    let parts = columns.parts(&mut texts);
    let given = columns.argument(&parts);
    Answer {
        meters: Vec::new(),
        resources: Vec::new(),
        origin: (0..).zip(given.meter).map(|(row, _)| row).collect(),
        meter: given.meter.to_vec(),
        resource: given.resource.to_vec(),
        time: given.time.to_vec(),
        volume: given.volume.to_vec(),
    }
}

fn replace(columns: &Columns<'_>, answer: Answer) -> Result<Vec<Sample>, String> {
    transformed(Outcome::Replace(answer), columns)
}

fn ids(samples: &[Sample]) -> Vec<u128> {
    samples.iter().map(|sample| sample.id.as_u128()).collect()
}

#[test]
fn the_dictionary_is_interned_by_address_and_by_content() {
    let mut batch = batch();
    // The same content elsewhere in memory, and another revision of the same resource.
    batch.samples[1].resource = resource("a");
    let mut revised = (*resource("a")).clone();
    revised.metadata.insert("name".to_owned(), json!("renamed"));
    let revised = Arc::new(revised);
    batch.samples.push(sample(4, &batch.samples[0].meter.clone(), &revised, Volume::Integer(1)));
    let columns = columns(&batch, &[]);
    let mut texts = Texts::new(vec!["name".to_owned()]);
    let parts = columns.parts(&mut texts);
    let given = columns.argument(&parts);
    assert_eq!(given.resource, [0, 0, 1, 2]);
    assert_eq!(given.meter, [0, 1, 0, 0]);
    assert_eq!(given.monotonic, [7; 4]);
    let metadata: Vec<&str> = given.resources.iter().map(|resource| resource.metadata).collect();
    assert_eq!(metadata, [r#"{"name":"a"}"#, r#"{"name":"b"}"#, r#"{"name":"renamed"}"#]);
}

#[test]
fn a_row_given_back_is_the_row_exact_value_and_all() {
    let batch = batch();
    let columns = columns(&batch, &[]);
    let samples = replace(&columns, echo(&columns)).unwrap();
    assert_eq!(ids(&samples), [1, 2, 3]);
    assert_eq!(samples[0].volume, Volume::Integer((1 << 60) + 1));
    assert_eq!(samples[0].taken.monotonic, Some(8));
}

#[test]
fn a_new_entry_with_old_content_is_the_old_entry() {
    let batch = batch();
    let columns = columns(&batch, &[]);
    let mut answer = echo(&columns);
    let meter = types::MeterType::Cumulative;
    answer.meters =
        vec![types::MeterResult { name: "cpu".into(), unit: "ns".into(), type_: meter }];
    answer.meter[0] = 2;
    let samples = replace(&columns, answer).unwrap();
    assert_eq!(ids(&samples), [1, 2, 3]);
    assert!(Arc::ptr_eq(&samples[0].meter, &batch.samples[0].meter));
}

#[test]
fn what_is_changed_is_made_and_stays_whole_where_it_was() {
    let batch = batch();
    let columns = columns(&batch, &[]);
    let mut answer = echo(&columns);
    answer.volume = vec![8.0, 2.0, 0.5];
    let samples = replace(&columns, answer).unwrap();
    assert_eq!(ids(&samples), [0, 0, 0]);
    assert_eq!(samples[0].volume, Volume::Integer(8));
    assert_eq!(samples[1].volume, Volume::Float(2.0));
    assert_eq!(samples[2].volume, Volume::Float(0.5));
    let taken = samples[0].taken;
    assert_eq!((taken.continuous, taken.monotonic), (Some(7), None));
    assert!(Arc::ptr_eq(&samples[0].resource, &batch.samples[0].resource));
}

#[test]
fn a_row_given_back_twice_is_a_copy_the_second_time() {
    let batch = batch();
    let columns = columns(&batch, &[]);
    let mut answer = echo(&columns);
    answer.origin[1] = 0;
    answer.meter[1] = 0;
    answer.volume[1] = answer.volume[0];
    assert_eq!(ids(&replace(&columns, answer).unwrap()), [1, 0, 3]);
}

#[test]
fn every_fault_is_found_with_its_place() {
    type Spoil = fn(&mut Answer);
    let cases: [(Spoil, &str); 13] = [
        (|a| a.meter.truncate(1), "column meter has 1 rows"),
        (|a| a.volume.push(1.0), "column volume has 4 rows"),
        (|a| a.origin[1] = 3, "row 1, column origin: 3 is no row"),
        (|a| a.meter[2] = 2, "row 2, column meter: 2 is no entry"),
        (|a| a.resource[0] = 9, "row 0, column resource: 9 is no entry"),
        (|a| a.volume[1] = f64::NAN, "row 1, column volume: NaN"),
        (|a| a.volume[1] = f64::NEG_INFINITY, "row 1, column volume: -inf"),
        (|a| a.time[0] = 315_532_799_999_999_999, "row 0, column time"),
        (|a| a.time[0] = TICK + DAY + 1, "row 0, column time"),
        (|a| a.time[0] = u64::MAX, "row 0, column time"),
        (|a| a.resources.push(entry_with("[]")), "resources, entry 0: metadata"),
        (|a| a.resources.push(entry_with("{")), "resources, entry 0: metadata"),
        (
            |a| a.resources.extend((0..=Bound::NewResources.size()).map(|_| entry_with("{}"))),
            "new resources in one answer: 50001",
        ),
    ];
    let batch = batch();
    let columns = columns(&batch, &[]);
    for (spoil, words) in cases {
        let mut answer = echo(&columns);
        spoil(&mut answer);
        let error = replace(&columns, answer).unwrap_err();
        assert!(error.contains(words), "{error} should say {words}");
    }
    let mut answer = echo(&columns);
    answer.time[0] = TICK + DAY;
    assert!(replace(&columns, answer).is_ok());
}

fn entry_with(metadata: &str) -> types::ResourceResult {
    types::ResourceResult {
        id: "new".into(),
        source: String::new(),
        project_id: None,
        user_id: None,
        metadata: metadata.into(),
    }
}

#[test]
fn keep_takes_ascending_rows_only() {
    let batch = batch();
    let columns = columns(&batch, &["cpu"]);
    let keep = |rows: &[u32]| transformed(Outcome::Keep(rows.to_vec()), &columns);
    assert_eq!(ids(&keep(&[1]).unwrap()), [2, 3]);
    assert_eq!(ids(&keep(&[]).unwrap()), [2]);
    for (rows, words) in [(&[2][..], "no row"), (&[1, 0], "ascend"), (&[0, 0], "ascend")] {
        assert!(keep(rows).unwrap_err().contains(words));
    }
    assert_eq!(ids(&transformed(Outcome::Unchanged, &columns).unwrap()), [1, 2, 3]);
}

#[test]
fn rows_that_passed_by_keep_their_place() {
    let batch = batch();
    let columns = columns(&batch, &["c?u"]);
    let answer = echo(&columns);
    assert_eq!(answer.origin, [0, 1]);
    assert_eq!(ids(&replace(&columns, answer).unwrap()), [1, 2, 3]);
    let mut turned = echo(&columns);
    turned.origin.reverse();
    turned.resource.reverse();
    turned.volume.reverse();
    assert_eq!(ids(&replace(&columns, turned).unwrap()), [2, 3, 1]);
    let none = Answer {
        origin: vec![NO_ORIGIN],
        meter: vec![0],
        resource: vec![0],
        time: vec![TICK],
        volume: vec![1.0],
        ..echo(&columns)
    };
    assert_eq!(ids(&replace(&columns, none).unwrap()), [0, 2]);
}

#[test]
fn a_flush_has_an_empty_dictionary() {
    let now = Timestamp::from_nanos(TICK);
    assert!(flushed(None, now).unwrap().is_empty());
    let meter = types::MeterType::Gauge;
    let answer = || Answer {
        meters: vec![types::MeterResult { name: "m".into(), unit: String::new(), type_: meter }],
        resources: vec![entry_with(r#"{"k":1}"#)],
        origin: vec![NO_ORIGIN],
        meter: vec![0],
        resource: vec![0],
        time: vec![TICK],
        volume: vec![3.0],
    };
    let samples = flushed(Some(answer()), now).unwrap();
    assert_eq!(samples[0].volume, Volume::Float(3.0));
    assert_eq!(&*samples[0].resource.source, "openstack");
    // Fuzzing found both: nobody could tell what such a sample is of.
    let mut nameless = answer();
    nameless.meters[0].name.clear();
    assert!(flushed(Some(nameless), now).unwrap_err().contains("the meter has no name"));
    let mut nobody = answer();
    nobody.resources[0].id.clear();
    assert!(flushed(Some(nobody), now).unwrap_err().contains("the resource has no id"));
    let with_origin = Answer { origin: vec![0], ..answer() };
    assert!(flushed(Some(with_origin), now).unwrap_err().contains("column origin"));
}

/// Columns that are nearly right: indexes around the valid ones, values at their edges.
fn any_answer() -> impl Strategy<Value = Answer> {
    let text = || prop::sample::select(vec!["", "cpu", "a", "{}", "{\"a\":1}", "[]", "\u{0}", "{"]);
    let kind = prop::sample::select(vec![
        types::MeterType::Gauge,
        types::MeterType::Delta,
        types::MeterType::Cumulative,
    ]);
    let meter = (text(), text(), kind).prop_map(|(name, unit, type_)| types::MeterResult {
        name: name.to_owned(),
        unit: unit.to_owned(),
        type_,
    });
    let resource = (text(), text(), prop::option::of(text()), text()).prop_map(
        |(id, source, owner, metadata)| types::ResourceResult {
            id: id.to_owned(),
            source: source.to_owned(),
            project_id: owner.map(str::to_owned),
            user_id: None,
            metadata: metadata.to_owned(),
        },
    );
    let index = || prop_oneof![0_u32..5, Just(u32::MAX), any::<u32>()];
    let column = || prop::collection::vec(index(), 0..5);
    let time = prop_oneof![Just(TICK), Just(TICK + 1), Just(0), any::<u64>()];
    let volume = prop_oneof![Just(4.0), any::<f64>()];
    let few = 0..3;
    (
        prop::collection::vec(meter, few.clone()),
        prop::collection::vec(resource, few),
        column(),
        column(),
        column(),
        prop::collection::vec(time, 0..5),
        prop::collection::vec(volume, 0..5),
    )
        .prop_map(|(meters, resources, origin, meter, resource, time, volume)| Answer {
            meters,
            resources,
            origin,
            meter,
            resource,
            time,
            volume,
        })
}

/// The same with columns of one length, which gets past the first check.
fn even(mut answer: Answer) -> Answer {
    let rows = answer.volume.len().min(answer.time.len()).min(answer.origin.len());
    let rows = rows.min(answer.meter.len()).min(answer.resource.len());
    answer.origin.truncate(rows);
    answer.meter.truncate(rows);
    answer.resource.truncate(rows);
    answer.time.truncate(rows);
    answer.volume.truncate(rows);
    answer
}

fn all_well(samples: &[Sample]) -> bool {
    let latest = Timestamp::from_nanos(TICK + 2 * 86_400_000_000_000);
    samples.iter().all(|sample| sample.volume.as_f64().is_finite() && sample.taken.wall <= latest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_answer_is_refused_or_gives_samples(answer in any_answer(), cut in any::<bool>()) {
        let batch = batch();
        let columns = columns(&batch, &["cpu"]);
        let answer = if cut { even(answer) } else { answer };
        let rows = answer.volume.len();
        if let Ok(samples) = replace(&columns, answer) {
            // The one that passed by is there, too.
            prop_assert_eq!(samples.len(), rows + 1);
            prop_assert!(all_well(&samples));
        }
    }

    #[test]
    fn any_flush_is_refused_or_gives_samples(answer in any_answer()) {
        let now = Timestamp::from_nanos(TICK);
        if let Ok(samples) = flushed(Some(even(answer)), now) {
            prop_assert!(all_well(&samples));
        }
    }

    #[test]
    fn any_choice_of_rows_is_refused_or_a_part(rows in prop::collection::vec(0_u32..4, 0..5)) {
        let batch = batch();
        let columns = columns(&batch, &["cpu"]);
        if let Ok(samples) = transformed(Outcome::Keep(rows.clone()), &columns) {
            prop_assert_eq!(samples.len(), rows.len() + 1);
        }
    }
}

fn meter_result(name: usize) -> types::MeterResult {
    let type_ = types::MeterType::Gauge;
    types::MeterResult { name: "m".repeat(name), unit: String::new(), type_ }
}

fn resource_result(id: usize, metadata: String) -> types::ResourceResult {
    types::ResourceResult {
        id: "r".repeat(id),
        source: String::new(),
        project_id: None,
        user_id: None,
        metadata,
    }
}

/// An answer of new rows, which all name the entry 0.
fn flush_of(
    rows: usize,
    meters: Vec<types::MeterResult>,
    resources: Vec<types::ResourceResult>,
) -> Result<Vec<Sample>, String> {
    let answer = Answer {
        meters,
        resources,
        origin: vec![NO_ORIGIN; rows],
        meter: vec![0; rows],
        resource: vec![0; rows],
        time: vec![TICK; rows],
        volume: vec![1.0; rows],
    };
    flushed(Some(answer), Timestamp::from_nanos(TICK))
}

/// A string in an object, so that the text has so many bytes.
fn object(length: usize) -> String {
    format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8))
}

#[test]
fn every_bound_of_an_answer_holds_at_the_limit() {
    let bounded = |bound: Bound, answer: &dyn Fn(usize) -> Result<Vec<Sample>, String>| {
        assert!(answer(bound.size()).is_ok(), "{bound:?}: {:?}", answer(bound.size()).err());
        let refusal = answer(bound.size() + 1).unwrap_err();
        assert!(refusal.contains(bound.row().name), "{refusal}");
    };
    let (one, plain) = (|| vec![meter_result(1)], || vec![resource_result(1, "{}".to_owned())]);
    bounded(Bound::AnswerRows, &|count| flush_of(count, one(), plain()).map(|_| Vec::new()));
    bounded(Bound::NewMeters, &|count| flush_of(1, vec![meter_result(1); count], plain()));
    bounded(Bound::NewResources, &|count| {
        flush_of(1, one(), vec![resource_result(1, "{}".to_owned()); count])
    });
    bounded(Bound::IdBytes, &|length| flush_of(1, vec![meter_result(length)], plain()));
    bounded(Bound::IdBytes, &|length| {
        flush_of(1, one(), vec![resource_result(length, "{}".to_owned())])
    });
    bounded(Bound::MetadataBytes, &|length| {
        flush_of(1, one(), vec![resource_result(1, object(length))])
    });
    // The object itself and the list, then a comma before each further number.
    let list = |count: usize| format!("{{\"a\":[1{}]}}", ",1".repeat(count - 3));
    bounded(Bound::MetadataValues, &|count| {
        // In two resources: one alone may not have so many bytes.
        let half = count / 2;
        let resources =
            vec![resource_result(1, list(half)), resource_result(2, list(count - half))];
        flush_of(1, one(), resources)
    });
}

// A component of 9 KB named one resource of 200 KB in 20,000 rows: 4 GB.
#[test]
fn what_rows_represent_is_bounded() {
    let large = |rows: usize, bytes: usize| {
        flush_of(rows, vec![meter_result(1)], vec![resource_result(1, object(bytes))])
    };
    assert!(large(200, 200_000).is_ok());
    let refusal = large(20_000, 200_000).unwrap_err();
    assert!(refusal.contains(Bound::AnswerBytes.row().name), "{refusal}");
    // A row counts with 256 bytes, its meter's name, and 10 bytes of `r` and `openstack`.
    let rows = 1_024;
    let each = Bound::AnswerBytes.size() / rows - 256 - 1 - 10;
    let exact = |extra: usize| {
        let rest = resource_result(1, object(200));
        flush_of(rows, vec![meter_result(1)], vec![resource_result(1, object(each + extra)), rest])
    };
    assert!(exact(0).is_ok(), "{:?}", exact(0).err());
    assert!(exact(1).is_err());
}

#[test]
fn rows_of_the_input_count_for_nothing() {
    let mut batch = batch();
    let mut heavy = (*resource("a")).clone();
    heavy.metadata.insert("x".to_owned(), json!("y".repeat(1 << 20)));
    let heavy = Arc::new(heavy);
    batch.samples = (0..300)
        .map(|number| sample(number, &batch.samples[0].meter, &heavy, Volume::Integer(1)))
        .collect();
    let columns = columns(&batch, &[]);
    // They represent 300 MB, and did before.
    assert_eq!(replace(&columns, echo(&columns)).unwrap().len(), 300);
    let mut doubled = echo(&columns);
    for column in [&mut doubled.origin, &mut doubled.meter, &mut doubled.resource] {
        column.extend_from_within(..);
    }
    doubled.time.extend_from_within(..);
    doubled.volume.extend_from_within(..);
    assert!(replace(&columns, doubled).unwrap_err().contains("answer_bytes"));
}
