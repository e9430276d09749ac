//! The decision by itself: instants in, verdict out.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use portcullis::{
    Backoff, Hint, Hints, Jitter, Outcome, RetryEnd,
    policy::retry::{Attempt, Progress, Rules, Verdict},
};

use crate::script::ms;

fn rules(attempts: u32) -> Rules {
    Rules::new(attempts, Backoff::exponential(ms(100), 2.0).jitter(Jitter::None))
}

fn failure() -> Attempt {
    Attempt::new(Outcome::Failure, Instant::now())
}

fn first(rules: &Rules, seen: Attempt) -> Verdict {
    Progress::new().decide(rules, seen, || true)
}

#[test]
fn each_reason_to_stop_is_told() {
    let now = failure().now;
    let ignored = Attempt::new(Outcome::Ignored, now);
    let long = Some(Hint::After(Duration::from_secs(61)));
    let cases = [
        (3, Attempt::new(Outcome::Success, now), RetryEnd::Success),
        (3, ignored.hint(long), RetryEnd::NotRetryable),
        (1, failure().hint(Some(Hint::Stop)), RetryEnd::ToldToStop),
        (1, failure(), RetryEnd::AttemptsExhausted),
        (3, failure().single(Some(RetryEnd::Nested)), RetryEnd::Nested),
        (3, failure().hint(long), RetryEnd::HintTooLong),
        (3, failure().deadline(Some(now)), RetryEnd::Deadline),
    ];
    for (attempts, seen, end) in cases {
        assert_eq!(first(&rules(attempts), seen), Verdict::Stop(end), "{seen:?}");
    }
}

/// A sleep that would end at the deadline is not begun; one that ends before it is.
#[test]
fn the_deadline_itself_is_too_late() {
    let seen = failure();
    let until = |millis| seen.deadline(Some(seen.now + ms(millis)));
    assert_eq!(first(&rules(3), until(99)), Verdict::Stop(RetryEnd::Deadline));
    assert_eq!(first(&rules(3), until(100)), Verdict::Stop(RetryEnd::Deadline));
    assert_eq!(first(&rules(3), until(101)), Verdict::After(ms(100)));
    let never = Rules::new(3, Backoff::constant(Duration::MAX));
    let deadline = seen.deadline(Some(seen.now + Duration::from_secs(1)));
    assert_eq!(first(&never, deadline), Verdict::Stop(RetryEnd::Deadline));
}

/// So that nothing is paid for an attempt that will not be.
#[test]
fn the_budget_is_asked_last_and_only_where_all_else_allows() {
    let asked = Cell::new(0);
    let pay = || {
        asked.set(asked.get() + 1);
        false
    };
    let (now, mut call) = (failure().now, Progress::new());
    for seen in [failure().hint(Some(Hint::Stop)), failure().deadline(Some(now))] {
        let _ = call.decide(&rules(3), seen, pay);
    }
    let _ = call.decide(&rules(1), failure(), pay);
    assert_eq!(asked.get(), 0);
    assert_eq!(call.decide(&rules(3), failure(), pay), Verdict::Stop(RetryEnd::BudgetExhausted));
    assert_eq!((asked.get(), call.attempts()), (1, 1));
}

#[test]
fn a_hint_restarts_the_back_off_where_asked_to() {
    let delays = |hints: Hints| {
        let (rules, mut call) = (rules(9).hints(hints), Progress::new());
        [None, None, Some(ms(7)), None, None].map(|hint| {
            match call.decide(&rules, failure().hint(hint.map(Hint::After)), || true) {
                Verdict::After(delay) => delay.as_millis(),
                Verdict::Stop(end) => panic!("{end}"),
            }
        })
    };
    assert_eq!(delays(Hints::default()), [100, 200, 7, 800, 1_600]);
    assert_eq!(delays(Hints::grpc()), [100, 200, 7, 100, 200]);
}

#[test]
fn without_a_limit_attempts_go_on() {
    let (rules, mut call) = (rules(u32::MAX), Progress::new());
    for attempt in 2..10_000 {
        let verdict = call.decide(&rules, failure(), || true);
        assert!(matches!(verdict, Verdict::After(_)), "{attempt}");
        assert_eq!(call.attempts(), attempt);
    }
}
