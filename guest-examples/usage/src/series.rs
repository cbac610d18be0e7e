//! One counter of one resource: its samples of the last hours, and what its windows have so far.
//!
//! Every pair of neighbouring samples contributes to windows. A late sample takes the contribution of
//! its neighbours back and makes two, so that the result does not depend on the order of arrival.
//! What is contributed to a closed window becomes a correction of it.
//!
//! Everything here is saved state: the order of fields must not change.

use std::collections::BTreeMap;

use nephometer_guest::Timestamp;
use serde::{Deserialize, Serialize};

use crate::options::Policies;
use crate::segment::{Reading, Share, divide};
use crate::window::Window;

/// After this time without a sample a counter is forgotten, in nanoseconds: 400 days.
const FORGOTTEN: Timestamp = 400 * 86_400 * 1_000_000_000;

/// What a window has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WindowSum {
    pub(crate) end: Timestamp,
    pub(crate) share: Share,
    /// Samples in it.
    pub(crate) samples: i32,
    /// The times of the first and the last sample; 0 without any.
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

/// A counter of a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CounterSeries {
    /// By time. The first one is older than what may be late, if there are older ones at all.
    readings: Vec<Reading>,
    /// Samples before this time are too late: older ones were forgotten, or were of an earlier life.
    since: Timestamp,
    /// By start: windows that are open, and corrections of closed ones.
    open: BTreeMap<Timestamp, WindowSum>,
    corrections: BTreeMap<Timestamp, WindowSum>,
    /// Windows that end here or before are closed.
    closed: Timestamp,
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Counted,
    /// The same sample again.
    Repeated,
    TooLate,
}

impl CounterSeries {
    /// A series that begins when windows up to `closed` are closed.
    pub(crate) fn new(closed: Timestamp) -> Self {
        Self { closed, ..Self::default() }
    }

    /// Adds a sample.
    pub(crate) fn add(&mut self, reading: Reading, policies: &Policies) -> Taken {
        if self.readings.contains(&reading) {
            return Taken::Repeated;
        }
        let at = self.readings.partition_point(|one| one.time <= reading.time);
        if at == 0 && reading.time < self.since {
            return Taken::TooLate;
        }
        let before = at.checked_sub(1).map(|before| self.readings[before]);
        let after = self.readings.get(at).copied();
        if let (Some(before), Some(after)) = (before, after) {
            self.contribute(before, after, -1, policies);
        }
        if let Some(before) = before {
            self.contribute(before, reading, 1, policies);
        }
        if let Some(after) = after {
            self.contribute(reading, after, 1, policies);
        }
        self.readings.insert(at, reading);
        let sum = self.sum(policies.calendar.window(reading.time));
        sum.samples += 1;
        sum.first = if sum.first == 0 { reading.time } else { sum.first.min(reading.time) };
        sum.last = sum.last.max(reading.time);
        Taken::Counted
    }

    /// Ends the life of the counter: the next sample begins another one.
    pub(crate) fn end(&mut self) {
        if let Some(last) = self.readings.last() {
            self.since = last.time + 1;
        }
        self.readings.clear();
    }

    fn contribute(&mut self, from: Reading, to: Reading, sign: i8, policies: &Policies) {
        // A counter that comes back after more than a year: its growth is nobody's bill.
        if to.time - from.time > FORGOTTEN {
            return;
        }
        for (window, share) in divide(from, to, policies) {
            if !share.is_empty() {
                self.sum(window).share.add(share, sign);
            }
        }
    }

    fn sum(&mut self, window: Window) -> &mut WindowSum {
        let windows =
            if window.end <= self.closed { &mut self.corrections } else { &mut self.open };
        windows.entry(window.start).or_insert(WindowSum { end: window.end, ..WindowSum::default() })
    }

    /// Closes windows. Returns those that are closed now, and the corrections of earlier ones, each
    /// with its start.
    pub(crate) fn close(&mut self, now: Timestamp, policies: &Policies) -> ClosedWindows {
        let until = now.saturating_sub(policies.grace);
        let corrections = std::mem::take(&mut self.corrections);
        let corrections = corrections.into_iter().filter(|(_, sum)| !sum.share.is_empty());
        let mut closed = Vec::new();
        // Windows end in the order in which they start.
        while let Some(first) = self.open.first_entry().filter(|first| first.get().end <= until) {
            closed.push(first.remove_entry());
        }
        self.closed = self.closed.max(until);
        self.trim(now, policies);
        ClosedWindows { closed, corrections: corrections.collect() }
    }

    /// Forgets samples that no late one can follow any more.
    fn trim(&mut self, now: Timestamp, policies: &Policies) {
        let horizon = now.saturating_sub(policies.late);
        let old = self.readings.partition_point(|one| one.time <= horizon);
        if old > 1 {
            self.readings.drain(..old - 1);
            self.since = self.readings[0].time;
        }
    }

    /// Whether nothing is left to report.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        let is_silent =
            self.readings.last().is_none_or(|last| last.time < now.saturating_sub(FORGOTTEN));
        is_silent && self.open.is_empty() && self.corrections.is_empty()
    }
}

/// What is to be reported, by the start of windows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClosedWindows {
    pub(crate) closed: Vec<(Timestamp, WindowSum)>,
    pub(crate) corrections: Vec<(Timestamp, WindowSum)>,
}
