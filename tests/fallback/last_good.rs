//! The last good answer: when it is given, how its age is seen, and what is remembered.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use portcullis::{Error, FallbackLayer, LastGood, LastGoodConfig, Options, Outcome, Served, clock};
use tokio::time::advance;
use tower::Layer;

use crate::{MINUTE, SECOND, TestError, Told, ask, down, kept, support::Fault};

const NANO: Duration = Duration::from_nanos(1);

fn all(key: &u32) -> Option<u32> {
    Some(*key)
}

#[tokio::test(start_paused = true)]
async fn its_age_is_in_the_callers_hands() {
    let told = Told::to("fresh");
    let mut service = FallbackLayer::last_good(kept(), all).unwrap().layer(told.clone());
    assert_eq!(ask(&mut service, 1), Ok(Served::Fresh("fresh")));
    told.fails("down");
    for age in [0, 20, 40].map(|seconds| seconds * SECOND) {
        assert_eq!(ask(&mut service, 1), Ok(Served::LastGood { value: "fresh", age }));
        advance(20 * SECOND).await;
    }
    assert_eq!(ask(&mut service, 1), down(), "a minute old");
    told.answers("newer");
    assert_eq!(ask(&mut service, 1), Ok(Served::Fresh("newer")));
    told.fails("down");
    advance(SECOND).await;
    assert_eq!(ask(&mut service, 1).unwrap().age(), Some(SECOND), "the age of the newest");
    let now = service.handle().snapshot();
    assert_eq!((now.by_last_good, now.unanswered, now.keys), (4, 1, 1));
}

/// Younger than the maximum age, to the nanosecond: at that age it is too old.
#[tokio::test(start_paused = true)]
async fn the_boundary_is_exclusive() {
    for max_age in [NANO, Duration::from_millis(7), MINUTE] {
        let prices = LastGood::new(LastGoodConfig::new("spare", max_age)).unwrap();
        prices.put(1, 'a');
        advance(max_age - NANO).await;
        let answer = prices.call(1, || Err(()));
        assert_eq!(answer, Ok(Served::LastGood { value: 'a', age: max_age - NANO }));
        advance(NANO).await;
        assert_eq!(prices.call(1, || Err(())), Err(()), "exactly {max_age:?} old");
        assert_eq!(prices.get(&1).unwrap().1, max_age, "it is still there to be looked at");
    }
}

