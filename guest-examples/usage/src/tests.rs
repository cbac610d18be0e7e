//! Random streams against a model that knows all samples at once and divides nothing step by step.

use std::collections::{BTreeMap, BTreeSet};

use nephometer_guest::Timestamp;

use crate::options::{GapPolicy, Policies};
use crate::segment::{Reading, Share};
use crate::series::{ClosedWindow, CounterSeries, Taken};
use crate::window::{Calendar, WindowKind};

const SECOND: Timestamp = 1_000_000_000;
/// 2026-03-28T00:00:00Z: clocks change in Europe the day after.
const BEGIN: Timestamp = 1_774_656_000 * SECOND;

/// A small generator: the same seed gives the same stream.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

fn policies(random: &mut Random) -> Policies {
    let kinds = [WindowKind::Hour, WindowKind::Day, WindowKind::Month];
    let zones = ["UTC", "Europe/Berlin", "Asia/Kolkata"];
    let gaps = [GapPolicy::Interpolate, GapPolicy::Hold, GapPolicy::Exclude];
    let pick = |random: &mut Random| usize::try_from(random.next(3)).unwrap();
    let zone = zones[pick(random)];
    Policies {
        calendar: Calendar::new(kinds[pick(random)], zone).unwrap(),
        zone: zone.to_owned(),
        grace: random.next(3) * 1_800 * SECOND,
        late: 60_000 * SECOND,
        gap: 900 * SECOND,
        gaps: gaps[pick(random)],
        includes_initial: random.next(2) == 0,
    }
}

/// Samples of a counter that is reset now and then, some of them far apart.
fn stream(random: &mut Random) -> Vec<Reading> {
    let mut time = BEGIN + random.next(86_400 * SECOND);
    let mut value = i64::try_from(random.next(1_000_000)).unwrap();
    let count = 40 + random.next(200);
    let mut readings = Vec::new();
    for _ in 0..count {
        readings.push(Reading { time, value });
        let step = if random.next(20) == 0 { 40_000 } else { 600 };
        time += (1 + random.next(step)) * SECOND + random.next(SECOND);
        // Up to what nanoseconds of many processors reach.
        value = match random.next(25) {
            0 => i64::try_from(random.next(1_000)).unwrap(),
            _ => value + i64::try_from(random.next(1 << 40)).unwrap(),
        };
    }
    readings
}

/// What the counter grew by: all of it where it began again.
fn grown(from: Reading, to: Reading) -> i128 {
    i128::from(if to.value < from.value { to.value } else { to.value - from.value })
}

/// What a window should have: for each pair of samples the growth up to its end less that up to its
/// start.
fn expected(readings: &[Reading], policies: &Policies) -> BTreeMap<Timestamp, Share> {
    let mut windows: BTreeMap<Timestamp, Share> = BTreeMap::new();
    let (first, last) = (readings[0].time, readings[readings.len() - 1].time);
    let mut start = policies.calendar.window(first).start;
    while start <= last {
        let end = policies.calendar.window(start).end;
        let share = windows.entry(start).or_default();
        if start <= first && first < end {
            share.begun = 1;
            share.amount = if policies.includes_initial { readings[0].value.into() } else { 0 };
        }
        for pair in readings.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let length = i128::from(to.time - from.time);
            let is_gap = to.time - from.time > policies.gap;
            let held = is_gap && policies.gaps == GapPolicy::Hold;
            let up_to = |time: Timestamp| {
                let passed = i128::from(time.clamp(from.time, to.time) - from.time);
                match passed == length {
                    true => grown(from, to),
                    false if held => 0,
                    false => grown(from, to) * passed / length,
                }
            };
            let part = up_to(end) - up_to(start);
            let overlap = end.clamp(from.time, to.time) - start.clamp(from.time, to.time);
            if is_gap && policies.gaps == GapPolicy::Exclude {
                share.excluded += part;
            } else {
                share.amount += part;
            }
            share.gap += if is_gap { i64::try_from(overlap).unwrap() } else { 0 };
            let is_there = start < to.time && to.time <= end;
            share.resets += i32::from(is_there && to.value < from.value);
        }
        start = end;
    }
    windows.retain(|_, share| !share.is_empty());
    windows
}

/// Feeds samples that are out of order by up to a few hours, with flushes and saves in between.
fn reported(
    readings: &[Reading],
    policies: &Policies,
    random: &mut Random,
) -> (BTreeMap<Timestamp, Share>, usize) {
    let mut arrivals: Vec<(Timestamp, Reading)> = readings
        .iter()
        .map(|reading| {
            let delay = if random.next(10) == 0 { random.next(15_000) * SECOND } else { 0 };
            (reading.time + delay, *reading)
        })
        .collect();
    arrivals.sort_by_key(|(arrival, _)| *arrival);
    let mut series = CounterSeries::new(0, 0, policies.includes_initial);
    let mut sums: BTreeMap<Timestamp, Share> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut flush = |series: &mut CounterSeries, now: Timestamp, mut most: u64| {
        while most > 0
            && let Some(ClosedWindow { start, sum, correction }) = series.close_next(now, policies)
        {
            assert!(sum.end <= now, "a window was closed before its end");
            assert!(seen.insert((start, correction)), "two samples have one id");
            assert!(correction > 0 || !seen.contains(&(start, 1)), "the correction comes first");
            sums.entry(start).or_default().add(sum.share, 1);
            most -= 1;
        }
        series.trim(now, usize::MAX, policies);
    };
    for (arrival, reading) in arrivals {
        assert_eq!(series.add(reading, policies), Taken::Counted);
        assert_eq!(series.add(reading, policies), Taken::Repeated);
        if random.next(3) == 0 {
            // Now and then there is room for a few only.
            let most = if random.next(2) == 0 { random.next(3) } else { u64::MAX };
            flush(&mut series, arrival, most);
            let saved = conversion::buffer::save(&series).unwrap();
            series = conversion::buffer::parse(&saved).unwrap();
        }
    }
    let end = readings[readings.len() - 1].time + 40 * 86_400 * SECOND;
    flush(&mut series, end, u64::MAX);
    sums.retain(|_, share| !share.is_empty());
    let corrections = seen.iter().filter(|(_, correction)| *correction > 0).count();
    (sums, corrections)
}

