//! What a policy takes from around it: the deadline (here), the clock (`ambient/clocks.rs`), what a
//! timeout above it sets (`ambient/timeouts.rs`), and the errors that its refusals travel in
//! (`ambient/errors.rs`).

#[path = "ambient/clocks.rs"]
mod clocks;
#[path = "ambient/errors.rs"]
mod errors;
mod support;
#[path = "ambient/timeouts.rs"]
mod timeouts;

use std::{
    future::{pending, poll_fn, ready},
    task::Poll,
    time::{Duration, Instant},
};

use portcullis::{Circuit, CircuitBreakerConfig, Error, State, Window, clock, deadline};
use support::{Answer, Ask, Caller, panic_of, strict};
use tokio::time::advance;
use tower::{Layer, Service};

const NS: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);

/// The moment so many seconds from now.
fn after(seconds: u64) -> Instant {
    clock::tokio_now() + SECOND * seconds as u32
}

/// The deadline that holds where this is polled.
async fn seen() -> Option<Instant> {
    deadline::current()
}

#[tokio::test(start_paused = true)]
async fn without_a_scope_there_is_none() {
    assert_eq!((deadline::current(), deadline::remaining()), (None, None));
    assert_eq!(deadline::carry(seen()).await, None);
    assert_eq!(deadline::clear(seen()).await, None);
}

#[tokio::test(start_paused = true)]
async fn nesting_only_shrinks() {
    let (near, middle, far) = (after(1), after(5), after(9));
    let nested = |outer, inner| {
        deadline::scope(outer, async move {
            let inside = deadline::scope(inner, seen()).await;
            (inside, deadline::current())
        })
    };
    for (outer, inner, inside) in [(middle, near, near), (middle, far, middle), (near, near, near)]
    {
        assert_eq!(nested(outer, inner).await, (Some(inside), Some(outer)));
        let entered = deadline::enter(outer, || {
            (deadline::enter(inner, deadline::current), deadline::current())
        });
        assert_eq!(entered, (Some(inside), Some(outer)));
    }
    // Made under one deadline and polled under another, the earliest of the three holds.
    for (made, own, polled) in [(1, 5, 9), (5, 1, 9), (9, 5, 1), (5, 9, 1), (9, 1, 5), (1, 9, 5)] {
        let (made, own, polled) = (after(made), after(own), after(polled));
        let scoped = deadline::enter(made, || deadline::scope(own, seen()));
        let least = made.min(own).min(polled);
        assert_eq!(deadline::scope(polled, scoped).await, Some(least));
    }
    assert_eq!(deadline::current(), None);
}

#[tokio::test(start_paused = true)]
async fn within_counts_from_where_it_is_made() {
    let now = clock::tokio_now();
    let limited =
        deadline::within(2 * SECOND, async { (deadline::current(), deadline::remaining()) });
    advance(SECOND / 2).await;
    assert_eq!(limited.await, (Some(now + 2 * SECOND), Some(SECOND * 3 / 2)));
    let counting = deadline::within(2 * SECOND, async {
        let mut left = Vec::new();
        for _ in 0..4 {
            left.push(deadline::remaining());
            advance(SECOND).await;
        }
        left
    });
    // Passed is zero, not nothing.
    let left = [2, 1, 0, 0].map(|seconds| Some(SECOND * seconds));
    assert_eq!(counting.await, left);
    assert_eq!(deadline::within(Duration::ZERO, seen()).await, Some(clock::tokio_now()));
}

