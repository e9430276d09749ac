//! Where the time comes from: any function that gives an instant.

use std::{
    future::pending,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use portcullis::{
    Circuit, CircuitBreakerConfig, Circuits, Error, Options, Reason, Sleep, State, clock, deadline,
};
use tokio::time::advance;

use super::{SECOND, after};

fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("db")
        .no_failure_rate()
        .consecutive_failures(1)
        .sleep(Sleep::fixed(10 * SECOND))
}

/// Seconds that the clock below shows since it was first read, and how often it was read. The tests of a
/// program run at once, so only one of them uses it.
static SHOWS: AtomicU64 = AtomicU64::new(0);
static READ: AtomicU64 = AtomicU64::new(0);

fn by_hand() -> Instant {
    static BEGAN: LazyLock<Instant> = LazyLock::new(clock::tokio_now);
    READ.fetch_add(1, SeqCst);
    *BEGAN + Duration::from_secs(SHOWS.load(SeqCst))
}

#[tokio::test(start_paused = true)]
async fn a_clock_of_ones_own_is_the_only_one_that_counts() {
    let options = Options::new().clock(by_hand);
    let circuit = Circuit::with(config().slow_calls(SECOND, 1.0), options.clone()).unwrap();
    let shows = |seconds| SHOWS.store(seconds, SeqCst);
    let call = circuit.try_acquire().unwrap();
    advance(3_600 * SECOND).await;
    call.success();
    assert_eq!(circuit.snapshot().slow, 0, "tokio's hour is none");
    let call = circuit.try_acquire().unwrap();
    shows(2);
    call.failure();
    assert_eq!((circuit.snapshot().slow, circuit.state()), (1, State::Open));
    advance(3_600 * SECOND).await;
    assert_eq!(circuit.snapshot().time_to_half_open, Some(10 * SECOND));
    shows(11);
    let refused = circuit.try_acquire().unwrap_err();
    assert_eq!((refused.reason(), refused.retry_after()), (Reason::CircuitOpen, Some(SECOND)));
    // A clock that stands or goes back does no harm.
    shows(5);
    assert_eq!(circuit.try_acquire().unwrap_err().retry_after(), Some(7 * SECOND));
    shows(12);
    circuit.try_acquire().expect("the wait is over").success();

    // Keyed circuits read it as well, those to come included.
    let circuits: Circuits<u32> = Circuits::new(config(), 4, options.clone()).unwrap();
    circuits.circuit(1).unwrap().open();
    shows(22);
    assert!(circuits.circuit(1).unwrap().try_acquire().is_ok());

    // A decision that does not depend on the time does not ask for it.
    let plain = Circuit::with(config(), options).unwrap();
    let read = READ.load(SeqCst);
    for _ in 0..100 {
        drop(plain.try_acquire());
        let _ = plain.state();
    }
    assert_eq!(READ.load(SeqCst), read);
    // Deadlines stay tokio's instants, and are held against this clock.
    let circuit = Circuit::with(config(), Options::new().clock(by_hand)).unwrap();
    let limit = by_hand() + SECOND;
    let call = deadline::enter(limit, || circuit.run(pending::<Result<(), Error<()>>>()));
    advance(3_600 * SECOND).await;
    drop(call);
    assert_eq!(circuit.state(), State::Closed);
    let call = deadline::enter(limit, || circuit.run(pending::<Result<(), Error<()>>>()));
    shows(23);
    drop(call);
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn the_default_clock_is_tokios() {
    assert_eq!(clock::tokio_now(), after(0));
    let before = clock::tokio_now();
    advance(7 * SECOND).await;
    assert_eq!(clock::tokio_now(), before + 7 * SECOND);
    let circuit = Circuit::with(config(), Options::new().clock(clock::tokio_now)).unwrap();
    circuit.open();
    advance(4 * SECOND).await;
    assert_eq!(circuit.snapshot().time_to_half_open, Some(6 * SECOND));
}

#[test]
fn outside_of_a_runtime_the_default_clock_runs() {
    let first = clock::tokio_now();
    assert!((0..1_000).all(|_| clock::tokio_now() >= first));
    let circuit = Circuit::new(config()).expect("a valid config");
    assert_eq!(circuit.call(|| Ok::<_, Error<()>>(1)), Ok(1));
    circuit.open_for(Duration::ZERO);
    assert_eq!(circuit.call(|| Ok::<_, Error<()>>(2)), Ok(2));
    assert_eq!(circuit.state(), State::HalfOpen);
}

#[cfg(feature = "quanta")]
#[test]
fn the_fast_clock_never_goes_back() {
    let mut last = clock::quanta_now();
    for _ in 0..100_000 {
        let now = clock::quanta_now();
        assert!(now >= last, "{now:?} after {last:?}");
        last = now;
    }
    // Nor does what one thread reads after another.
    for _ in 0..50 {
        let there = std::thread::spawn(clock::quanta_now).join().expect("no panic");
        assert!(there >= last);
        last = clock::quanta_now();
        assert!(last >= there);
    }
}

#[cfg(feature = "quanta")]
#[test]
fn a_circuit_works_on_the_fast_clock() {
    let options = Options::new().clock(clock::quanta_now);
    let circuit =
        Circuit::with(config().slow_calls(3_600 * SECOND, 1.0), options).expect("a valid config");
    assert_eq!(circuit.call(|| Ok::<_, Error<()>>(1)), Ok(1));
    assert_eq!(circuit.call(|| Err::<(), _>(Error::Inner(()))), Err(Error::Inner(())));
    assert_eq!((circuit.state(), circuit.snapshot().slow), (State::Open, 0));
    circuit.open_for(3_600 * SECOND);
    let left = || circuit.snapshot().time_to_half_open.expect("open");
    let (first, second) = (left(), left());
    assert!(second <= first && first <= 3_600 * SECOND, "{first:?}, {second:?}");
    assert_eq!(circuit.try_acquire().expect_err("open").reason(), Reason::CircuitOpen);
    circuit.open_for(Duration::ZERO);
    circuit.try_acquire().expect("no wait is over at once").success();
    assert_eq!(circuit.state(), State::HalfOpen);
}
