use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::super::filter::Filter;
use super::super::numbers::Numbering;
use super::super::own::OWN;
use super::*;
use crate::bindings::exports::nephometer::metering::dictionary::{
    NumberedMeterResult, NumberedResourceResult,
};
use crate::bindings::nephometer::metering::types;
use nephometer_model::{Batch, Bound, MeterType, Volume};

const TICK: u64 = 1_700_000_000_000_000_000;
const LARGE: i128 = (1 << 60) + 1;

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
    Batch {
        source: "s".into(),
        cycle_start: Moment { wall: Timestamp::from_nanos(TICK), ..Moment::default() },
        samples: vec![
            sample(1, &cpu, &a, Volume::Integer(LARGE)),
            sample(2, &memory, &a, Volume::Float(1.5)),
            sample(3, &cpu, &b, Volume::Integer(4)),
        ],
        gone: Vec::new(),
    }
}

/// An instance that wants these meters, with the batch that it has been sent last.
struct Rig {
    session: Session,
    filter: Filter,
    batch: Batch,
}

impl Rig {
    fn new(batch: Batch, meters: &[&str]) -> Self {
        let globs: Vec<String> = meters.iter().map(|glob| (*glob).to_owned()).collect();
        let session = Session::new(vec!["name".to_owned()], Numbering::Ascending);
        let mut rig = Self { session, filter: Filter::new(&globs).unwrap(), batch };
        rig.send();
        rig
    }

    /// Sends the batch; returns the news before it, as text.
    fn send(&mut self) -> String {
        let Self { session, filter, batch } = self;
        session.pick(batch, filter).unwrap();
        let texts = session.texts();
        let news = session.news(&texts);
        let argument = news.argument();
        let meters = argument.meters.iter().map(|new| format!("{}={}", new.number, new.entry.name));
        let resources = argument.resources.iter();
        let resources =
            resources.map(|new| format!("{}={}{}", new.number, new.entry.id, new.entry.metadata));
        let words: Vec<String> = meters.chain(resources).collect();
        let words = format!(
            "-{:?}-{:?} {}",
            argument.forgotten_meters,
            argument.forgotten_resources,
            words.join(" ")
        );
        drop(news);
        session.learned();
        words
    }

    /// The rows as they were sent.
    fn echo(&mut self) -> Answer {
        let Self { session, filter, batch } = self;
        let picked = session.pick(batch, filter).unwrap();
        let sent = session.argument(&picked);
        Answer {
            meters: Vec::new(),
            resources: Vec::new(),
            origin: (0..).zip(sent.meter).map(|(row, _)| row).collect(),
            meter: sent.meter.to_vec(),
            resource: sent.resource.to_vec(),
            time: sent.time.to_vec(),
            volume: sent.volume.to_vec(),
            exact: Vec::new(),
        }
    }

    fn transformed(&mut self, outcome: Outcome) -> Result<Vec<Sample>, String> {
        let Self { session, filter, batch } = self;
        let picked = session.pick(batch, filter).unwrap();
        session.learned();
        let made = session.transformed(outcome, &picked);
        session.forget(&picked);
        made.map(|made| made.into_samples(batch))
    }

    fn replace(&mut self, answer: Answer) -> Result<Vec<Sample>, String> {
        self.transformed(Outcome::Replace(answer))
    }

    fn derive(&mut self, rows: &[(u32, u32, f64)]) -> Result<Vec<Sample>, String> {
        self.transformed(Outcome::Derive(derived(rows)))
    }
}

/// Rows of origin, meter and volume.
fn derived(rows: &[(u32, u32, f64)]) -> Derived {
    Derived {
        meters: Vec::new(),
        origin: rows.iter().map(|row| row.0).collect(),
        meter: rows.iter().map(|row| row.1).collect(),
        volume: rows.iter().map(|row| row.2).collect(),
        exact: Vec::new(),
    }
}

fn ids(samples: &[Sample]) -> Vec<u128> {
    samples.iter().map(|sample| sample.id.as_u128()).collect()
}

fn new_meter(number: u32, name: &str) -> NumberedMeterResult {
    let entry = types::MeterResult {
        name: name.to_owned(),
        unit: "ns".into(),
        type_: types::MeterType::Cumulative,
    };
    NumberedMeterResult { number, entry }
}

