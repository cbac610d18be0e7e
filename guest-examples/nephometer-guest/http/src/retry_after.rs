//! The header `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.

/// The longest wait that is believed: a day.
const LONGEST_MS: u64 = 24 * 3600 * 1000;

/// The wait in milliseconds that a header asks for, at most a day. A date is measured against
/// `date`, the header of that name of the same answer, so that no clock of ours need be right.
pub fn retry_after(value: &str, date: Option<&str>) -> Option<u64> {
    let value = value.trim();
    let seconds = match value.parse::<u64>() {
        Ok(seconds) => seconds,
        // Digits alone that do not fit are a very long wait.
        Err(_) if !value.is_empty() && value.bytes().all(|one| one.is_ascii_digit()) => u64::MAX,
        Err(_) => {
            let wait = seconds_of(value)? - seconds_of(date?.trim())?;
            u64::try_from(wait).unwrap_or(0)
        }
    };
    Some(seconds.saturating_mul(1000).min(LONGEST_MS))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that senders may use.
fn seconds_of(date: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = date.split_once(", ")?;
    let parts: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, clock, "GMT"] = parts.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| name == month)?;
    let (day, year): (i64, i64) = (day.parse().ok()?, year.parse().ok()?);
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    Some(((days(year, i64::try_from(month).ok()?, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days since 1970; `month` counts from 0.
fn days(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let is_leap = leaps(year) != leaps(year - 1);
    let before = BEFORE[usize::try_from(month).unwrap_or(0) % 12];
    let leap_day = i64::from(is_leap && month > 1);
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969) + before + leap_day + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_understood() {
        assert_eq!(retry_after(" 120 ", None), Some(120_000));
        assert_eq!(retry_after("99999999999999999999999", None), Some(LONGEST_MS));
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", date), Some(30_000));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:07 GMT", date), Some(0));
    }

    #[test]
    fn what_is_neither_is_nothing() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for value in ["", "-1", "soon", "1.5", "Sun, 06 Foo 1994 08:49:37 GMT"] {
            assert_eq!(retry_after(value, date), None, "{value}");
        }
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", None), None);
    }

    #[test]
    fn days_are_counted_over_leap_years() {
        assert_eq!(seconds_of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds_of("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(seconds_of("Fri, 01 Mar 2024 00:00:00 GMT"), Some(1_709_251_200));
        assert_eq!(seconds_of("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
    }
}
