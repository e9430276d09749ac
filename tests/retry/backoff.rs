//! The delays by themselves.

use std::time::Duration;

use portcullis::{Backoff, Growth, Jitter};
use proptest::prelude::*;

use crate::script::ms;

#[test]
fn the_default_is_that_of_the_documentation() {
    let default = Backoff::default();
    let Growth::Exponential { base, factor } = default.growth else { panic!("{default:?}") };
    assert_eq!((base, factor), (ms(50), 2.0));
    assert_eq!((default.max, default.jitter), (Duration::from_secs(20), Jitter::Full));
}

#[test]
fn decorrelated_jitter_grows_from_the_delay_before_and_stays_below_the_cap() {
    let backoff = Backoff::exponential(ms(100), 2.0).max(ms(1_000)).jitter(Jitter::Decorrelated);
    assert_eq!(backoff.delay(1, 0.0, None), ms(100));
    assert_eq!(backoff.delay(1, 1.0, None), ms(300));
    assert_eq!(backoff.delay(2, 0.5, Some(ms(300))), ms(500));
    assert_eq!(backoff.delay(3, 1.0, Some(ms(900))), ms(1_000));
    assert_eq!(backoff.delay(9, 0.0, Some(ms(900))), ms(100));
}

#[test]
fn a_random_number_that_is_none_counts_as_zero_and_one_out_of_range_as_its_end() {
    let backoff = Backoff::constant(ms(100)).jitter(Jitter::Full);
    for (random, delay) in [(f64::NAN, 0), (-1.0, 0), (0.25, 25), (7.0, 100)] {
        assert_eq!(backoff.delay(1, random, None), ms(delay), "{random}");
    }
}

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        Just(Duration::from_nanos(1)),
        (0_u64..100_000).prop_map(ms),
        any::<(u64, u32)>().prop_map(|(s, n)| Duration::new(s, n % 1_000_000_000)),
    ]
}

fn any_growth() -> impl Strategy<Value = Growth> {
    prop_oneof![
        any_duration().prop_map(|delay| Growth::Constant { delay }),
        (any_duration(), any_duration()).prop_map(|(base, step)| Growth::Linear { base, step }),
        (any_duration(), prop_oneof![1.0..4.0, Just(f64::MAX)])
            .prop_map(|(base, factor)| Growth::Exponential { base, factor }),
    ]
}

fn any_jitter() -> impl Strategy<Value = Jitter> {
    prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        (0.0..=1.0).prop_map(Jitter::Proportional),
        Just(Jitter::Decorrelated),
    ]
}

/// The same in floating-point seconds, for numbers that those can hold.
fn slow(growth: Growth, max: Duration, retry: u32) -> f64 {
    let grown = match growth {
        Growth::Constant { delay } => delay.as_secs_f64(),
        Growth::Linear { base, step } => {
            base.as_secs_f64() + step.as_secs_f64() * f64::from(retry - 1)
        }
        Growth::Exponential { base, factor } if base.is_zero() => {
            assert!(factor >= 1.0);
            0.0
        }
        Growth::Exponential { base, factor } => {
            base.as_secs_f64() * factor.powf(f64::from(retry - 1))
        }
        _ => panic!("a growth that this test does not know"),
    };
    grown.min(max.as_secs_f64())
}

proptest! {
    #[test]
    fn no_number_overflows_and_no_delay_exceeds_its_bound(
        growth in any_growth(),
        jitter in any_jitter(),
        max in any_duration(),
        retry in prop_oneof![0_u32..100, Just(u32::MAX)],
        random in 0.0..=1.0,
        previous in proptest::option::of(any_duration()),
    ) {
        let mut backoff = Backoff::default().max(max).jitter(jitter);
        backoff.growth = growth;
        prop_assert!(backoff.validate().is_ok());
        let delay = backoff.delay(retry, random, previous);
        match jitter {
            // The one that may exceed the cap, by its share and a rounding.
            Jitter::Proportional(share) => {
                let bound = max.as_secs_f64() * (1.0 + share) * (1.0 + 1e-12) + 1e-9;
                prop_assert!(delay.as_secs_f64() <= bound, "{delay:?}");
            }
            _ => prop_assert!(delay <= max || delay == Duration::from_nanos(u64::MAX), "{delay:?}"),
        }
    }

    #[test]
    fn delays_grow_as_a_slow_reckoning_says(
        base in 0_u64..100_000,
        step in 0_u64..10_000,
        factor in 1.0..4.0,
        max in 1_u64..10_000_000,
        retry in 1_u32..60,
    ) {
        let growths = [
            Growth::Constant { delay: ms(base) },
            Growth::Linear { base: ms(base), step: ms(step) },
            Growth::Exponential { base: ms(base), factor },
        ];
        for growth in growths {
            let mut backoff = Backoff::default().max(ms(max)).jitter(Jitter::None);
            backoff.growth = growth;
            let (delay, slow) = (backoff.delay(retry, 0.5, None), slow(growth, ms(max), retry));
            prop_assert!((delay.as_secs_f64() - slow).abs() <= 1e-6 * (1.0 + slow), "{delay:?} {slow}");
        }
    }
}
