//! Beside a slow, obvious reference in whole numbers, over random times.

use portcullis::policy::timeout::{Verdict, decide};
use proptest::prelude::*;

use super::*;

fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, cases: 512, ..Default::default() }
}

/// Nanoseconds, with every size about as likely as another, and equal ones not unlikely.
fn nanos() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..4, 0_u64..2_000_000_000, any::<u64>()]
}

/// What becomes of a call that starts at zero, in milliseconds from then.
fn expected(
    limit: Option<u64>,
    outer: Option<u64>,
    least: u64,
    answers: u64,
    polled: u64,
) -> (Result<(), Reason>, u64) {
    let deadline = [limit, outer].into_iter().flatten().min();
    match deadline {
        Some(deadline) if deadline == 0 || deadline < least => {
            (Err(Reason::DeadlineTooShort), polled)
        }
        // Whatever is ready when it is looked at wins.
        _ if answers <= polled => (Ok(()), polled),
        Some(deadline) if deadline <= polled => (Err(Reason::Timeout), polled),
        Some(deadline) if deadline < answers => (Err(Reason::Timeout), deadline),
        _ => (Ok(()), answers),
    }
}

proptest! {
    #![proptest_config(cases())]

    /// The decision, in exact arithmetic on a line of numbers.
    #[test]
    fn the_decision_is_the_references(
        limit in proptest::option::of(nanos()),
        outer in proptest::option::of(nanos()),
        now in nanos(),
        least in nanos(),
    ) {
        let origin = clock::tokio_now();
        let at = |nanos| origin + Duration::from_nanos(nanos);
        let verdict = decide(
            limit.map(Duration::from_nanos),
            outer.map(at),
            Duration::from_nanos(least),
            at(now),
        );
        let own = limit.map(|limit| u128::from(now) + u128::from(limit));
        let deadline = [own, outer.map(u128::from)].into_iter().flatten().min();
        let left = deadline.map(|deadline| deadline.saturating_sub(u128::from(now)));
        match verdict {
            Verdict::Start { deadline: found } => {
                prop_assert!(left.is_none_or(|left| left > 0 && left >= u128::from(least)));
                let found = found.map(|found| (found - origin).as_nanos());
                prop_assert_eq!(found, deadline);
            }
            Verdict::Refuse { reason, remaining } => {
                prop_assert_eq!(reason, Reason::DeadlineTooShort);
                prop_assert_eq!(Some(remaining.as_nanos()), left);
                prop_assert!(left.is_some_and(|left| left == 0 || left < u128::from(least)));
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// A whole call, polled for the first time at any moment, ends as the reference says and when.
    #[test]
    fn a_call_ends_as_the_reference_says(
        limit in proptest::option::of(1_u64..40),
        outer in proptest::option::of(0_u64..40),
        least in 0_u64..20,
        answers in 0_u64..50,
        polled in 0_u64..50,
    ) {
        let least = limit.map_or(least, |limit| least.min(limit));
        let ms = Duration::from_millis;
        let mut config = TimeoutConfig::per_request("db").min_remaining(ms(least));
        config.limit = limit.map(ms);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let found = runtime.block_on(async {
            let mut service = TimeoutLayer::new(config).unwrap().layer(sleepy());
            let began = Instant::now();
            let call = match outer {
                Some(outer) => deadline::enter((began + ms(outer)).into_std(), || service.call(ms(answers))),
                None => service.call(ms(answers)),
            };
            advance(ms(polled)).await;
            let result = call.await;
            let after = u64::try_from(began.elapsed().as_millis()).unwrap();
            (result.map_err(|error| refused(Err::<(), _>(error)).reason()), after)
        });
        // This service begins to work when it is first polled.
        let answers = if answers == 0 { polled } else { polled + answers };
        prop_assert_eq!(found, expected(limit, outer, least, answers, polled));
    }
}