fn new_resource(number: u32, id: &str, metadata: &str) -> NumberedResourceResult {
    let entry = types::ResourceResult {
        id: id.to_owned(),
        source: String::new(),
        project_id: None,
        user_id: None,
        metadata: metadata.to_owned(),
    };
    NumberedResourceResult { number, entry }
}

#[test]
fn entries_are_sent_once_by_address_and_by_content() {
    let mut batch = batch();
    // The same content elsewhere in memory, and another revision of the same resource.
    batch.samples[1].resource = resource("a");
    let mut revised = (*resource("a")).clone();
    revised.metadata.insert("name".to_owned(), json!("renamed"));
    let cpu = Arc::clone(&batch.samples[0].meter);
    batch.samples.push(sample(4, &cpu, &Arc::new(revised), Volume::Integer(1)));
    let globs = Filter::new(&[]).unwrap();
    let session = Session::new(vec!["name".to_owned()], Numbering::Ascending);
    let mut rig = Rig { session, filter: globs, batch };
    let sent = rig.send();
    assert_eq!(
        sent,
        "-[]-[] 0=cpu 1=memory 0=a{\"name\":\"a\"} 1=b{\"name\":\"b\"} 2=a{\"name\":\"renamed\"}"
    );
    let echo = rig.echo();
    assert_eq!((echo.resource, echo.meter), (vec![0, 0, 1, 2], vec![0, 1, 0, 0]));
    assert_eq!(rig.send(), "-[]-[] ");
}

#[test]
fn entries_of_removed_resources_are_forgotten_after_the_batch_and_their_numbers_reused() {
    let mut rig = Rig::new(batch(), &[]);
    rig.batch.gone.push("a".into());
    rig.transformed(Outcome::Unchanged).unwrap();
    assert!(rig.session.resource(0).is_some(), "the guest may still return it");
    rig.batch.gone.clear();
    rig.batch.samples.remove(0);
    rig.batch.samples[0].resource = resource("c");
    assert_eq!(rig.send(), "-[]-[0] 0=c{\"name\":\"c\"}");
    assert_eq!(&*rig.session.resource(0).unwrap().id, "c");
}

#[test]
fn a_row_given_back_is_the_row_exact_value_and_all() {
    let mut rig = Rig::new(batch(), &[]);
    let echo = rig.echo();
    let rows: Vec<(u32, u32, f64)> = (0..)
        .zip(echo.meter.iter().zip(&echo.volume))
        .map(|(row, (meter, volume))| (row, *meter, *volume))
        .collect();
    for samples in [rig.replace(echo).unwrap(), rig.derive(&rows).unwrap()] {
        assert_eq!(ids(&samples), [1, 2, 3]);
        assert_eq!(samples[0].volume, Volume::Integer(LARGE));
        assert_eq!(samples[0].taken.monotonic, Some(8));
    }
}

#[test]
fn an_own_entry_with_the_content_of_the_hosts_is_the_hosts() {
    let mut rig = Rig::new(batch(), &[]);
    let mut answer = rig.echo();
    answer.meters = vec![new_meter(OWN, "cpu")];
    answer.meter[0] = OWN;
    let samples = rig.replace(answer).unwrap();
    assert_eq!(ids(&samples), [1, 2, 3]);
    assert!(Arc::ptr_eq(&samples[0].meter, &rig.batch.samples[0].meter));
    assert_eq!(ids(&rig.derive(&[(0, OWN, LARGE as f64)]).unwrap()), [1]);
}

#[test]
fn what_is_changed_is_made_and_stays_whole_where_it_was() {
    let mut rig = Rig::new(batch(), &[]);
    let mut answer = rig.echo();
    answer.volume = vec![8.0, 2.0, 0.5];
    let rows: Vec<_> = [(0, 0, 8.0), (1, 1, 2.0), (2, 0, 0.5)].to_vec();
    for samples in [rig.replace(answer).unwrap(), rig.derive(&rows).unwrap()] {
        assert_eq!(ids(&samples), [0, 0, 0]);
        assert_eq!(samples[0].volume, Volume::Integer(8));
        assert_eq!(samples[1].volume, Volume::Float(2.0));
        assert_eq!(samples[2].volume, Volume::Float(0.5));
        let taken = samples[0].taken;
        assert_eq!((taken.continuous, taken.monotonic), (Some(7), None));
        assert!(Arc::ptr_eq(&samples[0].resource, &rig.batch.samples[0].resource));
    }
}

