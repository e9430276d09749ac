//! Durations as people write them: `250ms`, `1.5s`, `1m 30s`.
//!
//! Every length is exact, whatever is written comes back as it was, and no text overflows. Months and
//! years are no units: they have no length of their own.

use std::{fmt::Write, time::Duration};

/// The text for what has no end.
const FOREVER: &str = "forever";
const BILLION: u128 = 1_000_000_000;
/// More decimals than any unit has.
const MOST_DECIMALS: usize = 18;

/// The units with their nanoseconds, each by the spelling that is written first.
const UNITS: [(&[&str], u128); 8] = [
    (&["w", "wk", "wks", "week", "weeks"], 7 * 86_400 * BILLION),
    (&["d", "day", "days"], 86_400 * BILLION),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600 * BILLION),
    (&["m", "min", "mins", "minute", "minutes"], 60 * BILLION),
    (&["s", "sec", "secs", "second", "seconds"], BILLION),
    (&["ms", "msec", "millis"], 1_000_000),
    (&["us", "µs", "μs", "usec"], 1_000),
    (&["ns", "nsec", "nanos"], 1),
];

/// The duration that a text says; an error says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Duration, &'static str> {
    if text.trim() == FOREVER {
        return Ok(Duration::MAX);
    }
    let mut rest = text.trim();
    let mut sum = 0_u128;
    while !rest.is_empty() {
        let digits;
        (digits, rest) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let unit;
        (unit, rest) = split(rest.trim_start(), char::is_alphabetic);
        rest = rest.trim_start();
        let part = nanos(digits, unit)?;
        sum = sum.checked_add(part).ok_or(TOO_LONG)?;
    }
    if text.trim().is_empty() {
        return Err("is empty");
    }
    let seconds = u64::try_from(sum / BILLION).map_err(|_| TOO_LONG)?;
    Ok(Duration::new(seconds, (sum % BILLION) as u32))
}

const TOO_LONG: &str = "is longer than can be counted";

/// Where the first character stands that is none of these.
fn split(text: &str, these: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !these(c)).unwrap_or(text.len()))
}

/// So many of a unit.
fn nanos(digits: &str, unit: &str) -> Result<u128, &'static str> {
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    if whole.is_empty() || decimals.is_empty() || decimals.contains('.') {
        return Err("has a part without a number");
    }
    let known = |(names, _): &&(&[&str], u128)| names.contains(&unit);
    let (_, long) = *UNITS.iter().find(known).ok_or(match unit {
        "" => "has a number without a unit",
        _ => "has a unit that is none of w, d, h, m, s, ms, us and ns",
    })?;
    let whole: u128 = whole.parse().map_err(|_| TOO_LONG)?;
    let whole = whole.checked_mul(long).ok_or(TOO_LONG)?;
    let decimals = decimals.trim_end_matches('0');
    if decimals.len() > MOST_DECIMALS {
        return Err(TOO_FINE);
    }
    // At most 18 digits times 20: 128 bits hold that by far.
    let parts = decimals.bytes().fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0')) * long;
    let of = 10_u128.pow(decimals.len() as u32);
    if parts % of != 0 {
        return Err(TOO_FINE);
    }
    whole.checked_add(parts / of).ok_or(TOO_LONG)
}

const TOO_FINE: &str = "is finer than a nanosecond";

/// The text for a duration, which [`parse`] reads as the same.
pub(super) fn format(duration: Duration) -> String {
    if duration == Duration::MAX {
        return FOREVER.to_owned();
    }
    let mut rest = duration.as_nanos();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    // Weeks are read and not written: seven days are as plain.
    for (names, long) in &UNITS[1..] {
        let many = rest / long;
        rest %= long;
        if many > 0 {
            let between = if text.is_empty() { "" } else { " " };
            // A `String` takes whatever is written to it.
            let _ = std::write!(text, "{between}{many}{}", names[0]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_write_is_understood() {
        for (text, nanos) in [
            ("250ms", 250_000_000),
            ("5s", 5 * BILLION),
            ("1m 30s", 90 * BILLION),
            ("1m30s", 90 * BILLION),
            (" 1 hour 2 mins ", 3_720 * BILLION),
            ("1.5s", 1_500_000_000),
            ("0.25ms", 250_000),
            ("1.500000000000000000000000s", 1_500_000_000),
            ("2w", 14 * 86_400 * BILLION),
            ("1d", 86_400 * BILLION),
            ("7us 3ns", 7_003),
            ("7µs", 7_000),
            ("0s", 0),
            ("18446744073709551615s 999999999ns", Duration::MAX.as_nanos()),
            ("forever", Duration::MAX.as_nanos()),
        ] {
            assert_eq!(parse(text).map(|read| read.as_nanos()), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for (text, why) in [
            ("", "is empty"),
            ("  ", "is empty"),
            ("5", "has a number without a unit"),
            ("1m 30", "has a number without a unit"),
            ("s", "has a part without a number"),
            ("-5s", "has a part without a number"),
            ("+5s", "has a part without a number"),
            ("1.s", "has a part without a number"),
            (".5s", "has a part without a number"),
            ("1.2.3s", "has a part without a number"),
            ("5s,", "has a part without a number"),
            ("1M", "has a unit that is none of w, d, h, m, s, ms, us and ns"),
            ("3 parsecs", "has a unit that is none of w, d, h, m, s, ms, us and ns"),
            ("1 2s", "has a number without a unit"),
            ("1e3s", "has a unit that is none of w, d, h, m, s, ms, us and ns"),
            ("0.5ns", TOO_FINE),
            ("0.0000000000000000000000001w", TOO_FINE),
            ("18446744073709551616s", TOO_LONG),
            ("18446744073709551615s 1000000000ns", TOO_LONG),
            ("999999999999999999999999999999999999999999w", TOO_LONG),
            ("340282366920938463463374607431768211455w", TOO_LONG),
            ("340282366920938463463374607431768211455ns 1ns", TOO_LONG),
            ("340282366920938463463374607431768211455.5s", TOO_LONG),
        ] {
            assert_eq!(parse(text), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(seconds: u64, nanos in 0..1_000_000_000_u32) {
            let duration = Duration::new(seconds, nanos);
            let text = format(duration);
            prop_assert_eq!(parse(&text), Ok(duration));
        }

        /// Others understand it as well, and as the same.
        #[test]
        fn what_is_written_is_what_others_read(
            seconds in 0..u64::MAX >> 1, nanos in 0..1_000_000_000_u32,
        ) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(humantime::parse_duration(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "[0-9.]{0,40}[a-zµ ]{0,3}[0-9.]{0,22} ?[a-z]{0,3}|.*") {
            let _ = parse(&text);
        }
    }
}