#[test]
fn windows_with_corrections_equal_the_model_and_add_up_to_the_growth() {
    let mut all_corrections = 0;
    for seed in 1..=400_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let policies = policies(&mut random);
        let readings = stream(&mut random);
        let (found, corrections) = reported(&readings, &policies, &mut random);
        all_corrections += corrections;
        assert_eq!(found, expected(&readings, &policies), "seed {seed}: {policies:?}");
        let total: i128 = found.values().map(|share| share.amount + share.excluded).sum();
        let growth: i128 = readings.windows(2).map(|pair| grown(pair[0], pair[1])).sum();
        let initial = if policies.includes_initial { readings[0].value } else { 0 };
        assert_eq!(total, growth + i128::from(initial), "seed {seed}");
    }
    assert!(all_corrections > 400, "{all_corrections}");
}

/// All windows of a series.
fn drained(mut series: CounterSeries, policies: &Policies) -> Vec<ClosedWindow> {
    let end = BEGIN + 4_000 * 86_400 * SECOND;
    std::iter::from_fn(|| series.close_next(end, policies)).collect()
}

fn hourly(gaps: GapPolicy) -> Policies {
    Policies {
        calendar: Calendar::new(WindowKind::Hour, "UTC").unwrap(),
        zone: "UTC".to_owned(),
        grace: 0,
        late: 7_200 * SECOND,
        gap: 900 * SECOND,
        gaps,
        includes_initial: false,
    }
}

fn reading(seconds: u64, value: i64) -> Reading {
    Reading { time: BEGIN + seconds * SECOND, value }
}

#[test]
fn samples_beyond_the_horizon_are_refused() {
    let policies = hourly(GapPolicy::Interpolate);
    let mut series = CounterSeries::new(0, 0, false);
    for at in 0..100 {
        assert_eq!(series.add(reading(at * 600, 5), &policies), Taken::Counted);
    }
    assert!(!series.trim(BEGIN + 60_000 * SECOND, usize::MAX, &policies));
    assert_eq!(series.add(reading(30_000, 6), &policies), Taken::TooLate);
    assert_eq!(series.add(reading(55_001, 5), &policies), Taken::Counted);
    // Another life of the resource begins with its own first sample.
    series.end(&policies);
    assert_eq!(series.add(reading(59_399, 7), &policies), Taken::TooLate);
    assert_eq!(series.add(reading(61_000, 1_000), &policies), Taken::Counted);
    let (mut begun, mut ended) = (0, 0);
    for window in drained(series, &policies) {
        let share = window.sum.share;
        assert_eq!(share.amount + share.excluded, 0, "{window:?}");
        (begun, ended) = (begun + share.begun, ended + share.ended);
    }
    assert_eq!((begun, ended), (2, 1));
}

#[test]
fn of_two_samples_of_one_time_the_higher_counts_in_either_order() {
    let policies = hourly(GapPolicy::Interpolate);
    let sums = |order: [i64; 2]| {
        let mut series = CounterSeries::new(0, 0, false);
        let taken = [(0, 10), (300, order[0]), (300, order[1]), (600, 100)];
        for (at, value) in taken {
            series.add(reading(at, value), &policies);
        }
        drained(series, &policies)
    };
    assert_eq!(sums([40, 70]), sums([70, 40]));
    let [window] = sums([40, 70])[..] else { panic!("one window") };
    assert_eq!((window.sum.share.amount, window.sum.share.resets, window.sum.samples), (90, 0, 3));
}

#[test]
fn a_gap_over_very_many_windows_counts_where_it_ends() {
    for gaps in [GapPolicy::Interpolate, GapPolicy::Hold, GapPolicy::Exclude] {
        let policies = hourly(gaps);
        let mut series = CounterSeries::new(0, 0, false);
        let hours = 1_002;
        for one in [reading(0, 10), reading(hours * 3_600 + 1, 70)] {
            assert_eq!(series.add(one, &policies), Taken::Counted);
        }
        let windows = drained(series, &policies);
        let [first, last] = windows[..] else { panic!("{windows:?}") };
        assert_eq!((first.sum.share.begun, first.sum.samples), (1, 1));
        let Share { amount, excluded, gap, .. } = last.sum.share;
        assert_eq!(amount + excluded, 60);
        assert_eq!(excluded > 0, gaps == GapPolicy::Exclude);
        assert_eq!(u64::try_from(gap).unwrap(), (hours * 3_600 + 1) * SECOND);
    }
}

#[test]
fn with_too_many_samples_the_oldest_are_final() {
    let policies = hourly(GapPolicy::Interpolate);
    let mut series = CounterSeries::new(0, 0, false);
    for at in 0..10_i64 {
        series.add(reading(u64::try_from(at).unwrap() * 60, at), &policies);
    }
    assert!(series.trim(BEGIN, 4, &policies), "all of them were needed");
    assert_eq!(series.add(reading(90, 2), &policies), Taken::TooLate);
    assert_eq!(series.add(reading(390, 6), &policies), Taken::Counted);
    let amounts: Vec<i128> =
        drained(series, &policies).iter().map(|one| one.sum.share.amount).collect();
    assert_eq!(amounts, [9]);
}