// Renamed, a counter of 2^60 + 1 became 2^60.
#[test]
fn a_renamed_row_keeps_the_last_digits_and_exact_values_are_those_of_the_component() {
    let mut rig = Rig::new(batch(), &[]);
    let renamed = rig.derive(&[(0, 1, LARGE as f64)]).unwrap();
    assert_eq!((ids(&renamed), renamed[0].volume), (vec![0], Volume::Integer(LARGE)));
    let exact = |row: u32, value: i64| vec![types::ExactInteger { row, value }];
    let with = |exact| Derived { exact, ..derived(&[(0, 1, LARGE as f64)]) };
    let value = i64::try_from(LARGE).unwrap() + 2;
    let made = rig.transformed(Outcome::Derive(with(exact(0, value)))).unwrap();
    assert_eq!(made[0].volume, Volume::Integer(LARGE + 2));
    for (exact, words) in [
        (exact(0, 5), "5 is not"),
        (exact(1, value), "there is no such row"),
        ([exact(0, value), exact(0, value)].concat(), "there is no such row"),
    ] {
        let error = rig.transformed(Outcome::Derive(with(exact))).unwrap_err();
        assert!(error.contains(words) && error.contains("column exact"), "{error}");
    }
    let sent = rig.echo();
    assert_eq!(sent.origin.len(), 3);
    let picked = rig.session.pick(&rig.batch, &rig.filter).unwrap();
    let argument = rig.session.argument(&picked);
    assert_eq!((argument.exact.len(), argument.exact[0].value), (1, value - 2));
}

#[test]
fn a_row_given_back_twice_is_a_copy_the_second_time() {
    let mut rig = Rig::new(batch(), &[]);
    let mut answer = rig.echo();
    answer.origin[1] = 0;
    answer.meter[1] = 0;
    answer.volume[1] = answer.volume[0];
    assert_eq!(ids(&rig.replace(answer).unwrap()), [1, 0, 3]);
    assert_eq!(ids(&rig.derive(&[(2, 0, 4.0), (2, 0, 4.0)]).unwrap()), [3, 0]);
}

#[test]
fn every_fault_is_found_with_its_place() {
    type Spoil = fn(&mut Answer);
    let cases: [(Spoil, &str); 17] = [
        (|a| a.meter.truncate(1), "column meter has 1 rows"),
        (|a| a.volume.push(1.0), "column volume has 4 rows"),
        (|a| a.origin[1] = 3, "row 1, column origin: row 3 is out of range"),
        (|a| a.meter[2] = 2, "row 2, column meter: number 0x2 is unknown"),
        (|a| a.meter[2] = OWN, "row 2, column meter: number 0x80000000 is unknown"),
        (|a| a.resource[0] = 9, "row 0, column resource: number 0x9 is unknown"),
        (|a| a.resource[0] = u32::MAX, "row 0, column resource: number 0xffffffff is unknown"),
        (|a| a.volume[1] = f64::NAN, "row 1, column volume: NaN"),
        (|a| a.volume[1] = f64::NEG_INFINITY, "row 1, column volume: -inf"),
        (|a| a.time[0] = 315_532_799_999_999_999, "row 0, column time"),
        (|a| a.time[0] = TICK + DAY + 1, "row 0, column time"),
        (|a| a.time[0] = u64::MAX, "row 0, column time"),
        (|a| a.resources.push(new_resource(OWN, "r", "[]")), "new resource 0x80000000: metadata"),
        (|a| a.resources.push(new_resource(OWN, "r", "{")), "new resource 0x80000000: metadata"),
        (|a| a.resources.push(new_resource(OWN, "", "{}")), "new resource 0x80000000 has no id"),
        (|a| a.meters.push(new_meter(OWN, "")), "new meter 0x80000000 has no name"),
        (|a| a.meters.push(new_meter(OWN + 1, "m")), "number 0x80000001 leaves a gap"),
    ];
    for (spoil, words) in cases {
        let mut rig = Rig::new(batch(), &[]);
        let mut answer = rig.echo();
        spoil(&mut answer);
        let error = rig.replace(answer).unwrap_err();
        assert!(error.contains(words), "{error} should contain {words}");
    }
    let mut rig = Rig::new(batch(), &[]);
    let mut answer = rig.echo();
    answer.time[0] = TICK + DAY;
    assert!(rig.replace(answer).is_ok());
    for (rows, words) in [
        (&[(1, 0, 1.0), (0, 0, 1.0)][..], "row 1, column origin: 0 after 1: not ascending"),
        (&[(3, 0, 1.0)], "row 0, column origin: row 3 is out of range"),
        (&[(u32::MAX, 0, 1.0)], "is out of range"),
        (&[(0, 2, 1.0)], "row 0, column meter: number 0x2 is unknown"),
        (&[(0, 0, f64::INFINITY)], "row 0, column volume: inf"),
    ] {
        let error = rig.derive(rows).unwrap_err();
        assert!(error.contains(words), "{error} should contain {words}");
    }
    let mut uneven = derived(&[(0, 0, 1.0)]);
    uneven.meter.clear();
    let error = rig.transformed(Outcome::Derive(uneven)).unwrap_err();
    assert!(error.contains("column meter has 0 rows"), "{error}");
}

