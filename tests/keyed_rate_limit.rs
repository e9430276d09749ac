//! Rate limits by key: a bucket for each, never more of them than there may be, and none dropped that is
//! not full.
//!
//! What a table does with keys it knows is here; what happens at its bound is in `keyed_rate_limit/cap.rs`,
//! the layer in `layer.rs`, operators in `operators.rs`, user code that panics in `misuse.rs`, threads in
//! `threads.rs`, the model in `model.rs`, and what rivals get wrong in `rivals.rs`.

mod support;

#[path = "keyed_rate_limit/cap.rs"]
mod cap;
#[path = "keyed_rate_limit/layer.rs"]
mod layer;
#[path = "keyed_rate_limit/misuse.rs"]
mod misuse;
#[path = "keyed_rate_limit/model.rs"]
mod model;
#[path = "keyed_rate_limit/operators.rs"]
mod operators;
#[path = "keyed_rate_limit/rivals.rs"]
mod rivals;
#[path = "keyed_rate_limit/threads.rs"]
mod threads;

use std::time::Duration;

use portcullis::{
    Event, Keys, Options, PolicyKind, RateLimitConfig, RateLimiters, Reason, Rejection,
};
use support::Told;
use tokio::time::advance;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Ten a second, two at once.
fn config() -> RateLimitConfig {
    RateLimitConfig::per_second("clients", 10).burst(2)
}

fn limiters(keys: impl Into<Keys>) -> RateLimiters<u32> {
    RateLimiters::new(config(), keys, Options::new()).expect("a valid config")
}

fn observed(keys: impl Into<Keys>) -> (RateLimiters<u32>, Told) {
    let told = Told::default();
    (RateLimiters::new(config(), keys, told.options()).expect("a valid config"), told)
}

/// What the observer of a call that is let in is told.
const ADMITTED: Event =
    Event::Admitted { policy: "clients", kind: PolicyKind::RateLimit, waited: Duration::ZERO };
const UNTRACKED: Event = Event::Untracked { policy: "clients", kind: PolicyKind::RateLimit };

#[track_caller]
fn refused(result: Result<(), Rejection>, reason: Reason, after: Option<Duration>) {
    let rejection = result.expect_err("a refusal");
    assert_eq!(
        (rejection.reason(), rejection.retry_after(), rejection.policy(), rejection.kind()),
        (reason, after, "clients", PolicyKind::RateLimit)
    );
    assert!(!rejection.attempted());
}

