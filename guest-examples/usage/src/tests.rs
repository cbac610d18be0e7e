//! Random streams against a model that knows all samples at once and divides nothing step by step.

use std::collections::BTreeMap;

use nephometer_guest::Timestamp;

use crate::options::{GapPolicy, Policies};
use crate::segment::{Reading, Share, growth};
use crate::series::{CounterSeries, Taken};
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
        late: 20_000 * SECOND,
        gap: 900 * SECOND,
        gaps: gaps[pick(random)],
    }
}

/// Samples of a counter that is reset now and then, some of them far apart.
fn stream(random: &mut Random) -> Vec<Reading> {
    let (mut time, mut value) = (BEGIN + random.next(86_400 * SECOND), 0_i64);
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

/// What a window should have: for each pair of samples the growth up to its end less that up to its
/// start.
fn expected(readings: &[Reading], policies: &Policies) -> BTreeMap<Timestamp, Share> {
    let mut windows: BTreeMap<Timestamp, Share> = BTreeMap::new();
    let (first, last) = (readings[0].time, readings[readings.len() - 1].time);
    let mut start = policies.calendar.window(first).start;
    while start <= last {
        let end = policies.calendar.window(start).end;
        let share = windows.entry(start).or_default();
        for pair in readings.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let length = i128::from(to.time - from.time);
            let is_gap = to.time - from.time > policies.gap;
            let held = is_gap && policies.gaps == GapPolicy::Hold;
            let up_to = |time: Timestamp| {
                let passed = i128::from(time.clamp(from.time, to.time) - from.time);
                match passed == length {
                    true => growth(from, to),
                    false if held => 0,
                    false => growth(from, to) * passed / length,
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
    let mut series = CounterSeries::default();
    let mut sums: BTreeMap<Timestamp, Share> = BTreeMap::new();
    let mut corrections = 0;
    let mut flush = |series: &mut CounterSeries, now: Timestamp| {
        let found = series.close(now, policies);
        corrections += found.corrections.len();
        for (start, sum) in found.closed.into_iter().chain(found.corrections) {
            assert!(sum.end <= now, "a window was closed before its end");
            sums.entry(start).or_default().add(sum.share, 1);
        }
    };
    for (arrival, reading) in arrivals {
        assert_eq!(series.add(reading, policies), Taken::Counted);
        assert_eq!(series.add(reading, policies), Taken::Repeated);
        if random.next(3) == 0 {
            flush(&mut series, arrival);
            let saved = conversion::buffer::save(&series).unwrap();
            series = conversion::buffer::parse(&saved).unwrap();
        }
    }
    let end = readings[readings.len() - 1].time + 40 * 86_400 * SECOND;
    flush(&mut series, end);
    sums.retain(|_, share| !share.is_empty());
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
        let grown: i128 = readings.windows(2).map(|pair| growth(pair[0], pair[1])).sum();
        assert_eq!(total, grown, "seed {seed}");
    }
    assert!(all_corrections > 400, "{all_corrections}");
}

#[test]
fn samples_beyond_the_horizon_are_refused() {
    let mut random = Random(7);
    let policies = policies(&mut random);
    let mut series = CounterSeries::default();
    let reading = |seconds: u64, value| Reading { time: BEGIN + seconds * SECOND, value };
    for at in 0..100 {
        assert_eq!(series.add(reading(at * 600, 5), &policies), Taken::Counted);
    }
    series.close(BEGIN + 60_000 * SECOND, &policies);
    assert_eq!(series.add(reading(30_000, 6), &policies), Taken::TooLate);
    assert_eq!(series.add(reading(50_001, 5), &policies), Taken::Counted);
    // Another life of the resource begins with its own first sample.
    series.end();
    assert_eq!(series.add(reading(61_000, 1_000), &policies), Taken::Counted);
    let closed = series.close(BEGIN + 60 * 86_400 * SECOND, &policies);
    let sum = |share: Share| share.amount + share.excluded;
    let total: i128 =
        closed.closed.iter().chain(&closed.corrections).map(|(_, one)| sum(one.share)).sum();
    assert_eq!(total, 0);
}