#[test]
fn own_entries_stay_and_can_be_replaced() {
    let mut rig = Rig::new(batch(), &[]);
    let with = |meters| Derived { meters, ..derived(&[(2, OWN, 1.0)]) };
    let name = |samples: &[Sample]| samples[0].meter.name.to_string();
    let first = rig.transformed(Outcome::Derive(with(vec![new_meter(OWN, "x")]))).unwrap();
    let later = rig.transformed(Outcome::Derive(with(Vec::new()))).unwrap();
    assert_eq!((name(&first), name(&later)), ("x".to_owned(), "x".to_owned()));
    let replaced = rig.transformed(Outcome::Derive(with(vec![new_meter(OWN, "y")]))).unwrap();
    assert_eq!((name(&replaced), name(&first)), ("y".to_owned(), "x".to_owned()));
    // In one answer, the last one stands.
    let twice = vec![new_meter(OWN, "v"), new_meter(OWN, "w")];
    assert_eq!(name(&rig.transformed(Outcome::Derive(with(twice))).unwrap()), "w");
    let hosts = vec![new_meter(0, "cpu")];
    assert!(rig.transformed(Outcome::Derive(with(hosts))).unwrap_err().contains("number 0x0"));
}

#[test]
fn keep_takes_ascending_rows_only() {
    let mut rig = Rig::new(batch(), &["cpu"]);
    let mut keep = |rows: &[u32]| rig.transformed(Outcome::Keep(rows.to_vec()));
    assert_eq!(ids(&keep(&[1]).unwrap()), [2, 3]);
    assert_eq!(ids(&keep(&[]).unwrap()), [2]);
    for (rows, words) in [(&[2][..], "out of range"), (&[1, 0], "ascend"), (&[0, 0], "ascend")] {
        assert!(keep(rows).unwrap_err().contains(words));
    }
    assert_eq!(ids(&rig.transformed(Outcome::Unchanged).unwrap()), [1, 2, 3]);
}

#[test]
fn rows_that_bypass_keep_their_place() {
    let mut rig = Rig::new(batch(), &["c?u"]);
    let answer = rig.echo();
    assert_eq!(answer.origin, [0, 1]);
    assert_eq!(ids(&rig.replace(answer).unwrap()), [1, 2, 3]);
    assert_eq!(ids(&rig.derive(&[(1, 0, 9.0)]).unwrap()), [2, 0]);
    assert_eq!(ids(&rig.derive(&[(0, 0, 9.0)]).unwrap()), [0, 2]);
    assert_eq!(ids(&rig.derive(&[]).unwrap()), [2]);
    let mut turned = rig.echo();
    turned.origin.reverse();
    turned.resource.reverse();
    turned.volume.reverse();
    assert_eq!(ids(&rig.replace(turned).unwrap()), [2, 3, 1]);
    let none = Answer {
        origin: vec![NO_ORIGIN],
        meter: vec![0],
        resource: vec![0],
        time: vec![TICK],
        volume: vec![1.0],
        ..rig.echo()
    };
    assert_eq!(ids(&rig.replace(none).unwrap()), [0, 2]);
}

