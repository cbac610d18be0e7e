//! Billing windows: hours, days and months of a time zone. They follow each other without a gap, also
//! where clocks change.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp as Instant, Zoned};
use nephometer_guest::Timestamp;

const HOUR: i128 = 3_600_000_000_000;
const SECOND: i128 = 1_000_000_000;

/// The length of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowKind {
    Hour,
    Day,
    Month,
}

impl WindowKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// About how long one is.
    pub(crate) fn nanoseconds(self) -> Timestamp {
        let hours = match self {
            Self::Hour => 1,
            Self::Day => 24,
            Self::Month => 30 * 24,
        };
        hours * 3_600_000_000_000
    }
}

/// One window, in nanoseconds since the epoch: from `start` on, before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Window {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

/// Divides time into windows.
#[derive(Debug, Clone)]
pub(crate) struct Calendar {
    pub(crate) kind: WindowKind,
    zone: TimeZone,
}

impl Calendar {
    /// Windows of a named time zone; `None` if it is unknown.
    pub(crate) fn new(kind: WindowKind, zone: &str) -> Option<Self> {
        Some(Self { kind, zone: TimeZone::get(zone).ok()? })
    }

    /// The window that contains a time.
    pub(crate) fn window(&self, time: Timestamp) -> Window {
        let at = instant(time).to_zoned(self.zone.clone());
        let window = match self.kind {
            WindowKind::Hour => Some(self.hour(&at)),
            WindowKind::Day => self.days(at.date(), at.date().tomorrow().ok()),
            WindowKind::Month => {
                let first = at.date().first_of_month();
                self.days(first, at.date().last_of_month().tomorrow().ok())
            }
        };
        // Only at the ends of the calendar, thousands of years away.
        window.unwrap_or(Window { start: time, end: time + 1 })
    }

    /// The text of a time in the zone, for people and programs.
    pub(crate) fn text(&self, time: Timestamp) -> String {
        instant(time).to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    fn days(&self, first: Date, next: Option<Date>) -> Option<Window> {
        let start = |date: Date| {
            let start = date.to_zoned(self.zone.clone()).ok()?.start_of_day().ok()?;
            nanoseconds(start.timestamp())
        };
        Some(Window { start: start(first)?, end: start(next?)? })
    }

    /// The hour of the clock on the wall. Where clocks change within an hour, it ends there.
    fn hour(&self, at: &Zoned) -> Window {
        let time = at.timestamp().as_nanosecond();
        let offset = i128::from(at.offset().seconds()) * SECOND;
        let start = (time + offset).div_euclid(HOUR) * HOUR - offset;
        let (mut start, mut end) = (start, start + HOUR);
        let now = at.timestamp();
        // `preceding` excludes a change at this very moment.
        let after = now.checked_add(SignedDuration::from_nanos(1)).unwrap_or(now);
        if let Some(change) = self.zone.preceding(after).next() {
            start = start.max(change.timestamp().as_nanosecond());
        }
        if let Some(change) = self.zone.following(now).next() {
            end = end.min(change.timestamp().as_nanosecond());
        }
        let unsigned = |value: i128| Timestamp::try_from(value).unwrap_or_default();
        Window { start: unsigned(start), end: unsigned(end) }
    }
}

fn instant(time: Timestamp) -> Instant {
    Instant::from_nanosecond(i128::from(time)).unwrap_or_default()
}

fn nanoseconds(time: Instant) -> Option<Timestamp> {
    Timestamp::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        nanoseconds(text.parse().unwrap()).unwrap()
    }

    #[test]
    fn windows_are_those_of_the_wall_clock() {
        use WindowKind::{Day, Hour, Month};
        let windows = [
            (
                Day,
                "Europe/Berlin",
                "2026-03-29T12:00:00Z",
                "2026-03-29T00:00:00+01:00",
                "2026-03-30T00:00:00+02:00",
            ),
            (
                Month,
                "Asia/Kolkata",
                "2026-02-28T18:30:00Z",
                "2026-03-01T00:00:00+05:30",
                "2026-04-01T00:00:00+05:30",
            ),
            (
                Hour,
                "Asia/Kolkata",
                "2026-02-28T18:29:59Z",
                "2026-02-28T23:00:00+05:30",
                "2026-03-01T00:00:00+05:30",
            ),
            // The hour that comes twice is two windows.
            (
                Hour,
                "Europe/Berlin",
                "2026-10-25T00:30:00Z",
                "2026-10-25T02:00:00+02:00",
                "2026-10-25T02:00:00+01:00",
            ),
            (
                Hour,
                "Europe/Berlin",
                "2026-10-25T01:00:00Z",
                "2026-10-25T02:00:00+01:00",
                "2026-10-25T03:00:00+01:00",
            ),
            // A change of half an hour.
            (
                Hour,
                "Australia/Lord_Howe",
                "2026-10-03T15:40:00Z",
                "2026-10-04T02:30:00+11:00",
                "2026-10-04T03:00:00+11:00",
            ),
        ];
        for (kind, zone, time, start, end) in windows {
            let calendar = Calendar::new(kind, zone).unwrap();
            let window = calendar.window(at(time));
            assert_eq!([calendar.text(window.start), calendar.text(window.end)], [start, end]);
        }
        assert!(Calendar::new(Day, "Europe/Atlantis").is_none());
    }

    #[test]
    fn windows_follow_each_other_without_a_gap() {
        for zone in
            ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu"]
        {
            for kind in [WindowKind::Hour, WindowKind::Day, WindowKind::Month] {
                let calendar = Calendar::new(kind, zone).unwrap();
                let (mut time, end) = (at("2026-01-01T00:00:00Z"), at("2027-02-01T00:00:00Z"));
                let mut before: Option<Window> = None;
                while time < end {
                    let window = calendar.window(time);
                    assert!(window.start <= time && time < window.end, "{zone} {kind:?} {time}");
                    for inside in
                        [window.start, window.end - 1, (window.start / 2) + (window.end / 2)]
                    {
                        assert_eq!(calendar.window(inside), window, "{zone} {kind:?}");
                    }
                    assert!(before.is_none_or(|before| before.end == window.start));
                    before = Some(window);
                    time = window.end;
                }
            }
        }
    }
}
