//! What a guard finds beyond its bounds, and what has to be corrected then.

use super::*;
use nephometer_model::{Meter, MeterType, Moment, Resource};

const SECOND: u64 = 1_000_000_000;

fn plan(bounds: GuardSpec) -> GuardPlan {
    let sources = vec![("s".into(), Duration::from_secs(1))];
    GuardPlan { bounds, sources, components: "price".to_owned() }
}

fn sample(meter: &str, resource: &str, second: u64, volume: i128) -> Sample {
    let resource = Resource { id: resource.into(), ..Resource::default() };
    let wall = Timestamp::from_nanos(second * SECOND);
    Sample {
        id: Uuid::from_u128(u128::from(second)),
        meter: Arc::new(Meter::new(meter, MeterType::Gauge, "u")),
        resource: Arc::new(resource),
        volume: Volume::Integer(volume),
        taken: Moment { wall, ..Moment::default() },
    }
}

/// Compares the cycle of this second.
fn cycle(report: &GuardReport, second: u64, published: &[Sample], expected: &[Sample]) {
    let wall = Timestamp::from_nanos(second * SECOND);
    let cycle_start = Moment { wall, ..Moment::default() };
    let samples = expected.to_vec();
    let input = Batch { source: "s".into(), cycle_start, samples, removed: Vec::new() };
    let cpu = (second * 1_000_000_000, second * 1_000_000);
    report.compare(&input, published, expected, cpu);
}

/// What a new revision publishes in a second.
type Published = fn(u64) -> Vec<Sample>;

fn guard() -> GuardSpec {
    GuardSpec { cycles: 4, ..GuardSpec::default() }
}

#[tokio::test(start_paused = true)]
async fn equal_output_passes_after_its_cycles() {
    let bounds = GuardSpec { cost: 1_000_000, ..guard() };
    let report = GuardReport::new(plan(bounds));
    for second in 1..=4 {
        assert_eq!(report.state(), GuardState::Comparing, "{second}");
        let one = [sample("m", "r", second, 5)];
        cycle(&report, second, &one, &one);
    }
    assert_eq!(report.state(), GuardState::Passed);
    assert_eq!(report.progress().cycles, 4);
    // Later batches are no part of it.
    cycle(&report, 5, &[], &[sample("m", "r", 5, 5)]);
    assert_eq!(report.progress().absent, 0);
}

#[tokio::test(start_paused = true)]
async fn each_bound_has_its_reason_and_is_judged_from_the_third_cycle_on() {
    let one = |second, volume| sample("m", "r", second, volume);
    let two = |second| [one(second, 5), sample("m", "other", second, 5)];
    let cases: [(&str, GuardSpec, Published); 4] = [
        ("(guard.sums)", guard(), |second| {
            vec![sample("m", "r", second, 5), sample("m", "other", second, 7)]
        }),
        ("(guard.samples)", guard(), |second| vec![sample("m", "r", second, 10)]),
        (
            "1 series are absent, such as m of other: more than 0 (guard.absent)",
            GuardSpec { samples: 100, ..guard() },
            |second| vec![sample("m", "r", second, 10)],
        ),
        ("(guard.cost)", guard(), |second| {
            vec![sample("m", "r", second, 5), sample("m", "other", second, 5)]
        }),
    ];
    for (reason, bounds, published) in cases {
        let report = GuardReport::new(plan(bounds));
        for second in 1..=2 {
            cycle(&report, second, &published(second), &two(second));
            assert_eq!(report.state(), GuardState::Comparing, "{reason}");
        }
        for second in 3..=4 {
            cycle(&report, second, &published(second), &two(second));
        }
        let GuardState::Exceeded(found) = report.state() else { panic!("{reason}") };
        assert!(found.ends_with(reason), "{found}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_correction_lists_what_was_published_also_after_the_bound() {
    let report = GuardReport::new(plan(guard()));
    for second in 1..=5 {
        let published = [sample("m", "r", second, 9), sample("n", "r", second, 1)];
        cycle(&report, second, &published, &[sample("m", "r", second, 5)]);
    }
    report.uncompared(3);
    report.rolled_back("too much");
    let next = GuardReport::new(plan(guard()));
    next.follow(&report);
    let both = next.corrections();
    let [first, second] = &both[..] else { panic!("{both:?}") };
    assert!(second.series.is_empty() && second.samples.is_empty());
    assert_eq!((first.uncompared, first.samples.len()), (3, 10));
    let [((meter, _), sums), ((extra, _), more)] = &first.series[..] else { panic!("{first:?}") };
    assert_eq!((&**meter, &**extra), ("m", "n"));
    let volumes = (sums.published_sum.volume(), sums.expected_sum.volume());
    assert_eq!(volumes, (Volume::Integer(45), Volume::Integer(25)));
    assert_eq!((sums.published, sums.expected, sums.differing), (5, 5, 5));
    assert_eq!((more.published, more.expected), (5, 0));
    let span = sums.span.map(|(first, last)| (first.as_nanos(), last.as_nanos()));
    assert_eq!(span, Some((SECOND, 5 * SECOND)));
    let first = &first.samples[0];
    assert_eq!((first.what, first.expected), ("volume", Some(Volume::Integer(5))));
    assert_eq!(first.published, Some((Uuid::from_u128(1), Volume::Integer(9))));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_gone_does_not_hold_the_guard_for_ever() {
    let mut plan = plan(guard());
    plan.sources.push(("gone".into(), Duration::from_secs(10)));
    let report = GuardReport::new(plan);
    let one = |second| [sample("m", "r", second, 5)];
    cycle(&report, 1, &one(1), &one(1));
    cycle(&report, 9, &one(9), &one(9));
    assert_eq!(report.state(), GuardState::Comparing);
    tokio::time::advance(Duration::from_secs(81)).await;
    // The costs are a thousand times as much.
    cycle(&report, 82, &one(82), &one(82));
    assert!(matches!(report.state(), GuardState::Exceeded(_)), "{:?}", report.state());
}