/// An answer to a flush, of rows that all name the first own entries.
fn flush_of(
    rows: usize,
    meters: Vec<NumberedMeterResult>,
    resources: Vec<NumberedResourceResult>,
) -> Answer {
    Answer {
        meters,
        resources,
        origin: vec![NO_ORIGIN; rows],
        meter: vec![OWN; rows],
        resource: vec![OWN; rows],
        time: vec![TICK; rows],
        volume: vec![1.0; rows],
        exact: Vec::new(),
    }
}

fn flushed(answer: Answer) -> Result<Vec<Sample>, String> {
    let mut session = Session::new(Vec::new(), Numbering::Ascending);
    session.flushed(Some(answer), Timestamp::from_nanos(TICK))
}

#[test]
fn a_flush_has_the_dictionary_and_no_rows() {
    let mut rig = Rig::new(batch(), &[]);
    let now = Timestamp::from_nanos(TICK);
    assert!(rig.session.flushed(None, now).unwrap().is_empty());
    let own = || flush_of(1, vec![new_meter(OWN, "m")], vec![new_resource(OWN, "r", "{\"k\":1}")]);
    let samples = flushed(own()).unwrap();
    assert_eq!(samples[0].volume, Volume::Float(1.0));
    assert_eq!(&*samples[0].resource.source, "openstack");
    let with_origin = Answer { origin: vec![0], ..own() };
    assert!(flushed(with_origin).unwrap_err().contains("column origin"));
    let hosts = Answer { meter: vec![1], resource: vec![0], ..flush_of(1, Vec::new(), Vec::new()) };
    let samples = rig.session.flushed(Some(hosts), now).unwrap();
    assert_eq!((&*samples[0].meter.name, &*samples[0].resource.id), ("memory", "a"));
    let value = i64::try_from(LARGE).unwrap();
    let exact = vec![types::ExactInteger { row: 0, value }];
    let exact = Answer { volume: vec![LARGE as f64], exact, ..own() };
    assert_eq!(flushed(exact).unwrap()[0].volume, Volume::Integer(LARGE));
}

