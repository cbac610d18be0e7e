//! The header `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.

/// Longer delays are cut to a day.
const MAX_MS: u64 = 24 * 3600 * 1000;

/// The delay in milliseconds that a header requests, at most a day. A date is compared with the
/// header `date` of the same response, so the local clock does not matter.
pub fn retry_after(value: &str, date: Option<&str>) -> Option<u64> {
    let value = value.trim();
    let seconds = match value.parse::<u64>() {
        Ok(seconds) => seconds,
        // Digits that overflow request a very long delay.
        Err(_) if !value.is_empty() && value.bytes().all(|one| one.is_ascii_digit()) => u64::MAX,
        Err(_) => {
            let delay = parse_date(value)? - parse_date(date?.trim())?;
            u64::try_from(delay).unwrap_or(0)
        }
    };
    Some(seconds.saturating_mul(1000).min(MAX_MS))
}

/// Parses `Sun, 06 Nov 1994 08:49:37 GMT`, the only form that senders may use, into seconds since
/// 1970.
fn parse_date(date: &str) -> Option<i64> {
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
    const DAYS_BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let is_leap = leaps(year) != leaps(year - 1);
    let before = DAYS_BEFORE[usize::try_from(month).unwrap_or(0) % 12];
    let leap_day = i64::from(is_leap && month > 1);
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969) + before + leap_day + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_parsed() {
        assert_eq!(retry_after(" 120 ", None), Some(120_000));
        assert_eq!(retry_after("99999999999999999999999", None), Some(MAX_MS));
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", date), Some(30_000));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:07 GMT", date), Some(0));
    }

    #[test]
    fn malformed_values_are_ignored() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for value in ["", "-1", "soon", "1.5", "Sun, 06 Foo 1994 08:49:37 GMT"] {
            assert_eq!(retry_after(value, date), None, "{value}");
        }
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", None), None);
    }

    #[test]
    fn days_are_counted_over_leap_years() {
        assert_eq!(parse_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(parse_date("Fri, 01 Mar 2024 00:00:00 GMT"), Some(1_709_251_200));
        assert_eq!(parse_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
    }
}
