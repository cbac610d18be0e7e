//! What a counter grew by between two samples, divided among windows to the last unit.

use nephometer_guest::Timestamp;
use serde::{Deserialize, Serialize};

use crate::options::{GapPolicy, Policies};
use crate::window::Window;

/// A gap over more windows than these counts as a whole in the window where it ends: it would make as
/// many samples for each counter.
const GAP_WINDOWS: u64 = 1_000;

/// A sample of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) time: Timestamp,
    pub(crate) value: i64,
}

/// What belongs to one window. Sums of shares are shares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    /// What counts, in the unit of the counter.
    pub(crate) amount: i128,
    /// What does not, because it grew in a gap.
    pub(crate) excluded: i128,
    /// Time in gaps, in nanoseconds.
    pub(crate) gap: i64,
    /// How often the counter began again.
    pub(crate) resets: i32,
    /// How many lives of the resource began and ended in it, as far as this transformer saw.
    pub(crate) begun: i32,
    pub(crate) ended: i32,
}

impl Share {
    pub(crate) fn add(&mut self, other: Self, sign: i8) {
        self.amount += other.amount * i128::from(sign);
        self.excluded += other.excluded * i128::from(sign);
        self.gap += other.gap * i64::from(sign);
        self.resets += other.resets * i32::from(sign);
        self.begun += other.begun * i32::from(sign);
        self.ended += other.ended * i32::from(sign);
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What the counter grew by. One that is lower than before began again at 0.
pub(crate) fn growth(from: Reading, to: Reading) -> i128 {
    let grown = i128::from(to.value) - i128::from(from.value);
    if grown < 0 { i128::from(to.value.max(0)) } else { grown }
}

/// Divides the growth between two samples among windows, in order. The shares add up to the growth.
pub(crate) fn divide(from: Reading, to: Reading, policies: &Policies) -> Vec<(Window, Share)> {
    let calendar = &policies.calendar;
    let grown = growth(from, to);
    let length = to.time - from.time;
    let is_gap = length > policies.gap;
    let is_held = is_gap && policies.gaps == GapPolicy::Hold;
    let is_long = is_gap && length / GAP_WINDOWS > calendar.kind.nanoseconds();
    // What grew before the end of a window belongs to it: the last one contains the moment before.
    let last = calendar.window(to.time.saturating_sub(1).max(from.time));
    let mut shares = Vec::new();
    let (mut at, mut before) = (from.time, 0_i128);
    loop {
        let window = if is_long { last } else { calendar.window(at) };
        let end = window.end.min(to.time);
        let passed = i128::from(end - from.time);
        let is_last = window.start >= last.start;
        let until = match (is_last, is_held) {
            (true, _) => grown,
            (false, true) => 0,
            (false, false) => grown * passed / i128::from(length.max(1)),
        };
        let mut share = Share::default();
        let part = until - before;
        if is_gap && policies.gaps == GapPolicy::Exclude {
            share.excluded = part;
        } else {
            share.amount = part;
        }
        if is_gap {
            share.gap = i64::try_from(end - at).unwrap_or(i64::MAX);
        }
        share.resets = i32::from(is_last && to.value < from.value);
        shares.push((window, share));
        if is_last {
            return shares;
        }
        (at, before) = (window.end, until);
    }
}