#[tokio::test(start_paused = true)]
async fn an_age_of_any_length_works() {
    for max_age in
        [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(20_000_000_000)]
    {
        let prices = LastGood::new(LastGoodConfig::new("spare", max_age)).unwrap();
        prices.put(1, 'a');
        let age = Duration::from_secs(3_600 * 24 * 365);
        advance(age).await;
        assert_eq!(prices.call(1, || Err(())), Ok(Served::LastGood { value: 'a', age }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_mark_is_written_into_old_answers_only() {
    let told = Told::to(("tea", None));
    let layer = FallbackLayer::last_good(kept(), all)
        .unwrap()
        .mark(|(what, _): (&str, Option<Duration>), age| (what, Some(age)));
    let mut service = layer.layer(told.clone());
    assert_eq!(ask(&mut service, 1), Ok(("tea", None)));
    told.fails("down");
    advance(9 * SECOND).await;
    assert_eq!(ask(&mut service, 1), Ok(("tea", Some(9 * SECOND))));
    // What is kept is the answer, not the marked one: marks do not add up.
    advance(9 * SECOND).await;
    assert_eq!(ask(&mut service, 1), Ok(("tea", Some(18 * SECOND))));
    told.answers(("coffee", None));
    assert_eq!(ask(&mut service, 1), Ok(("coffee", None)));
}

/// A response that is not `Clone`, of which only a part is kept.
#[derive(Debug, PartialEq)]
struct Page {
    text: String,
    note: String,
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_not_clone_is_kept_in_part() {
    let healthy = Arc::new(AtomicU32::new(1));
    let switch = Arc::clone(&healthy);
    let layer = FallbackLayer::last_good(kept(), all).unwrap().keep(
        |page: &Page| page.text.clone(),
        |text, age| Page { text: text.clone(), note: format!("{} s old", age.as_secs()) },
    );
    let pages = layer.handle().clone();
    let mut service = layer.layer(tower::service_fn(move |_: u32| {
        let healthy = switch.load(SeqCst) == 1;
        async move {
            let page = || Page { text: "hello".to_owned(), note: "new".to_owned() };
            if healthy { Ok(page()) } else { down() }
        }
    }));
    assert_eq!(ask(&mut service, 1).unwrap().note, "new");
    healthy.store(0, SeqCst);
    advance(5 * SECOND).await;
    let page = Page { text: "hello".to_owned(), note: "5 s old".to_owned() };
    assert_eq!(ask(&mut service, 1), Ok(page));
    assert_eq!(*pages.get(&1).unwrap().0, "hello");
}

/// Only a success is worth remembering: what is ignored passes and leaves the last good one.
#[tokio::test(start_paused = true)]
async fn only_good_answers_are_remembered() {
    let told = Told::to(200_u32);
    let layer = FallbackLayer::last_good(kept(), all).unwrap().classify(
        |result: &Result<u32, TestError>| match result {
            Ok(200..300) => Outcome::Success,
            Ok(400..500) => Outcome::Ignored,
            Ok(_) | Err(_) => Outcome::Failure,
        },
    );
    let mut service = layer.layer(told.clone());
    let mut served = |status: u32| {
        told.answers(status);
        ask(&mut service, 1).unwrap()
    };
    assert_eq!(served(503), Served::Fresh(503), "nothing to answer with: the response itself");
    assert_eq!(served(404), Served::Fresh(404));
    assert_eq!(served(503), Served::Fresh(503), "what is ignored is not remembered");
    assert_eq!(served(204), Served::Fresh(204));
    assert_eq!(served(503).into_inner(), 204);
    assert_eq!(served(404), Served::Fresh(404), "and passes though there is a good one");
    assert_eq!(served(500), Served::LastGood { value: 204, age: Duration::ZERO });
    assert_eq!(served(201), Served::Fresh(201));
    assert_eq!(served(500).into_inner(), 201);
}

/// An answer given again is not a new one: its age goes on, and ends.
#[tokio::test(start_paused = true)]
async fn giving_it_again_does_not_make_it_younger() {
    let prices = LastGood::new(kept()).unwrap();
    prices.put(1, 'a');
    for second in 0..60 {
        assert_eq!(prices.call(1, || Err(())).unwrap().age(), Some(second * SECOND));
        advance(SECOND).await;
    }
    assert_eq!(prices.call(1, || Err(())), Err(()));
}

thread_local! {
    static AHEAD: Cell<i64> = const { Cell::new(0) };
}

/// tokio's clock, moved by so many seconds.
fn jumpy() -> Instant {
    let moved = AHEAD.get();
    let by = Duration::from_secs(moved.unsigned_abs());
    let now = clock::tokio_now();
    if moved < 0 { now.checked_sub(by).unwrap_or(now) } else { now + by }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_makes_nothing_panic_and_nothing_younger_than_new() {
    advance(1_000 * SECOND).await;
    let prices = LastGood::with(kept(), Options::new().clock(jumpy)).unwrap();
    prices.put(1, 'a');
    // Ahead by an hour: too old. Back again: as old as it was.
    AHEAD.set(3_600);
    assert_eq!(prices.call(1, || Err(())), Err(()));
    AHEAD.set(0);
    assert_eq!(prices.call(1, || Err(())).unwrap().age(), Some(Duration::ZERO));
    // Behind its own making, and behind the making of the policy: no age.
    for behind in [-1, -30, -900] {
        AHEAD.set(behind);
        assert_eq!(prices.call(1, || Err(())).unwrap().age(), Some(Duration::ZERO));
    }
    // One that was remembered while the clock was ahead is replaced as any other.
    AHEAD.set(3_600);
    prices.put(1, 'b');
    AHEAD.set(0);
    assert_eq!(prices.call(1, || Err(())).unwrap().into_inner(), 'b');
    assert_eq!(prices.call(1, || Ok::<_, ()>('c')), Ok(Served::Fresh('c')));
    advance(SECOND).await;
    let answer = prices.call(1, || Err(()));
    assert_eq!(answer, Ok(Served::LastGood { value: 'c', age: SECOND }));
}

/// A value that must not be cloned more often than is needed.
#[derive(Debug)]
struct Counted(Arc<AtomicU32>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, SeqCst);
        Self(Arc::clone(&self.0))
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_cloned_once_to_be_kept_and_once_to_be_given() {
    let clones = Arc::new(AtomicU32::new(0));
    let prices = LastGood::new(kept()).unwrap();
    let mut at = 0;
    let mut more = || {
        let now = clones.load(SeqCst);
        now - std::mem::replace(&mut at, now)
    };
    for _ in 0..3 {
        prices.call(1, || Ok::<_, ()>(Counted(Arc::clone(&clones)))).unwrap();
        assert_eq!(more(), 1);
        prices.call(1, || Err(())).unwrap();
        assert_eq!(more(), 1);
        assert!(prices.get(&1).is_some() && prices.call(2, || Err(())).is_err());
        assert_eq!(more(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_held_by_somebody_is_replaced_all_the_same() {
    let prices = LastGood::new(kept()).unwrap();
    prices.put(1, "old".to_owned());
    let (held, _) = prices.get(&1).unwrap();
    prices.put(1, "new".to_owned());
    assert_eq!((held.as_str(), prices.get(&1).unwrap().0.as_str()), ("old", "new"));
    let failed: Result<_, TestError> = prices.call(1, || Err(Error::Inner(Fault("down"))));
    assert_eq!(failed.unwrap().into_inner(), "new");
}

#[test]
fn served_says_what_it_is() {
    let (fresh, old) = (Served::Fresh(3), Served::LastGood { value: 4, age: SECOND });
    assert_eq!((fresh.is_fresh(), fresh.age(), *fresh.get()), (true, None, 3));
    assert_eq!((old.is_fresh(), old.age(), *old.get()), (false, Some(SECOND), 4));
    assert_eq!(fresh.map(|n| n * 2), Served::Fresh(6));
    assert_eq!(old.map(|n| n.to_string()), Served::LastGood { value: "4".to_owned(), age: SECOND });
}
