//! A quota at one moment, and how it is written down.

use std::{fmt::Write, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::Fields;
use crate::{
    error::{Reason, Rejection},
    http::retry_after,
    policy::bucket::config::RateLimitConfig,
};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const LEGACY_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const LEGACY_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const LEGACY_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The largest integer of a structured field (RFC 9651).
const LARGEST: u64 = 999_999_999_999_999;
/// What a string of a structured field cannot hold; beyond ASCII nothing can stand there.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// What is known of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    name: &'static str,
    /// The most at once, and the seconds in which that much comes back; the latter is `None` if nothing does.
    policy: Option<(u64, Option<u64>)>,
    remaining: u64,
    /// The seconds until there is more; `None` where it is full, or never.
    more_after: Option<u64>,
}

impl Quota {
    /// A limiter with whole tokens `remaining`, that is full after `reset_after`.
    pub(super) fn of(
        config: &RateLimitConfig,
        remaining: u64,
        reset_after: Option<Duration>,
    ) -> Self {
        let burst = config.burst_tokens();
        let more_after = match reset_after {
            None | Some(Duration::ZERO) => None,
            Some(full) => Some(next_token(config, burst.saturating_sub(remaining), full)),
        };
        Self {
            name: config.name,
            policy: Some((burst, window(config, burst))),
            remaining: remaining.min(burst),
            more_after: more_after.map(retry_after::seconds),
        }
    }

    /// What a refusal says by itself: that nothing is left, and when there will be; `None` if it is not one of
    /// a quota that is used up.
    pub(super) fn of_refusal(refusal: &Rejection) -> Option<Self> {
        (refusal.reason() == Reason::RateLimited).then(|| Self {
            name: refusal.policy(),
            policy: None,
            remaining: 0,
            more_after: refusal.retry_after().map(retry_after::seconds),
        })
    }

    /// What the refusal of a call says comes before what the limiter shows afterwards, so that
    /// `Retry-After` is not told to be too early.
    pub(super) fn refused(self, refusal: Option<&Rejection>) -> Self {
        match refusal.and_then(Self::of_refusal) {
            Some(told) if told.name == self.name => Self { policy: self.policy, ..told },
            _ => self,
        }
    }

    /// Without room among tens of thousands of headers, they are left out.
    pub(super) fn write(&self, fields: Fields, headers: &mut HeaderMap) {
        match fields {
            Fields::Off => {}
            Fields::Draft10 => self.write_draft(headers),
            Fields::Legacy => self.write_legacy(headers),
        }
    }

    /// Lists of structured fields: one more line is one more member.
    fn write_draft(&self, headers: &mut HeaderMap) {
        let mut name = String::with_capacity(self.name.len() + 48);
        push_string(&mut name, self.name);
        // Nothing that is written to a string fails.
        if let Some((burst, window)) = self.policy {
            let mut policy = name.clone();
            let _ = write!(policy, ";q={}", burst.min(LARGEST));
            if let Some(window) = window {
                let _ = write!(policy, ";w={}", window.min(LARGEST));
            }
            append(headers, POLICY, policy);
        }
        let mut limit = name;
        let _ = write!(limit, ";r={}", self.remaining.min(LARGEST));
        if let Some(after) = self.more_after {
            let _ = write!(limit, ";t={}", after.min(LARGEST));
        }
        append(headers, LIMIT, limit);
    }

    /// One quota is all there is room for: whoever wrote first, the service itself among them, has it.
    fn write_legacy(&self, headers: &mut HeaderMap) {
        if headers.contains_key(LEGACY_REMAINING) {
            return;
        }
        let limit = self.policy.map(|(burst, _)| (LEGACY_LIMIT, burst));
        let others =
            [(LEGACY_REMAINING, self.remaining), (LEGACY_RESET, self.more_after.unwrap_or(0))];
        for (name, value) in limit.into_iter().chain(others) {
            let _ = headers.try_insert(name, value.into());
        }
    }
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: String) {
    // It holds nothing but printable ASCII by now.
    if let Ok(value) = HeaderValue::try_from(value) {
        let _ = headers.try_append(name, value);
    }
}

