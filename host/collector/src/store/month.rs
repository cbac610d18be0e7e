//! Months of UTC.

use std::fmt;

use nephometer_model::Timestamp;

use super::StoreError;
use super::selection::{TimeRange, from_micros, micros};

/// A month, such as `2026-11`. The first one is that of the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MonthName(String);

impl MonthName {
    /// Reads a month, such as `2026-11`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (year, number) = text.split_once('-')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let good = year.len() == 4 && number.len() == 2 && digits(year) && digits(number);
        let month = Self(text.to_owned());
        let start = from_micros(month.start()).iso();
        (good && start.starts_with(&month.0)).then_some(month)
    }

    /// Reads a month that a user has written.
    pub(crate) fn named(month: &str) -> Result<Self, StoreError> {
        Self::read(month).ok_or_else(|| {
            let what = "it is no month; write it like 2026-11".to_owned();
            StoreError::Month { month: month.to_owned(), what }
        })
    }

    /// Refuses a month that is not over.
    pub(crate) fn check_over(&self, now: Timestamp) -> Result<(), StoreError> {
        let end = self.range().end;
        if end <= micros(now) {
            return Ok(());
        }
        let end = from_micros(end).iso();
        let what = format!("it ends at {end} (UTC); close it after that");
        Err(StoreError::Month { month: self.0.clone(), what })
    }

    /// The month of microseconds since the epoch.
    pub(crate) fn of(time: i64) -> Self {
        Self(from_micros(time).iso()[..7].to_owned())
    }

    /// From its beginning to that of the next month, in microseconds since the epoch.
    pub(crate) fn range(&self) -> TimeRange {
        let start = self.start();
        // Every month has less than 32 days, and the next one more than 4.
        let next = Self::of(start + 32 * 86_400_000_000);
        TimeRange { start, end: next.start() }
    }

    /// The same as a number, such as 202611.
    pub(crate) fn number(&self) -> u32 {
        self.0.replace('-', "").parse().unwrap_or(0)
    }

    /// The month with this number.
    pub(crate) fn numbered(number: u32) -> Self {
        Self(format!("{:04}-{:02}", number / 100, number % 100))
    }

    fn start(&self) -> i64 {
        let text = format!("{}-01T00:00:00", self.0);
        nephometer_model::Timestamp::parse(&text).map_or(0, micros)
    }
}

impl fmt::Display for MonthName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names of months by time. Those of one commit are few.
#[derive(Default)]
pub(crate) struct MonthNames(Vec<(TimeRange, MonthName)>);

impl MonthNames {
    /// The month of microseconds since the epoch.
    pub(crate) fn of(&mut self, time: i64) -> MonthName {
        let known = self.0.iter().find(|(range, _)| (range.start..range.end).contains(&time));
        if let Some((_, name)) = known {
            return name.clone();
        }
        let name = MonthName::of(time);
        self.0.push((name.range(), name.clone()));
        name
    }
}