#[tokio::test(start_paused = true)]
async fn a_limit_without_an_end_sets_none_and_keeps_the_outer_one() {
    assert_eq!(deadline::within(Duration::MAX, seen()).await, None);
    let outer = after(3);
    let nested = deadline::scope(outer, async { deadline::within(Duration::MAX, seen()).await });
    assert_eq!(nested.await, Some(outer));
    // As far as there are instants, a deadline is one.
    let century = 100 * 365 * 86_400 * SECOND;
    let far = deadline::within(century, async { deadline::remaining() }).await;
    assert_eq!(far, Some(century));
    let past = clock::tokio_now() - SECOND;
    let (current, left) = deadline::enter(past, || (deadline::current(), deadline::remaining()));
    assert_eq!((current, left), (Some(past), Some(Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn work_that_is_cleared_outlives_its_caller() {
    let outer = after(3);
    deadline::scope(outer, async {
        assert_eq!(deadline::clear(seen()).await, None);
        assert_eq!(deadline::current(), Some(outer), "only inside");
        let own = after(60);
        let shared = deadline::clear(async { deadline::scope(own, seen()).await });
        assert_eq!(shared.await, Some(own), "it may set one of its own");
        // Made anywhere, cleared wherever it is polled.
        let cleared = deadline::enter(own, || deadline::clear(seen()));
        assert_eq!(cleared.await, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_spawned_task_gets_what_is_carried_to_it() {
    let limit = after(3);
    deadline::scope(limit, async {
        assert_eq!(tokio::spawn(seen()).await.unwrap(), None, "a task inherits nothing");
        assert_eq!(tokio::spawn(deadline::carry(seen())).await.unwrap(), Some(limit));
        let later = tokio::spawn(deadline::carry(async {
            tokio::task::yield_now().await;
            (deadline::current(), deadline::scope(after(9), seen()).await)
        }));
        assert_eq!(later.await.unwrap(), (Some(limit), Some(limit)));
        // Where an earlier one holds, that wins.
        let near = after(1);
        assert_eq!(deadline::scope(near, deadline::carry(seen())).await, Some(near));
    })
    .await;
    // Nothing is carried from nowhere, and nothing hides what holds at the place.
    let (nothing, there) = (deadline::carry(seen()), after(2));
    assert_eq!(deadline::scope(there, nothing).await, Some(there));
}

/// A future under a deadline shares its thread with others: between two polls nothing of it is left.
#[tokio::test(start_paused = true)]
async fn a_deadline_holds_only_while_its_future_is_polled() {
    let (near, far) = (after(1), after(9));
    let steps = |polls: u32| {
        let mut left = polls;
        poll_fn(move |cx| {
            let holds = deadline::current();
            left -= 1;
            if left == 0 {
                return Poll::Ready(holds);
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    };
    let caller = Caller::new();
    let mut one = Box::pin(deadline::scope(near, steps(3)));
    let mut two = Box::pin(deadline::scope(far, deadline::clear(steps(3))));
    for _ in 0..2 {
        assert!(caller.poll(&mut one).is_pending());
        assert_eq!(deadline::current(), None);
        let polled = deadline::enter(near, || (caller.poll(&mut two), deadline::current()));
        assert_eq!(polled, (Poll::Pending, Some(near)), "put back, not taken away");
    }
    assert_eq!(caller.poll(&mut one), Poll::Ready(Some(near)));
    assert_eq!(caller.poll(&mut two), Poll::Ready(None));
    assert_eq!(deadline::current(), None);
}

#[tokio::test(start_paused = true)]
async fn a_panic_puts_the_outer_deadline_back() {
    let (outer, inner) = (after(9), after(1));
    let caller = Caller::new();
    let panics = || poll_fn(|_| -> Poll<()> { panic!("in poll") });
    deadline::enter(outer, || {
        for end in 0..4 {
            let text = match end {
                0 => panic_of(|| caller.poll(&mut Box::pin(deadline::scope(inner, panics())))),
                1 => panic_of(|| caller.poll(&mut Box::pin(deadline::clear(panics())))),
                2 => panic_of(|| caller.poll(&mut Box::pin(deadline::carry(panics())))),
                _ => panic_of(|| deadline::enter(inner, || -> () { panic!("in poll") })),
            };
            assert_eq!((text.as_str(), deadline::current()), ("in poll", Some(outer)));
        }
    });
    assert_eq!(deadline::current(), None);
}

#[tokio::test(start_paused = true)]
async fn threads_have_deadlines_of_their_own() {
    let limit = after(3);
    let elsewhere = deadline::enter(limit, || {
        std::thread::scope(|scope| {
            let new = scope.spawn(|| {
                let before = deadline::current();
                (before, deadline::enter(limit + SECOND, deadline::current))
            });
            (new.join().expect("no panic"), deadline::current())
        })
    });
    assert_eq!(elsewhere, ((None, Some(limit + SECOND)), Some(limit)));
}

fn circuit() -> Circuit {
    // A count window: hours pass here, and no result is to expire.
    let config = CircuitBreakerConfig::new("db").window(Window::count(1_000)).no_failure_rate();
    Circuit::new(config).expect("a valid config")
}

/// Drops a call that was admitted under this deadline after so long; whether that was a failure.
async fn dropped(circuit: &Circuit, deadline: Option<Instant>, waited: Duration) -> bool {
    let before = circuit.snapshot().failures;
    let hangs = || circuit.run(pending::<Result<(), Error<()>>>());
    let (service, probe) = strict();
    probe.answer(Answer::HANGS);
    let mut service = circuit.layer().layer(service);
    assert!(Caller::new().ready(&mut service).is_ready());
    let mut call = || (hangs(), service.call(Ask(0)), circuit.try_acquire().expect("closed"));
    let calls = match deadline {
        Some(deadline) => deadline::enter(deadline, call),
        None => call(),
    };
    advance(waited).await;
    drop(calls);
    let failures = circuit.snapshot().failures - before;
    assert!(matches!(failures, 0 | 3), "a future, a layer's call and a permit are alike");
    failures == 3
}

#[tokio::test(start_paused = true)]
async fn a_drop_is_a_failure_from_the_deadline_on() {
    let circuit = circuit();
    let limit = 2 * SECOND;
    for (waited, fails) in [
        (Duration::ZERO, false),
        (SECOND, false),
        (limit - NS, false),
        (limit, true),
        (limit + NS, true),
        (1_000 * limit, true),
    ] {
        let deadline = clock::tokio_now() + limit;
        assert_eq!(dropped(&circuit, Some(deadline), waited).await, fails, "after {waited:?}");
        assert!(!dropped(&circuit, None, waited).await, "without a deadline, after {waited:?}");
    }
    // One that has passed already, even before there was a circuit, makes any drop a failure.
    for long_ago in [Duration::ZERO, SECOND, 3_600 * SECOND] {
        let passed = clock::tokio_now() - long_ago;
        assert!(dropped(&circuit, Some(passed), Duration::ZERO).await, "{long_ago:?} ago");
    }
    let century = clock::tokio_now() + 100 * 365 * 86_400 * SECOND;
    assert!(!dropped(&circuit, Some(century), 3_600 * SECOND).await);
}

#[tokio::test(start_paused = true)]
async fn what_counts_is_the_deadline_at_admission() {
    let circuit = circuit();
    let failures = || circuit.snapshot().failures;
    let hangs = || circuit.run(pending::<Result<(), Error<()>>>());
    // Admitted before the scope is there: `run` decides when it is called.
    let early = deadline::within(SECOND, hangs());
    advance(2 * SECOND).await;
    drop(early);
    assert_eq!(failures(), 0);
    let inside = tokio::select! {
        biased;
        _ = deadline::within(SECOND, async { hangs().await }) => true,
        () = advance(SECOND) => false,
    };
    assert_eq!((inside, failures()), (false, 1));
    // Cleared, a call has no deadline; carried, it has its caller's.
    deadline::scope(after(1), async {
        let mut cleared = Box::pin(deadline::clear(async { hangs().await }));
        let mut carried = Box::pin(deadline::carry(async { hangs().await }));
        assert!(Caller::new().poll(&mut cleared).is_pending());
        assert!(Caller::new().poll(&mut carried).is_pending());
        advance(SECOND).await;
        drop(cleared);
        assert_eq!(failures(), 1);
        drop(carried);
        assert_eq!(failures(), 2);
    })
    .await;
    // An answer is an answer, however late: the deadline is about those that never came.
    let late = deadline::enter(after(1), || circuit.run(ready(Ok::<_, Error<()>>(()))));
    advance(5 * SECOND).await;
    assert_eq!((late.await, failures()), (Ok(()), 2));
    assert_eq!(circuit.snapshot().successes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_dropped_past_its_deadline_reopens_and_one_before_it_does_not() {
    let circuit = circuit();
    for (waited, state) in [(SECOND - NS, State::HalfOpen), (SECOND, State::Open)] {
        circuit.half_open();
        let probe = deadline::enter(after(1), || circuit.try_acquire().expect("a probe"));
        advance(waited).await;
        drop(probe);
        assert_eq!((circuit.state(), circuit.snapshot().probes_in_flight), (state, 0));
    }
}
