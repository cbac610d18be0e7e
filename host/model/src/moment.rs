use jiff::tz::TimeZone;

/// Nanoseconds since the Unix epoch, UTC.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Converts nanoseconds since the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// `2015-10-01T12:00:00.123456`: ISO 8601 in UTC without a zone, in the format of Python's
    /// `datetime.isoformat`, which omits the fraction if it is 0 microseconds.
    pub fn iso(self) -> String {
        self.format('T', !(self.0 / 1_000).is_multiple_of(1_000_000))
    }

    /// `2015-10-01 12:00:00.123456`: the format of a notification's `timestamp`.
    pub fn blank_separated(self) -> String {
        self.format(' ', true)
    }

    fn format(self, separator: char, fraction: bool) -> String {
        let civil = jiff::Timestamp::from_nanosecond(i128::from(self.0))
            .unwrap_or(jiff::Timestamp::MAX)
            .to_zoned(TimeZone::UTC)
            .datetime();
        let mut text = format!(
            "{:04}-{:02}-{:02}{separator}{:02}:{:02}:{:02}",
            civil.year(),
            civil.month(),
            civil.day(),
            civil.hour(),
            civil.minute(),
            civil.second()
        );
        if fraction {
            text.push_str(&format!(".{:06}", self.0 / 1_000 % 1_000_000));
        }
        text
    }

    /// Parses the `Date` of an answer over HTTP: `Thu, 01 Oct 2015 12:00:00 GMT`.
    pub fn from_http_date(text: &str) -> Option<Self> {
        let stamp = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        u64::try_from(stamp.as_nanosecond()).map(Self).ok()
    }

    /// Parses an ISO 8601 time. A time without a zone is UTC, as for other parsers of this field.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |reason: &dyn std::fmt::Display| {
            format!("{text:?} is not a time ({reason}); write it like 2015-10-01T12:00:00.123456")
        };
        let stamp = match text.parse::<jiff::Timestamp>() {
            Ok(stamp) => stamp,
            Err(_) => text
                .parse::<jiff::civil::DateTime>()
                .and_then(|civil| civil.to_zoned(TimeZone::UTC))
                .map_err(|error| wrong(&error))?
                .timestamp(),
        };
        u64::try_from(stamp.as_nanosecond()).map(Self).map_err(|_| wrong(&"before 1970"))
    }
}

/// The time of a value on three clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// The wall clock.
    pub wall: Timestamp,
    /// Nanoseconds of a clock that never goes back, even across restarts and reboots: the boot time
    /// plus an offset. Only differences have a meaning. Transformers see this clock.
    pub continuous: Option<u64>,
    /// Nanoseconds of the plain monotonic clock: `monotonic_time` in messages.
    pub monotonic: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_as_python_does() {
        let time = Timestamp::from_nanos(1_443_700_800_123_456_789);
        assert_eq!(time.iso(), "2015-10-01T12:00:00.123456");
        assert_eq!(time.blank_separated(), "2015-10-01 12:00:00.123456");
        assert_eq!(Timestamp::from_nanos(1_443_700_800_000_000_999).iso(), "2015-10-01T12:00:00");
    }

    #[test]
    fn reads_naive_and_zoned_times() {
        let naive = Timestamp::parse("2015-10-01T12:00:00.123456").unwrap();
        assert_eq!(naive.as_nanos(), 1_443_700_800_123_456_000);
        assert_eq!(Timestamp::parse("2015-10-01T17:45:00.123456+05:45").unwrap(), naive);
        assert_eq!(Timestamp::parse("2015-10-01 12:00:00.123456").unwrap(), naive);
        let date = Timestamp::from_http_date("Thu, 01 Oct 2015 12:00:00 GMT").unwrap();
        assert_eq!(date.iso(), "2015-10-01T12:00:00");
        assert_eq!(Timestamp::from_http_date("soon"), None);
        assert!(Timestamp::parse("yesterday").unwrap_err().contains("yesterday"));
    }
}
