//! `grpc-timeout`: its units, and that no time grows on its way.

use portcullis::grpc::timeout::{format, parse};
use proptest::prelude::*;

use super::*;

fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, cases: 2_048, ..Default::default() }
}

fn parsed(text: &str) -> Option<Duration> {
    parse(&HeaderValue::from_bytes(text.as_bytes()).unwrap())
}

#[test]
fn every_unit_is_read() {
    let hour = 3_600 * SECOND;
    for (text, time) in [
        ("1n", Duration::from_nanos(1)),
        ("1u", Duration::from_micros(1)),
        ("1m", MS),
        ("1S", SECOND),
        ("1M", 60 * SECOND),
        ("1H", hour),
        ("0n", Duration::ZERO),
        ("0H", Duration::ZERO),
        ("00000007m", 7 * MS),
        ("99999999n", Duration::from_nanos(99_999_999)),
        ("99999999M", 99_999_999 * (60 * SECOND)),
        ("99999999H", 99_999_999 * hour),
    ] {
        assert_eq!(parsed(text), Some(time), "{text}");
    }
    for text in [
        "",
        "S",
        "1",
        "1s",
        "1h",
        "1N",
        "1U",
        "1 S",
        " 1S",
        "1S ",
        "1SS",
        "-1S",
        "+1S",
        "1.5S",
        "0x1S",
        "100000000n",
        "000000001S",
        "1\u{b5}",
        "\u{665}S",
        "1S, 2S",
        "1mS",
    ] {
        assert_eq!(parsed(text), None, "{text:?}");
    }
}

#[test]
fn the_finest_unit_that_fits_is_written() {
    for (time, text) in [
        (Duration::ZERO, "0n"),
        (Duration::from_nanos(1), "1n"),
        (Duration::from_nanos(99_999_999), "99999999n"),
        (Duration::from_nanos(100_000_999), "100000u"),
        (99_999_999 * Duration::from_micros(1), "99999999u"),
        (100 * SECOND - Duration::from_nanos(1), "99999999u"),
        (100 * SECOND, "100000m"),
        (100_000 * SECOND, "100000S"),
        (100_000_000 * SECOND, "1666666M"),
        (Duration::from_secs(6_000_000_000), "1666666H"),
        (Duration::MAX, "99999999H"),
    ] {
        assert_eq!(format(time), text, "{time:?}");
    }
}

proptest! {
    #![proptest_config(cases())]

    /// There and back, a time loses less than one of its unit, and never grows.
    #[test]
    fn a_time_survives_but_for_its_last_digits(
        time in prop_oneof![
            (0_u64..1_000_000_000).prop_map(Duration::from_nanos),
            any::<u64>().prop_map(Duration::from_nanos),
            (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
        ],
    ) {
        let text = format(time);
        prop_assert!(text.len() <= 9);
        let back = parse(&text).expect("what is written can be read");
        prop_assert!(back <= time, "{text:?}");
        let longest = 99_999_999 * (3_600 * SECOND);
        // A unit is a thousand of the next finer one at the most, so five digits of eight are told at least.
        let lost = time.min(longest) - back;
        prop_assert!(lost.as_nanos() * 100_000 <= time.as_nanos(), "{text:?} for {time:?}");
        prop_assert_eq!(format(back), text, "what was read is written as it was");
    }

    /// Every value of the specification is read exactly, and nothing else is a time.
    #[test]
    fn what_is_read_is_what_it_says(digits in "[0-9]{1,8}", unit in "[HMSmun]", other in "[ -~]{0,12}") {
        let number: u128 = digits.parse().unwrap();
        let nanos = match unit.as_str() {
            "H" => 3_600_000_000_000,
            "M" => 60_000_000_000,
            "S" => 1_000_000_000,
            "m" => 1_000_000,
            "u" => 1_000,
            _ => 1_u128,
        };
        let read = parsed(&format!("{digits}{unit}")).map(|time| time.as_nanos());
        prop_assert_eq!(read, Some(number * nanos));
        let fits = other.len() >= 2
            && other.len() <= 9
            && other.ends_with(['H', 'M', 'S', 'm', 'u', 'n'])
            && other[..other.len() - 1].bytes().all(|byte| byte.is_ascii_digit());
        prop_assert_eq!(parsed(&other).is_some(), fits);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(0x20_u8..=0xff, 0..12)) {
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            parse(&value);
        }
    }
}