/// A string of a structured field: printable ASCII. What else a name may hold is percent-encoded.
fn push_string(field: &mut String, text: &str) {
    field.push('"');
    for part in utf8_percent_encode(text, ESCAPED) {
        for c in part.chars() {
            if matches!(c, '"' | '\\') {
                field.push('\\');
            }
            field.push(c);
        }
    }
    field.push('"');
}

/// The seconds in which a whole burst comes back, rounded up.
fn window(config: &RateLimitConfig, burst: u64) -> Option<u64> {
    let nanos = returns_in(config, burst)?;
    let seconds = nanos.div_ceil(1_000_000_000);
    Some(u64::try_from(seconds).unwrap_or(u64::MAX).max(1))
}

/// The time to the next whole token of a bucket that lacks so many of them and is full after `full`.
fn next_token(config: &RateLimitConfig, lacking: u64, full: Duration) -> Duration {
    let others = returns_in(config, lacking.saturating_sub(1)).unwrap_or(0);
    let next = full.as_nanos().saturating_sub(others);
    let seconds = u64::try_from(next / 1_000_000_000).unwrap_or(u64::MAX);
    Duration::new(seconds, (next % 1_000_000_000) as u32)
}

/// Nanoseconds, rounded down, in which so many tokens come back; `None` if they never do.
fn returns_in(config: &RateLimitConfig, tokens: u64) -> Option<u128> {
    // A rate that counts has no more nanoseconds than fit, and a product that does not fit is an age.
    let nanos = u128::from(tokens).saturating_mul(config.per.as_nanos());
    nanos.checked_div(config.permits.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::intern;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn lines(quota: Quota, fields: Fields) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        quota.write(fields, &mut headers);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), value.to_str().expect("ASCII").to_owned())
        };
        headers.iter().map(line).collect()
    }

    fn draft(quota: Quota) -> (String, String) {
        let lines = lines(quota, Fields::Draft10);
        let [(policy, quota), (limit, left)] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&policy[..], &limit[..]), ("ratelimit-policy", "ratelimit"));
        (quota.clone(), left.clone())
    }

    #[test]
    fn a_draft_says_burst_window_remaining_and_the_next_token() {
        // 100 at once and 100 a minute: one every 600 ms.
        let config = RateLimitConfig::new("burst", 100, Duration::from_secs(60)).burst(100);
        for (remaining, reset_after, told) in [
            (100, Some(Duration::ZERO), r#""burst";r=100"#),
            (99, Some(ms(600)), r#""burst";r=99;t=1"#),
            (50, Some(ms(30_000)), r#""burst";r=50;t=1"#),
            (0, Some(ms(60_000)), r#""burst";r=0;t=1"#),
            // Nine tokens are owed.
            (0, Some(ms(65_400)), r#""burst";r=0;t=6"#),
        ] {
            let (policy, limit) = draft(Quota::of(&config, remaining, reset_after));
            assert_eq!((&policy[..], &limit[..]), (r#""burst";q=100;w=60"#, told));
        }
        let daily = RateLimitConfig::new("daily", 1, Duration::from_secs(86_400)).burst(3);
        let (policy, limit) = draft(Quota::of(&daily, 1, Some(ms(86_400_000 + 1_001))));
        assert_eq!((&policy[..], &limit[..]), (r#""daily";q=3;w=259200"#, r#""daily";r=1;t=2"#));
    }

    #[test]
    fn where_nothing_comes_back_there_is_neither_window_nor_time() {
        let once = RateLimitConfig::new("once", 0, Duration::from_secs(1)).burst(5);
        assert_eq!(
            draft(Quota::of(&once, 2, None)),
            (r#""once";q=5"#.into(), r#""once";r=2"#.into())
        );
    }

    #[test]
    fn what_is_too_large_to_be_said_is_cut() {
        let fast = RateLimitConfig::per_second("fast", u64::MAX).burst(u64::MAX);
        let (policy, limit) = draft(Quota::of(&fast, u64::MAX, Some(Duration::ZERO)));
        assert_eq!(policy, r#""fast";q=999999999999999;w=1"#);
        assert_eq!(limit, r#""fast";r=999999999999999"#);
        let slow = RateLimitConfig::new("slow", 1, Duration::MAX).burst(u64::MAX);
        let (policy, limit) = draft(Quota::of(&slow, 0, Some(Duration::MAX)));
        assert_eq!(policy, r#""slow";q=999999999999999;w=999999999999999"#);
        assert!(limit.starts_with(r#""slow";r=0;t="#), "{limit}");
    }

    #[test]
    fn a_refusal_comes_before_what_is_seen_later() {
        let config = RateLimitConfig::per_second("api", 1).burst(5);
        let refusal = Rejection::new(Reason::RateLimited, "api").with_retry_after(ms(2_500));
        let seen = Quota::of(&config, 2, Some(ms(2_100)));
        assert_eq!(draft(seen).1, r#""api";r=2;t=1"#);
        assert_eq!(
            draft(seen.refused(Some(&refusal))),
            (r#""api";q=5;w=5"#.into(), r#""api";r=0;t=3"#.into())
        );
        let other = Rejection::new(Reason::RateLimited, "other").with_retry_after(ms(2_500));
        let permanent = Rejection::new(Reason::OverBurst, "api");
        for other in [other, permanent, Rejection::new(Reason::BulkheadFull, "api")] {
            assert_eq!(seen.refused(Some(&other)), seen);
        }
        // By itself it knows less.
        let alone = Quota::of_refusal(&refusal).expect("a quota");
        let only = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert_eq!(lines(alone, Fields::Draft10), only("ratelimit", r#""api";r=0;t=3"#));
        assert_eq!(Quota::of_refusal(&permanent), None);
    }

    #[test]
    fn the_old_fields_have_room_for_one() {
        let config = RateLimitConfig::per_second("api", 1).burst(5);
        let mut headers = HeaderMap::new();
        Quota::of(&config, 2, Some(ms(2_100))).write(Fields::Legacy, &mut headers);
        Quota::of(&config, 5, Some(Duration::ZERO)).write(Fields::Legacy, &mut headers);
        let one = |name: &str| {
            let mut all = headers.get_all(name).iter();
            let one = all.next().expect("a value").to_str().expect("ASCII").to_owned();
            assert_eq!(all.next(), None);
            one
        };
        let told = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"].map(one);
        assert_eq!(told, ["5", "2", "1"]);
        assert_eq!(headers.len(), 3);
        assert!(lines(Quota::of(&config, 2, None), Fields::Off).is_empty());
    }

    proptest! {
        /// Read back by the rules of a structured field's string.
        #[test]
        fn any_name_is_a_valid_string(name in any::<String>()) {
            let mut field = String::new();
            push_string(&mut field, &name);
            prop_assert!(HeaderValue::try_from(&field).is_ok());
            let inside = field.strip_prefix('"').and_then(|field| field.strip_suffix('"'));
            let mut chars = inside.expect("quotes").chars();
            let mut read = String::new();
            while let Some(c) = chars.next() {
                prop_assert!((' '..='~').contains(&c) && c != '"', "{field}");
                match c {
                    '\\' => {
                        let escaped = chars.next().expect("something is escaped");
                        prop_assert!(matches!(escaped, '"' | '\\'));
                        read.push(escaped);
                    }
                    c => read.push(c),
                }
            }
            let decoded = percent_encoding::percent_decode_str(&read).decode_utf8();
            prop_assert_eq!(decoded.expect("UTF-8"), name);
        }

        #[test]
        fn no_numbers_panic(
            permits in any::<u64>(), secs in any::<u64>(), nanos in 0..1_000_000_000_u32,
            burst in any::<Option<u64>>(), remaining in any::<u64>(), full in any::<Option<Duration>>(),
        ) {
            let mut config = RateLimitConfig::new(intern("any"), permits, Duration::new(secs, nanos));
            config.burst = burst;
            let quota = Quota::of(&config, remaining, full);
            for fields in [Fields::Draft10, Fields::Legacy] {
                prop_assert!(lines(quota, fields).len() >= 2);
            }
        }
    }
}
