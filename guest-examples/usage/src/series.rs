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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CounterSeries {
    /// By time. The first one is older than what may be late, if there are older ones at all.
    readings: Vec<Reading>,
    /// Whether the first one is the first of its life.
    is_whole: bool,
    /// Whether this life began at 0 and not at its first sample.
    from_zero: bool,
    /// Samples before this time are too late: older ones were forgotten, or were of an earlier life.
    since: Timestamp,
    /// By start: windows that are open, and corrections of closed ones.
    open: BTreeMap<Timestamp, WindowSum>,
    corrections: BTreeMap<Timestamp, WindowSum>,
    /// How many corrections the windows have had that can get more.
    corrected: BTreeMap<Timestamp, u32>,
    /// Windows that end here or before are closed.
    closed: Timestamp,
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Counted,
    /// There is a sample of that time.
    Repeated,
    TooLate,
}

/// A window to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClosedWindow {
    pub(crate) start: Timestamp,
    pub(crate) sum: WindowSum,
    /// 0 for the window itself, otherwise the number of the correction, from 1.
    pub(crate) correction: u32,
}

impl CounterSeries {
    /// A series that begins when windows up to `closed` are closed, and samples before `since` are
    /// too late.
    pub(crate) fn new(closed: Timestamp, since: Timestamp, from_zero: bool) -> Self {
        Self {
            readings: Vec::new(),
            is_whole: true,
            from_zero,
            since,
            open: BTreeMap::new(),
            corrections: BTreeMap::new(),
            corrected: BTreeMap::new(),
            closed,
        }
    }

    /// Adds a sample. Of two samples of one time the higher one counts.
    pub(crate) fn add(&mut self, reading: Reading, policies: &Policies) -> Taken {
        let at = self.readings.partition_point(|one| one.time < reading.time);
        match self.readings.get(at).copied().filter(|one| one.time == reading.time) {
            Some(same) if same.value >= reading.value => return Taken::Repeated,
            Some(same) => {
                self.readings.remove(at);
                self.contribute_between(at, same, -1, policies);
            }
            None if at == 0 && reading.time < self.since => return Taken::TooLate,
            None => {
                let sum = self.sum(policies.calendar.window(reading.time));
                sum.samples += 1;
                sum.first = if sum.first == 0 { reading.time } else { sum.first.min(reading.time) };
                sum.last = sum.last.max(reading.time);
            }
        }
        self.contribute_between(at, reading, 1, policies);
        self.readings.insert(at, reading);
        Taken::Counted
    }

    /// Ends the life of the counter: the next sample begins another one.
    pub(crate) fn end(&mut self, policies: &Policies) {
        if let Some(last) = self.readings.last() {
            let time = last.time;
            self.since = time + 1;
            let ended = Share { ended: 1, ..Share::default() };
            self.sum(policies.calendar.window(time)).share.add(ended, 1);
        }
        self.readings.clear();
        (self.is_whole, self.from_zero) = (true, policies.includes_initial);
    }

    /// What changes when a sample comes between two neighbours, the second of which is at `at`, or
    /// with the opposite sign when it goes.
    fn contribute_between(&mut self, at: usize, one: Reading, sign: i8, policies: &Policies) {
        let before = at.checked_sub(1).map(|before| self.readings[before]);
        let after = self.readings.get(at).copied();
        if let (Some(before), Some(after)) = (before, after) {
            self.contribute(before, after, -sign, policies);
        }
        match before {
            Some(before) => self.contribute(before, one, sign, policies),
            None if self.is_whole => {
                self.begin(one, sign, policies);
                if let Some(after) = after {
                    self.begin(after, -sign, policies);
                }
            }
            None => {}
        }
        if let Some(after) = after {
            self.contribute(one, after, sign, policies);
        }
    }

    /// What the first sample of a life contributes, to its window.
    fn begin(&mut self, first: Reading, sign: i8, policies: &Policies) {
        let initial = if self.from_zero { first.value.max(0) } else { 0 };
        let share = Share { begun: 1, amount: initial.into(), ..Share::default() };
        self.sum(policies.calendar.window(first.time)).share.add(share, sign);
    }

    fn contribute(&mut self, from: Reading, to: Reading, sign: i8, policies: &Policies) {
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

    /// The next window to report, corrections of earlier ones first; `None` if there is none. Windows
    /// that are not asked for stay open.
    pub(crate) fn close_next(
        &mut self,
        now: Timestamp,
        policies: &Policies,
    ) -> Option<ClosedWindow> {
        while let Some((start, sum)) = self.corrections.pop_first() {
            if !sum.share.is_empty() {
                let correction = self.corrected.entry(start).or_default();
                *correction += 1;
                return Some(ClosedWindow { start, sum, correction: *correction });
            }
        }
        // Windows end in the order in which they start.
        let until = now.saturating_sub(policies.grace);
        let Some(first) = self.open.first_entry().filter(|first| first.get().end <= until) else {
            self.closed = self.closed.max(until);
            return None;
        };
        let (start, sum) = first.remove_entry();
        self.closed = sum.end;
        Some(ClosedWindow { start, sum, correction: 0 })
    }

    /// Forgets samples that no late one can follow any more, and all but the newest `most`. Returns
    /// whether some of those were still needed.
    pub(crate) fn trim(&mut self, now: Timestamp, most: usize, policies: &Policies) -> bool {
        let horizon = now.saturating_sub(policies.late);
        let old = self.readings.partition_point(|one| one.time <= horizon).saturating_sub(1);
        let excess = self.readings.len().saturating_sub(most.max(1));
        let count = old.max(excess);
        if count > 0 {
            self.readings.drain(..count);
            self.since = self.readings[0].time;
            self.is_whole = false;
            // A window before the one of the first sample gets nothing any more.
            let first = policies.calendar.window(self.since).start;
            self.corrected = self.corrected.split_off(&first);
        }
        excess > old
    }

    /// Whether nothing is left to report, and nothing that may be late belongs to it.
    pub(crate) fn is_over(&self, now: Timestamp, policies: &Policies) -> bool {
        let is_silent = match self.readings.last() {
            Some(last) => last.time < now.saturating_sub(FORGOTTEN),
            None => self.since < now.saturating_sub(policies.late),
        };
        is_silent && self.open.is_empty() && self.corrections.is_empty()
    }
}