#[tokio::test(start_paused = true)]
async fn each_key_has_its_burst_and_then_its_rate() {
    let limiters = limiters(10);
    for key in [1, 2] {
        assert_eq!([(); 2].map(|()| limiters.try_acquire(&key)), [Ok(()); 2]);
        refused(limiters.try_acquire(&key), Reason::RateLimited, Some(100 * MS));
    }
    advance(99 * MS).await;
    refused(limiters.try_acquire(&1), Reason::RateLimited, Some(MS));
    advance(MS).await;
    assert_eq!(limiters.try_acquire(&1), Ok(()));
    refused(limiters.try_acquire(&1), Reason::RateLimited, Some(100 * MS));
    // The other has not spent its token, and saves no more than two.
    advance(SECOND).await;
    assert_eq!([(); 2].map(|()| limiters.try_acquire(&2)), [Ok(()); 2]);
    refused(limiters.try_acquire(&2), Reason::RateLimited, Some(100 * MS));
    assert_eq!(limiters.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn costs_are_taken_whole_or_not_at_all() {
    let limiters = limiters(10);
    assert_eq!(limiters.try_acquire_n(&1, 2), Ok(()));
    advance(100 * MS).await;
    refused(limiters.try_acquire_n(&1, 2), Reason::RateLimited, Some(100 * MS));
    assert_eq!((limiters.remaining(&1), limiters.reset_after(&1)), (1, Some(100 * MS)));
    assert_eq!(limiters.try_acquire(&1), Ok(()));
    // Nothing costs nothing, and what no wait can bring is refused for good; neither makes a key.
    for key in [1, 7] {
        assert_eq!(limiters.try_acquire_n(&key, 0), Ok(()));
        refused(limiters.try_acquire_n(&key, 3), Reason::OverBurst, None);
        refused(limiters.try_acquire_n(&key, u64::MAX), Reason::OverBurst, None);
    }
    assert_eq!((limiters.remaining(&1), limiters.remaining(&7), limiters.len()), (0, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn looking_changes_nothing_and_is_of_this_moment() {
    let limiters = limiters(10);
    assert_eq!((limiters.remaining(&1), limiters.reset_after(&1)), (2, Some(Duration::ZERO)));
    assert!(limiters.is_empty());
    limiters.try_acquire_n(&1, 2).expect("full");
    for (passed, remaining, reset, next) in [(0, 0, 200, 100), (99, 0, 101, 1), (1, 1, 100, 0)] {
        advance(passed * MS).await;
        for _ in 0..3 {
            let level = limiters.level(&1);
            assert_eq!((level.remaining, level.burst), (remaining, 2));
            assert_eq!(level.reset_after, Some(reset * MS));
            assert_eq!(level.next_after, Some(next * MS));
        }
    }
    advance(SECOND).await;
    assert_eq!((limiters.remaining(&1), limiters.reset_after(&1)), (2, Some(Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn a_removed_key_is_a_new_one() {
    let limiters = limiters(2);
    limiters.try_acquire_n(&1, 2).expect("full");
    limiters.try_acquire_n(&2, 2).expect("full");
    assert!(limiters.remove(&1));
    assert!(!limiters.remove(&1));
    assert_eq!((limiters.len(), limiters.remaining(&1), limiters.remaining(&2)), (1, 2, 0));
    // Its place is free for another.
    limiters.try_acquire_n(&3, 2).expect("full");
    assert_eq!((limiters.len(), limiters.remaining(&3)), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn clones_share_the_table_and_keys_are_found_by_what_they_borrow() {
    let limiters: RateLimiters<String> =
        RateLimiters::new(config(), 4, Options::new()).expect("a valid config");
    let clone = limiters.clone();
    clone.try_acquire_n("ada", 2).expect("full");
    refused(limiters.try_acquire("ada"), Reason::RateLimited, Some(100 * MS));
    assert_eq!((limiters.remaining("ada"), limiters.remaining("grace")), (0, 2));
    assert!(limiters.remove("ada") && clone.is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_rate_the_burst_is_all_there_ever_is() {
    let config = RateLimitConfig::new("clients", 0, SECOND).burst(2);
    let limiters = RateLimiters::new(config, 2, Options::new()).expect("a valid config");
    limiters.try_acquire_n(&1_u32, 2).expect("full");
    advance(1_000_000 * SECOND).await;
    refused(limiters.try_acquire(&1), Reason::RateLimited, None);
    let level = limiters.level(&1);
    assert_eq!((level.reset_after, level.next_after), (None, None));
    // Such a bucket is never full again: it is kept, and what else comes shares the overflow bucket.
    limiters.try_acquire_n(&2, 1).expect("full");
    limiters.try_acquire_n(&3, 2).expect("the shared bucket is full");
    refused(limiters.try_acquire(&4), Reason::RateLimited, None);
    assert_eq!((limiters.len(), limiters.remaining(&2)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_zero_lets_nothing_pass() {
    let config = config().burst(0);
    let limiters = RateLimiters::new(config, 2, Options::new()).expect("a valid config");
    refused(limiters.try_acquire(&1_u32), Reason::OverBurst, None);
    assert!(limiters.is_empty() && !limiters.explain().admits && !limiters.explain_key(&1).admits);
}

/// Where a nanosecond is a million units, time is counted anew every few minutes.
#[tokio::test(start_paused = true)]
async fn minutes_at_an_awkward_rate_change_nothing() {
    let config = RateLimitConfig::per_second("clients", 999_983).burst(2);
    let limiters = RateLimiters::new(config, 1_000, Options::new()).expect("a valid config");
    for _ in 0..50 {
        advance(97 * SECOND + Duration::from_nanos(13)).await;
        for key in 0..20_u32 {
            assert_eq!(limiters.try_acquire_n(&key, 2), Ok(()));
            // Not to be divided: a nanosecond more than a millionth of a second.
            refused(
                limiters.try_acquire(&key),
                Reason::RateLimited,
                Some(Duration::from_nanos(1_001)),
            );
        }
        advance(Duration::from_nanos(1_001)).await;
        for key in 0..20 {
            assert_eq!(limiters.try_acquire(&key), Ok(()));
            refused(
                limiters.try_acquire(&key),
                Reason::RateLimited,
                Some(Duration::from_nanos(1_000)),
            );
        }
    }
    // Neither is the bucket that keys without room share in another time.
    let one = RateLimiters::new(limiters.config(), 1, Options::new()).expect("a valid config");
    for _ in 0..5 {
        one.try_acquire_n(&1_u32, 2).expect("full");
        one.try_acquire_n(&2, 2).expect("the shared bucket is full");
        refused(one.try_acquire(&3), Reason::RateLimited, Some(Duration::from_nanos(1_001)));
        advance(Duration::from_nanos(1_000)).await;
        refused(one.try_acquire(&3), Reason::RateLimited, Some(Duration::from_nanos(1)));
        advance(200 * SECOND).await;
    }
    // Longer than can be counted in units at all.
    advance(Duration::from_secs(300 * 365 * 86_400)).await;
    assert_eq!(limiters.remaining(&1), 2);
    assert_eq!(limiters.try_acquire_n(&1, 2), Ok(()));
    assert!(limiters.try_acquire(&1).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_call_tells_what_became_of_it() {
    let (limiters, told) = observed(10);
    assert_eq!(told.take(), []);
    limiters.try_acquire_n(&1, 2).expect("full");
    assert_eq!(told.take(), [ADMITTED]);
    let rejection = limiters.try_acquire(&1).expect_err("empty");
    assert_eq!(told.take(), [Event::Rejected(rejection)]);
    // Looking, forgetting and configuring are no calls.
    limiters.remaining(&1);
    limiters.remove(&1);
    limiters.reconfigure(config()).expect("valid");
    limiters.reset();
    limiters.shrink();
    assert_eq!(told.take(), []);
}
