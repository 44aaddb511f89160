//! Times as people and programs read them: `2026-03-01T09:30:00.125Z`.

use std::time::{SystemTime, UNIX_EPOCH};

/// In UTC, to the millisecond. What is before 1970 is 1970.
pub(super) fn written(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The Gregorian date of a day after 1970-01-01. Years begin in March here, so that the day of February 29 is the
/// last of its year, and months of 30 and 31 days follow each other in periods of 153 days.
fn date(days: u64) -> (u64, u64, u64) {
    const TO_YEAR_ZERO: u64 = 719_468;
    const CENTURIES_4: u64 = 146_097;
    let days = days + TO_YEAR_ZERO;
    let (period, day) = (days / CENTURIES_4, days % CENTURIES_4);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (period * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_written_as_its_date_in_utc() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_772_357_400_125, "2026-03-01T09:30:00.125Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(written(UNIX_EPOCH + Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn it_agrees_with_the_dates_of_http() {
        for day in (0..60_000).step_by(13) {
            let time = UNIX_EPOCH + Duration::from_secs(day * 86_400);
            let (year, month, date) = date(day);
            let http = httpdate::fmt_http_date(time);
            let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
                [usize::try_from(month).unwrap() - 1];
            assert!(http.contains(&format!("{date:02} {month} {year}")), "{http}");
        }
    }
}