/// Columns that are nearly right: numbers around the valid ones, values at their edges.
fn any_answer() -> impl Strategy<Value = Answer> {
    let text = || prop::sample::select(vec!["", "cpu", "a", "{}", "{\"a\":1}", "[]", "\u{0}", "{"]);
    let kind = prop::sample::select(vec![
        types::MeterType::Gauge,
        types::MeterType::Delta,
        types::MeterType::Cumulative,
    ]);
    let own = || prop_oneof![OWN..OWN + 3, any::<u32>()];
    let meter = (own(), text(), text(), kind).prop_map(|(number, name, unit, type_)| {
        let entry = types::MeterResult { name: name.to_owned(), unit: unit.to_owned(), type_ };
        NumberedMeterResult { number, entry }
    });
    let resource = (own(), text(), text(), prop::option::of(text()), text()).prop_map(
        |(number, id, source, owner, metadata)| {
            let entry = types::ResourceResult {
                id: id.to_owned(),
                source: source.to_owned(),
                project_id: owner.map(str::to_owned),
                user_id: None,
                metadata: metadata.to_owned(),
            };
            NumberedResourceResult { number, entry }
        },
    );
    let number = || prop_oneof![0_u32..5, OWN..OWN + 3, Just(u32::MAX), any::<u32>()];
    let column = || prop::collection::vec(number(), 0..5);
    let time = prop_oneof![Just(TICK), Just(TICK + 1), Just(0), any::<u64>()];
    let volume = prop_oneof![Just(4.0), Just(LARGE as f64), any::<f64>()];
    let exact = (0_u32..4, prop_oneof![Just(4_i64), any::<i64>()])
        .prop_map(|(row, value)| types::ExactInteger { row, value });
    let few = 0..3;
    (
        prop::collection::vec(meter, few.clone()),
        prop::collection::vec(resource, few.clone()),
        column(),
        column(),
        column(),
        prop::collection::vec(time, 0..5),
        prop::collection::vec(volume, 0..5),
        prop::collection::vec(exact, few),
    )
        .prop_map(|(meters, resources, origin, meter, resource, time, volume, exact)| Answer {
            meters,
            resources,
            origin,
            meter,
            resource,
            time,
            volume,
            exact,
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
    fn any_answer_is_refused_or_gives_samples(
        answers in prop::collection::vec((any_answer(), any::<bool>(), any::<bool>()), 1..3),
    ) {
        let mut rig = Rig::new(batch(), &["cpu"]);
        for (answer, cut, derive) in answers {
            let answer = if cut { even(answer) } else { answer };
            let rows = answer.volume.len();
            let outcome = if derive {
                let Answer { meters, origin, meter, volume, exact, .. } = answer;
                Outcome::Derive(Derived { meters, origin, meter, volume, exact })
            } else {
                Outcome::Replace(answer)
            };
            // The instance ends with an answer that is refused.
            let Ok(samples) = rig.transformed(outcome) else { break };
            // The one that bypassed the component is there, too.
            prop_assert_eq!(samples.len(), rows + 1);
            prop_assert!(all_well(&samples));
        }
    }

    #[test]
    fn any_flush_is_refused_or_gives_samples(answer in any_answer()) {
        if let Ok(samples) = flushed(even(answer)) {
            prop_assert!(all_well(&samples));
        }
    }

    #[test]
    fn any_choice_of_rows_is_refused_or_a_part(rows in prop::collection::vec(0_u32..4, 0..5)) {
        let mut rig = Rig::new(batch(), &["cpu"]);
        if let Ok(samples) = rig.transformed(Outcome::Keep(rows.clone())) {
            prop_assert_eq!(samples.len(), rows.len() + 1);
        }
    }
}

/// A string in an object, so that the text has so many bytes.
fn object(length: usize) -> String {
    format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8))
}

fn numbered(count: usize) -> impl Iterator<Item = u32> {
    (OWN..).take(count)
}

#[test]
fn every_bound_of_an_answer_holds_at_the_limit() {
    let bounded = |bound: Bound, answer: &dyn Fn(usize) -> Result<Vec<Sample>, String>| {
        assert!(answer(bound.size()).is_ok(), "{bound:?}: {:?}", answer(bound.size()).err());
        let refusal = answer(bound.size() + 1).unwrap_err();
        assert!(refusal.contains(bound.row().name), "{refusal}");
    };
    let one = || vec![new_meter(OWN, "m")];
    let plain = || vec![new_resource(OWN, "r", "{}")];
    bounded(Bound::AnswerRows, &|count| {
        flushed(flush_of(count, one(), plain())).map(|_| Vec::new())
    });
    bounded(Bound::NewMeters, &|count| {
        let meters = numbered(count).map(|number| new_meter(number, "m")).collect();
        flushed(flush_of(1, meters, plain()))
    });
    bounded(Bound::NewResources, &|count| {
        let resources = numbered(count).map(|number| new_resource(number, "r", "{}")).collect();
        flushed(flush_of(1, one(), resources))
    });
    bounded(Bound::IdBytes, &|length| {
        flushed(flush_of(1, vec![new_meter(OWN, &"m".repeat(length))], plain()))
    });
    bounded(Bound::IdBytes, &|length| {
        flushed(flush_of(1, one(), vec![new_resource(OWN, &"r".repeat(length), "{}")]))
    });
    bounded(Bound::MetadataBytes, &|length| {
        flushed(flush_of(1, one(), vec![new_resource(OWN, "r", &object(length))]))
    });
    bounded(Bound::MetadataValues, &|count| {
        // In two resources: one alone may not have so many bytes.
        let half = count / 2;
        let resources = [(OWN, half), (OWN + 1, count - half)];
        let resources = resources.map(|(number, count)| new_resource(number, "r", &list(count)));
        flushed(flush_of(1, one(), resources.to_vec()))
    });
}

