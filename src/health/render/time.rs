//! A moment as text.

use std::{fmt, time::Duration};

/// A time since the beginning of 1970, as RFC 3339 has it, in UTC and to the millisecond.
pub(super) struct Rfc3339(pub(super) Duration);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (year, month, day) = date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        write!(f, ".{:03}Z", self.0.subsec_millis())
    }
}

/// Year, month and day of a day counted from the first of 1970.
const fn date(day: u64) -> (u64, u64, u64) {
    // Years that begin in March end with the leap day, so that months follow a rule; eras of 400 years are
    // alike. 719 468 days lie between the first of March of year zero and 1970.
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // March is 0 here.
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_by_the_calendar() {
        for (seconds, says) in [
            (0, "1970-01-01T00:00:00.250Z"),
            (951_782_399, "2000-02-28T23:59:59.250Z"),
            (951_782_400, "2000-02-29T00:00:00.250Z"),
            (1_709_251_199, "2024-02-29T23:59:59.250Z"),
            (1_709_251_200, "2024-03-01T00:00:00.250Z"),
            (4_107_542_400, "2100-03-01T00:00:00.250Z"),
            (253_402_300_799, "9999-12-31T23:59:59.250Z"),
        ] {
            let moment = Duration::from_secs(seconds) + Duration::from_millis(250);
            assert_eq!(Rfc3339(moment).to_string(), says);
        }
        // Nobody's calendar, and no panic.
        assert!(Rfc3339(Duration::MAX).to_string().ends_with("Z"));
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = date(0);
        for day in 1..200_000 {
            let (year, month, of_month) = date(day);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let (first, last) = match before.1 {
                2 => ((year, 3, 1), if leap { 29 } else { 28 }),
                4 | 6 | 9 | 11 => ((year, before.1 + 1, 1), 30),
                12 => ((before.0 + 1, 1, 1), 31),
                _ => ((year, before.1 + 1, 1), 31),
            };
            let next = if before.2 == last { first } else { (before.0, before.1, before.2 + 1) };
            assert_eq!((year, month, of_month), next);
            before = next;
        }
    }
}
