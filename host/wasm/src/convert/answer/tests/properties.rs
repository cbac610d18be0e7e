//! Arbitrary answers: each is refused or gives valid samples.

use proptest::prelude::*;

use super::super::*;
use super::fixture::*;
use crate::bindings::exports::nephometer::metering::dictionary::{
    NumberedMeterResult, NumberedResourceResult,
};
use crate::bindings::nephometer::metering::types;
use crate::convert::own::FIRST_OWN;

/// Columns that are almost valid: numbers around the valid ones, values at their limits.
fn any_answer() -> impl Strategy<Value = Answer> {
    let text = || prop::sample::select(vec!["", "cpu", "a", "{}", "{\"a\":1}", "[]", "\u{0}", "{"]);
    let kind = prop::sample::select(vec![
        types::MeterType::Gauge,
        types::MeterType::Delta,
        types::MeterType::Cumulative,
    ]);
    let own = || prop_oneof![FIRST_OWN..FIRST_OWN + 3, any::<u32>()];
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
    let number = || prop_oneof![0_u32..5, FIRST_OWN..FIRST_OWN + 3, Just(u32::MAX), any::<u32>()];
    let column = || prop::collection::vec(number(), 0..5);
    let time = prop_oneof![Just(NOW), Just(NOW + 1), Just(0), any::<u64>()];
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

/// Truncates all columns to one length, which passes the first check.
fn truncate(mut answer: Answer) -> Answer {
    let rows = answer.volume.len().min(answer.time.len()).min(answer.origin.len());
    let rows = rows.min(answer.meter.len()).min(answer.resource.len());
    answer.origin.truncate(rows);
    answer.meter.truncate(rows);
    answer.resource.truncate(rows);
    answer.time.truncate(rows);
    answer.volume.truncate(rows);
    answer
}

fn all_valid(samples: &[Sample]) -> bool {
    let latest = Timestamp::from_nanos(NOW + 2 * 86_400_000_000_000);
    samples.iter().all(|sample| sample.volume.as_f64().is_finite() && sample.taken.wall <= latest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_answer_is_refused_or_yields_valid_samples(
        answers in prop::collection::vec((any_answer(), any::<bool>(), any::<bool>()), 1..3),
    ) {
        let mut fixture = Fixture::new(batch(), &["cpu"]);
        for (answer, equal, derive) in answers {
            let answer = if equal { truncate(answer) } else { answer };
            let rows = answer.volume.len();
            let outcome = if derive {
                let Answer { meters, origin, meter, volume, exact, .. } = answer;
                Outcome::Derive(Derived { meters, origin, meter, volume, exact })
            } else {
                Outcome::Replace(answer)
            };
            // A refused answer ends the instance.
            let Ok(samples) = fixture.transformed(outcome) else { break };
            // Plus the sample that bypassed the component.
            prop_assert_eq!(samples.len(), rows + 1);
            prop_assert!(all_valid(&samples));
        }
    }

    #[test]
    fn any_flush_is_refused_or_yields_valid_samples(answer in any_answer()) {
        if let Ok(samples) = flushed(truncate(answer)) {
            prop_assert!(all_valid(&samples));
        }
    }

    #[test]
    fn any_keep_is_refused_or_yields_its_rows(rows in prop::collection::vec(0_u32..4, 0..5)) {
        let mut fixture = Fixture::new(batch(), &["cpu"]);
        if let Ok(samples) = fixture.transformed(Outcome::Keep(rows.clone())) {
            prop_assert_eq!(samples.len(), rows.len() + 1);
        }
    }
}