/// So many values: the object itself and the list, then a comma before each further number.
fn list(count: usize) -> String {
    format!("{{\"a\":[1{}]}}", ",1".repeat(count - 3))
}

#[test]
fn what_an_instance_has_numbered_is_bounded_over_all_of_its_answers() {
    let now = Timestamp::from_nanos(TICK);
    let none = || flush_of(0, Vec::new(), Vec::new());
    let refused = |session: &mut Session, answer: Answer, bound: Bound| {
        let refusal = session.flushed(Some(answer), now).unwrap_err();
        assert!(refusal.contains(bound.row().name), "{refusal}");
    };
    let mut session = Session::new(Vec::new(), Numbering::Ascending);
    let mut next = OWN;
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
    let next = OWN + u32::try_from(Bound::OwnResources.size()).unwrap();
    let one_more = Answer { resources: vec![new_resource(next, "r", "{}")], ..none() };
    refused(&mut session, one_more, Bound::OwnResources);

    // Each counts with its metadata, and 10 bytes of `r` and `openstack`.
    let mut session = Session::new(Vec::new(), Numbering::Ascending);
    let each = 1 << 18;
    let of = |number: u32, bytes: usize| Answer {
        resources: vec![new_resource(number, "r", &object(bytes - 10))],
        ..none()
    };
    let count = u32::try_from(Bound::OwnBytes.size() / each).unwrap();
    for number in 0..count {
        session.flushed(Some(of(OWN + number, each)), now).unwrap();
    }
    session.flushed(Some(of(OWN, each)), now).unwrap();
    refused(&mut session, of(OWN, each + 1), Bound::OwnBytes);

    let mut session = Session::new(Vec::new(), Numbering::Ascending);
    let each = 100_000;
    let of = |number: u32, values: usize| Answer {
        resources: vec![new_resource(number, "r", &list(values))],
        ..none()
    };
    let count = u32::try_from(Bound::OwnValues.size() / each).unwrap();
    for number in 0..count {
        session.flushed(Some(of(OWN + number, each)), now).unwrap();
    }
    refused(&mut session, of(OWN + count, 3), Bound::OwnValues);
}

// A component of 9 KB named one resource of 200 KB in 20,000 rows: 4 GB.
#[test]
fn what_rows_represent_is_bounded() {
    let large = |rows: usize, bytes: usize| {
        let resources = vec![new_resource(OWN, "r", &object(bytes))];
        flushed(flush_of(rows, vec![new_meter(OWN, "m")], resources))
    };
    assert!(large(200, 200_000).is_ok());
    let refusal = large(20_000, 200_000).unwrap_err();
    assert!(refusal.contains(Bound::AnswerBytes.row().name), "{refusal}");
    // A row counts with 256 bytes, its meter's name and unit, and 10 bytes of `r` and `openstack`.
    let rows = 1_024;
    let each = Bound::AnswerBytes.size() / rows - 256 - 3 - 10;
    assert!(large(rows, each).is_ok(), "{:?}", large(rows, each).err());
    assert!(large(rows, each + 1).is_err());
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
    let mut rig = Rig::new(batch, &[]);
    // They represent 300 MB, and did before.
    let echo = rig.echo();
    assert_eq!(rig.replace(echo).unwrap().len(), 300);
    let all: Vec<(u32, u32, f64)> = (0..300).map(|row| (row, 0, 2.0)).collect();
    assert_eq!(rig.derive(&all).unwrap().len(), 300);
    let mut doubled = rig.echo();
    for column in [&mut doubled.origin, &mut doubled.meter, &mut doubled.resource] {
        column.extend_from_within(..);
    }
    doubled.time.extend_from_within(..);
    doubled.volume.extend_from_within(..);
    assert!(rig.replace(doubled).unwrap_err().contains("answer_bytes"));
    let doubled: Vec<(u32, u32, f64)> = (0..600).map(|row| (row / 2, 0, 2.0)).collect();
    assert!(rig.derive(&doubled).unwrap_err().contains("answer_bytes"));
}
