//! The ambient deadline: what the service below sees, and which of several acts.

use std::{future::Future, sync::Mutex};

use portcullis::{Error, Reason, clock, deadline};

use super::*;

/// The deadline that a call and each of its polls saw, as time from a moment.
#[derive(Debug, Default)]
struct Seen(Mutex<Vec<Option<Duration>>>);

impl Seen {
    fn look(&self, began: std::time::Instant) {
        self.0.lock().unwrap().push(deadline::current().map(|at| at - began));
    }

    fn take(&self) -> Vec<Option<Duration>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A service that looks at the deadline in its call and in each of three polls.
fn looking(seen: &Arc<Seen>) -> impl Service<(), Response = (), Error = Refused> + Clone {
    let (seen, began) = (Arc::clone(seen), clock::tokio_now());
    service_fn(move |()| {
        seen.look(began);
        let (seen, mut polls) = (Arc::clone(&seen), 0);
        poll_fn(move |cx| {
            seen.look(began);
            polls += 1;
            if polls == 3 {
                return Poll::Ready(Ok(()));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    })
}

/// Runs under a deadline so many seconds from now, or under none.
async fn under<F: Future>(outer: Option<u32>, future: F) -> F::Output {
    match outer {
        Some(seconds) => deadline::within(seconds * SECOND, future).await,
        None => future.await,
    }
}

fn seconds(seconds: u32) -> TimeoutConfig {
    TimeoutConfig::new("db", seconds * SECOND)
}

#[tokio::test(start_paused = true)]
async fn call_and_polls_see_the_earlier_deadline_and_it_is_put_back() {
    let unlimited = || TimeoutConfig::per_request("db");
    for (outer, config, holds) in [
        (None, unlimited(), None),
        (None, seconds(5), Some(5)),
        (Some(3), unlimited(), Some(3)),
        (Some(3), seconds(5), Some(3)),
        (Some(5), seconds(5), Some(5)),
        (Some(9), seconds(5), Some(5)),
        // None that could be an instant is none.
        (None, TimeoutConfig::new("db", Duration::MAX), None),
        (Some(3), TimeoutConfig::new("db", Duration::MAX), Some(3)),
    ] {
        let what = format!("{outer:?} outside {config:?}");
        let seen = Arc::new(Seen::default());
        let mut service = TimeoutLayer::new(config.clone()).unwrap().layer(looking(&seen));
        let before = under(outer, async {
            let before = deadline::current();
            service.call(()).await.unwrap();
            assert_eq!(deadline::current(), before, "put back: {what}");
            before
        });
        assert_eq!(before.await.is_some(), outer.is_some());
        let holds = holds.map(|holds: u32| holds * SECOND);
        assert_eq!(seen.take(), [holds; 4], "{what}");

        // By the handle, only polls happen under it: the future was there before.
        let time_limit = TimeLimit::new(config).unwrap();
        let mut service = looking(&seen);
        under(outer, async { time_limit.run(service.call(())).await.unwrap() }).await;
        let call = outer.map(|outer| outer * SECOND);
        assert_eq!(seen.take(), [call, holds, holds, holds], "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_at_the_place_of_polling_that_is_earlier_wins_there() {
    let seen = Arc::new(Seen::default());
    let mut service = limit(5 * SECOND).layer().layer(looking(&seen));
    let call = service.call(());
    under(Some(2), call).await.unwrap();
    let [made, polled] = [5, 2].map(|seconds| Some(seconds * SECOND));
    assert_eq!(seen.take(), [made, polled, polled, polled]);
    // And what is cleared stays so: the limit is the timeout's own.
    under(Some(2), deadline::clear(async { service.call(()).await.unwrap() })).await;
    assert_eq!(seen.take(), [Some(5 * SECOND); 4]);
}

/// Whose time is over first cuts; where an outer deadline is the earlier one, the inner timeout, which
/// sees it, acts at it.
#[tokio::test(start_paused = true)]
async fn nested_timeouts_cut_at_the_earliest() {
    let named =
        |name, seconds: u32| TimeoutLayer::new(TimeoutConfig::new(name, seconds * SECOND)).unwrap();
    for (outer, inner) in [(1, 5), (5, 1), (3, 3)] {
        let (above, below) = (named("outer", outer), named("inner", inner));
        let stack = above.layer(below.layer(sleepy()));
        let (cut, after) = timed(stack.oneshot(60 * SECOND)).await;
        assert_eq!(after, outer.min(inner) * SECOND);
        let cut = refused(cut);
        assert_eq!((cut.reason(), cut.policy()), (Reason::Timeout, "inner"));
        // The one that acted counts it; to the other it is an answer.
        let counts = [&above, &below].map(|layer| layer.time_limit().snapshot().timed_out);
        assert_eq!(counts, [0, 1]);
    }
    // One whose limit would end later still cuts at a deadline that nobody else enforces.
    let (cut, after) = timed(under(Some(2), async {
        named("inner", 60).layer(sleepy()).oneshot(50 * SECOND).await
    }))
    .await;
    assert_eq!((refused(cut).reason(), after), (Reason::Timeout, 2 * SECOND));
    // So does one without a limit of its own.
    let unlimited = TimeLimit::new(TimeoutConfig::per_request("db")).unwrap();
    let (cut, after) =
        timed(under(Some(2), async { unlimited.run(answers_after(50 * SECOND)).await })).await;
    assert_eq!((refused(cut).reason(), after), (Reason::Timeout, 2 * SECOND));
}

/// With a retry in between, a later attempt is cut by what is left of the whole, or refused.
#[tokio::test(start_paused = true)]
async fn a_later_attempt_has_what_is_left() {
    let attempt = TimeLimit::new(seconds(3).min_remaining(SECOND)).unwrap();
    let whole = limit(7 * SECOND);
    let attempts = async {
        let mut took = Vec::new();
        for _ in 0..4 {
            let (cut, after) = timed(attempt.run(answers_after(60 * SECOND))).await;
            took.push((refused(cut).reason(), after));
            if took.last().is_some_and(|(_, after)| *after < 3 * SECOND) {
                break;
            }
        }
        Ok::<_, Refused>(took)
    };
    let cut = Reason::Timeout;
    let took = whole.run(attempts).await.unwrap();
    assert_eq!(took, [(cut, 3 * SECOND), (cut, 3 * SECOND), (cut, SECOND)]);

    let whole = limit(6_500 * MS);
    let attempts = async {
        let mut reasons = Vec::new();
        for _ in 0..3 {
            reasons.push(refused(attempt.run(answers_after(60 * SECOND)).await));
        }
        Ok::<_, Refused>(reasons.iter().map(Rejection::reason).collect::<Vec<_>>())
    };
    let (reasons, after) = timed(whole.run(attempts)).await;
    assert_eq!(reasons.unwrap(), [cut, cut, Reason::DeadlineTooShort]);
    assert_eq!(after, 6 * SECOND, "half a second is not worth a call");
}

/// A policy below sees the deadline as passed in the last poll, and what it then gives is the answer.
#[tokio::test(start_paused = true)]
async fn a_policy_below_can_hand_out_its_last_error_at_the_deadline() {
    let gives_up = poll_fn(|_| {
        let over = deadline::remaining() == Some(Duration::ZERO);
        if over {
            Poll::Ready(Err::<(), _>(Error::Inner("the last real error")))
        } else {
            Poll::Pending
        }
    });
    let (last, after) = timed(limit(SECOND).run(gives_up)).await;
    assert_eq!((last, after), (Err(Error::Inner("the last real error")), SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_panic_puts_the_outer_deadline_back() {
    let outer = clock::tokio_now() + 9 * SECOND;
    let (service, probe) = strict();
    let mut service = limit(SECOND).layer().layer(service);
    let caller = Caller::new();
    for answer in [Answer::PANICS_IN_CALL, Answer::PANICS_IN_POLL] {
        probe.answer(answer);
        assert!(caller.ready(&mut service).is_ready());
        deadline::enter(outer, || {
            let text = support::panic_of(|| caller.finish(&mut Box::pin(service.call(Ask(0)))));
            assert_eq!((text.as_str(), deadline::current()), (support::ON_DEMAND, Some(outer)));
        });
    }
    assert_eq!(deadline::current(), None);
}

#[tokio::test(start_paused = true)]
async fn in_shadow_and_disabled_no_deadline_is_set() {
    let seen = Arc::new(Seen::default());
    let time_limit = limit(5 * SECOND);
    let mut service = time_limit.layer().layer(looking(&seen));
    for silence in [TimeLimit::shadow, TimeLimit::disable] {
        silence(&time_limit);
        service.call(()).await.unwrap();
        assert_eq!(seen.take(), [None; 4]);
        // What holds already is none of ours.
        under(Some(9), async { service.call(()).await.unwrap() }).await;
        assert_eq!(seen.take(), [Some(9 * SECOND); 4]);
    }
}

/// Also when it is polled once more before it is cut: what it sees then has passed.
#[tokio::test(start_paused = true)]
async fn the_last_poll_sees_the_deadline_as_well() {
    let (seen, began) = (Arc::new(Seen::default()), clock::tokio_now());
    let looks = Arc::clone(&seen);
    let hangs = poll_fn(move |_| {
        looks.look(began);
        Poll::Pending::<Result<(), Refused>>
    });
    assert!(limit(SECOND).run(hangs).await.is_err());
    assert_eq!(seen.take(), [Some(SECOND); 3]);
}
