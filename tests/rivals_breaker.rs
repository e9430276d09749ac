//! What other breakers were found to get wrong, held one by one on the pure breaker with the time
//! given at each step. What needs a layer, a handle or a runtime is held elsewhere.

use std::time::{Duration, Instant};

use portcullis::{
    CircuitBreakerConfig, HalfOpen, Outcome, Reason, Sleep, State, Window,
    policy::breaker::{Breaker, Command},
};

const MS: Duration = Duration::from_millis(1);

fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("rival").sleep(Sleep::fixed(100 * MS))
}

struct Bench {
    breaker: Breaker,
    now: Instant,
}

impl Bench {
    fn new(config: CircuitBreakerConfig) -> Self {
        let now = portcullis::clock::tokio_now();
        Self { breaker: Breaker::new(config, now).expect("a valid configuration"), now }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// One call that takes no time; whether it was admitted.
    fn call(&self, outcome: Outcome) -> bool {
        let permit = self.breaker.admit(self.now);
        permit.map(|permit| self.breaker.settle(permit, outcome, None, self.now)).is_ok()
    }

    fn calls(&self, n: u32, outcome: Outcome) {
        for i in 0..n {
            assert!(self.call(outcome), "call {i} was refused");
        }
    }

    fn state(&self) -> State {
        self.breaker.state()
    }

    fn reason(&self) -> Option<Reason> {
        self.breaker.admit(self.now).err().map(|refusal| refusal.reason)
    }
}

/// B1. A window of counters that only grow needs as many failures as there were successes: after
/// 10 000 of these, 10 000 failures in a row to open a window of 10.
#[test]
fn a_count_window_slides() {
    let bench = Bench::new(config().window(Window::count(10)).minimum_calls(10));
    bench.calls(10_000, Outcome::Success);
    bench.calls(4, Outcome::Failure);
    assert_eq!(bench.state(), State::Closed, "4 of the last 10");
    bench.calls(1, Outcome::Failure);
    assert_eq!(bench.state(), State::Open, "5 of the last 10");

    let all = Bench::new(config().window(Window::count(10)).failure_rate(1.0));
    all.calls(10_000, Outcome::Success);
    all.calls(9, Outcome::Failure);
    assert_eq!(all.state(), State::Closed);
    all.calls(1, Outcome::Failure);
    assert_eq!(all.state(), State::Open, "ten fresh failures fill a window of ten");
}

/// B2. A minimum of 5 under a window of 100 was not looked at: it opened after 100 failures.
#[test]
fn judging_starts_at_the_minimum_and_not_at_a_full_window() {
    let bench = Bench::new(config().window(Window::count(100)).minimum_calls(5));
    bench.calls(4, Outcome::Failure);
    assert_eq!(bench.state(), State::Closed);
    bench.calls(1, Outcome::Failure);
    assert_eq!(bench.state(), State::Open);

    // And a minimum that the window can never hold is the window's size.
    let small = Bench::new(config().window(Window::count(3)).minimum_calls(1_000));
    small.calls(2, Outcome::Failure);
    assert_eq!(small.state(), State::Closed);
    small.calls(1, Outcome::Failure);
    assert_eq!(small.state(), State::Open);
}

/// B3. With probes counted in the time window, two good probes further apart than the window is
/// long were never two, their permits were gone, and every later call was refused.
#[test]
fn probes_are_counted_outside_the_time_window() {
    let window = Window::Time { length: 100 * MS, buckets: 10 };
    let mut bench = Bench::new(config().window(window).half_open(HalfOpen::counts(2, 1)));
    bench.breaker.command(Command::Open, bench.now);
    bench.pass(100 * MS);
    assert!(bench.call(Outcome::Success));
    assert_eq!(bench.state(), State::HalfOpen);
    bench.pass(130 * MS);
    assert!(bench.call(Outcome::Success));
    assert_eq!(bench.state(), State::Closed);
    assert!(bench.call(Outcome::Success));

    // A rate over probes is taken of all of them, too.
    let mut rate = Bench::new(config().window(window).half_open(HalfOpen::rate(4, 0.5)));
    rate.breaker.command(Command::HalfOpen, rate.now);
    for outcome in [Outcome::Failure, Outcome::Failure, Outcome::Success, Outcome::Success] {
        assert_eq!(rate.state(), State::HalfOpen);
        assert!(rate.call(outcome));
        rate.pass(130 * MS);
    }
    assert_eq!(rate.state(), State::Open, "two of four probes failed");
}

/// B4. No probes at all was accepted and dead for ever; the largest number panicked at the first
/// probe.
#[test]
fn any_number_of_probes_works_or_is_refused_by_name() {
    let now = portcullis::clock::tokio_now();
    for (half_open, value) in [
        (HalfOpen::counts(1, 1).total(0), "0"),
        (HalfOpen::counts(1, 1).concurrent(0), "0"),
        (HalfOpen::counts(1, 1).only_concurrent(0), "0"),
        (HalfOpen::counts(0, 1), "0"),
        (HalfOpen::counts(1, 0), "0"),
        (HalfOpen::rate(0, 0.5), "0"),
        (HalfOpen::rate(5, 0.5).total(4), "4"),
    ] {
        let error = Breaker::new(config().half_open(half_open), now).expect_err("cannot work");
        assert!(error.field().starts_with("half_open."), "{half_open:?}: {error}");
        assert_eq!(error.value(), value, "{half_open:?}: {error}");
    }
    let most = u32::MAX;
    for half_open in [
        HalfOpen::counts(1, 1).total(most),
        HalfOpen::counts(1, 1).only_concurrent(most),
        HalfOpen::counts(most, 1),
        HalfOpen::counts(1, most),
        HalfOpen::rate(most, 0.5),
    ] {
        let mut bench = Bench::new(config().half_open(half_open));
        bench.breaker.command(Command::Open, bench.now);
        bench.pass(100 * MS);
        assert!(bench.call(Outcome::Success), "{half_open:?}");
        assert_ne!(bench.state(), State::Open, "{half_open:?}");
    }
}

/// B5. Without generations a call admitted while closed closed the half-open circuit with the real
/// probe still in flight, and two time-outs from before an outage opened a recovered one.
#[test]
fn a_result_counts_only_in_the_period_that_admitted_it() {
    let rules = config().consecutive_failures(2).half_open(HalfOpen::counts(1, 1));
    let mut bench = Bench::new(rules);
    let admit = |bench: &Bench| bench.breaker.admit(bench.now).expect("closed");
    let (good, bad) = (admit(&bench), [admit(&bench), admit(&bench)]);
    bench.calls(2, Outcome::Failure);
    bench.pass(100 * MS);
    let probe = bench.breaker.admit(bench.now).expect("the wait is over");
    bench.breaker.settle(good, Outcome::Success, None, bench.now);
    assert_eq!(bench.state(), State::HalfOpen, "an old success is no probe's");
    assert_eq!(bench.reason(), Some(Reason::ProbeLimit), "nor does it free the probe's slot");
    bench.breaker.settle(probe, Outcome::Success, None, bench.now);
    assert_eq!(bench.state(), State::Closed);
    for late in bad {
        bench.breaker.settle(late, Outcome::Failure, None, bench.now);
    }
    assert_eq!(bench.state(), State::Closed, "what failed before the outage is no news");
    assert_eq!(bench.breaker.snapshot(bench.now).calls, 0);
}

/// B5. Half-open periods are told apart as well: a probe of the first says nothing in the second.
#[test]
fn a_probe_of_an_earlier_half_open_period_says_nothing_in_the_next() {
    let mut bench = Bench::new(config().half_open(HalfOpen::counts(1, 1).total(3)));
    bench.breaker.command(Command::HalfOpen, bench.now);
    let probes = [(); 3].map(|()| bench.breaker.admit(bench.now).expect("three slots"));
    let [first, second, third] = probes;
    bench.breaker.settle(first, Outcome::Failure, None, bench.now);
    bench.pass(100 * MS);
    let fresh = bench.breaker.admit(bench.now).expect("the wait is over");
    bench.breaker.settle(second, Outcome::Success, None, bench.now);
    assert_eq!(bench.state(), State::HalfOpen, "closed by an old probe");
    bench.breaker.settle(third, Outcome::Failure, None, bench.now);
    assert_eq!(bench.state(), State::HalfOpen, "reopened by an old probe");
    assert_eq!(bench.breaker.snapshot(bench.now).probes_in_flight, 1);
    bench.breaker.settle(fresh, Outcome::Success, None, bench.now);
    assert_eq!(bench.state(), State::Closed);
}

/// B6, as far as it needs no layer. Calls cut off by an outer time-out left no trace: 500 of them,
/// nothing recorded, with slow calls watched. And dropping must not look like success either.
#[test]
fn a_call_dropped_past_its_slow_limit_is_slow_and_no_success() {
    let drop_after = |bench: &mut Bench, time| {
        let permit = bench.breaker.admit(bench.now).expect("admitted");
        bench.pass(time);
        bench.breaker.abandon(permit, bench.now);
    };
    let slow = config().window(Window::count(10)).minimum_calls(10).slow_calls(50 * MS, 0.5);
    let mut bench = Bench::new(slow.clone());
    (0..20).for_each(|_| drop_after(&mut bench, 50 * MS));
    assert_eq!(bench.breaker.snapshot(bench.now).calls, 0, "within the limit: neutral");
    (0..10).for_each(|_| drop_after(&mut bench, 51 * MS));
    assert_eq!(bench.state(), State::Open, "beyond it: slow");

    // A probe that was dropped because it hung must not close the circuit.
    for rules in [slow, config().slow_call_after(50 * MS), config().hung_calls(50 * MS)] {
        let mut bench = Bench::new(rules.half_open(HalfOpen::counts(1, 1)));
        bench.breaker.command(Command::HalfOpen, bench.now);
        drop_after(&mut bench, 51 * MS);
        assert_ne!(bench.state(), State::Closed);
    }

    // Nor does such a drop end a row of failures.
    let row = config().no_failure_rate().consecutive_failures(3).slow_call_after(50 * MS);
    let mut bench = Bench::new(row);
    bench.calls(2, Outcome::Failure);
    drop_after(&mut bench, 51 * MS);
    bench.calls(1, Outcome::Failure);
    assert_eq!(bench.state(), State::Open);
}

/// B8. One probe that never answered held the half-open circuit for ever: 50 waits later it still
/// refused every call.
#[test]
fn a_hung_probe_loses_its_slot_when_its_lease_ends() {
    let rules = config().half_open(HalfOpen::counts(1, 1)).probe_lease(30 * MS);
    let mut bench = Bench::new(rules);
    bench.breaker.command(Command::HalfOpen, bench.now);
    let hung = bench.breaker.admit(bench.now).expect("a probe");
    bench.pass(30 * MS - Duration::from_nanos(1));
    assert_eq!(bench.reason(), Some(Reason::ProbeLimit));
    bench.pass(Duration::from_nanos(1));
    assert_eq!(bench.reason(), Some(Reason::CircuitOpen), "the lease ends: open again");
    // The wait runs from the lease's end.
    bench.pass(99 * MS);
    assert_eq!(bench.reason(), Some(Reason::CircuitOpen));
    bench.pass(MS);
    let probe = bench.breaker.admit(bench.now).expect("the wait is over");
    bench.breaker.settle(hung, Outcome::Success, None, bench.now);
    assert_eq!(bench.state(), State::HalfOpen, "the late answer closes nothing");
    assert_eq!(bench.reason(), Some(Reason::ProbeLimit), "and frees no slot");
    bench.breaker.settle(probe, Outcome::Success, None, bench.now);
    assert_eq!(bench.state(), State::Closed);

    // Nobody called while the lease and the wait after it passed: the next call is a probe.
    bench.breaker.command(Command::HalfOpen, bench.now);
    let _hung = bench.breaker.admit(bench.now).expect("a probe");
    bench.pass(50 * 100 * MS);
    assert!(bench.breaker.admit(bench.now).expect("long over").is_probe());
}

/// B8. The late answer of a hung probe is itself an occasion to see that its lease is over.
#[test]
fn an_answer_after_the_lease_reopens() {
    let rules = config().half_open(HalfOpen::counts(1, 1)).probe_lease(30 * MS);
    for outcome in [Outcome::Success, Outcome::Failure, Outcome::Ignored] {
        let mut bench = Bench::new(rules.clone());
        bench.breaker.command(Command::HalfOpen, bench.now);
        let hung = bench.breaker.admit(bench.now).expect("a probe");
        bench.pass(40 * MS);
        bench.breaker.settle(hung, outcome, None, bench.now);
        assert_eq!(bench.state(), State::Open, "{outcome:?}");
        let left = bench.breaker.snapshot(bench.now).time_to_half_open;
        assert_eq!(left, Some(90 * MS), "waits from the lease's end");
    }
}

/// B9. A slow success closed a circuit that had opened because of slowness, which then flapped.
#[test]
fn a_slow_probe_is_judged_by_the_slow_rule() {
    let slow = config().slow_calls(50 * MS, 0.5);
    for half_open in
        [HalfOpen::counts(1, 1), HalfOpen::rate(1, 0.5), HalfOpen::rate(1, 0.5).slow_rate(1.0)]
    {
        for (took, expected) in [(50 * MS, State::Closed), (51 * MS, State::Open)] {
            let mut bench = Bench::new(slow.clone().half_open(half_open));
            bench.breaker.command(Command::HalfOpen, bench.now);
            let probe = bench.breaker.admit(bench.now).expect("a probe");
            bench.pass(took);
            bench.breaker.settle(probe, Outcome::Success, None, bench.now);
            assert_eq!(bench.state(), expected, "{half_open:?}, {took:?}");
        }
    }
}

/// B10. Reset did nothing while closed: nine failures were still counted after it.
#[test]
fn reset_clears_in_every_state() {
    let rules = || config().window(Window::count(20)).minimum_calls(10).consecutive_failures(10);
    let entries = [
        None,
        Some(Command::Open),
        Some(Command::HalfOpen),
        Some(Command::ForceOpen),
        Some(Command::Disable),
        Some(Command::Shadow),
    ];
    for entry in entries {
        let bench = Bench::new(rules());
        bench.calls(9, Outcome::Failure);
        if let Some(command) = entry {
            bench.breaker.command(command, bench.now);
        }
        let generation = bench.breaker.generation();
        bench.breaker.command(Command::Reset, bench.now);
        let after = bench.breaker.snapshot(bench.now);
        assert_eq!(after.state, State::Closed, "{entry:?}");
        assert_eq!(
            (after.calls, after.failures, after.consecutive_failures),
            (0, 0, 0),
            "{entry:?}"
        );
        assert_eq!((after.rejected, after.consecutive_openings), (0, 0), "{entry:?}");
        assert!(after.generation > generation, "results from before it are stale");
        bench.calls(9, Outcome::Failure);
        assert_eq!(bench.state(), State::Closed, "{entry:?}: nine failures were kept");
        bench.calls(1, Outcome::Failure);
        assert_eq!(bench.state(), State::Open, "{entry:?}");
    }
}

/// B11. Forced open expired by itself after the ordinary wait, and forcing it again did not extend.
#[test]
fn forced_states_last_until_commanded_otherwise() {
    let year = Duration::from_secs(365 * 86_400);
    let mut bench = Bench::new(config());
    bench.breaker.command(Command::ForceOpen, bench.now);
    for _ in 0..3 {
        bench.pass(year);
        assert_eq!(bench.reason(), Some(Reason::ForcedOpen));
        let refusal = bench.breaker.admit(bench.now).expect_err("forced");
        assert_eq!(refusal.retry_after, None, "no time is known");
        bench.breaker.command(Command::ForceOpen, bench.now);
    }
    bench.breaker.command(Command::Disable, bench.now);
    for _ in 0..3 {
        bench.calls(100, Outcome::Failure);
        bench.pass(year);
        assert_eq!(bench.state(), State::Disabled);
    }
    bench.breaker.command(Command::Enable, bench.now);
    assert_eq!(bench.state(), State::Closed);
    assert_eq!(bench.breaker.snapshot(bench.now).calls, 0);
}

/// B11. An opening for a time that is commanded again begins anew.
#[test]
fn opening_again_extends_the_wait() {
    let mut bench = Bench::new(config());
    bench.breaker.command(Command::OpenFor(100 * MS), bench.now);
    bench.pass(60 * MS);
    bench.breaker.command(Command::OpenFor(100 * MS), bench.now);
    bench.pass(60 * MS);
    let refusal = bench.breaker.admit(bench.now).expect_err("40 ms are left");
    assert_eq!(refusal.retry_after, Some(40 * MS));
    bench.pass(40 * MS);
    assert!(bench.breaker.admit(bench.now).expect("over").is_probe());
}

/// B14. A time window kept every call: memory grew with traffic, and each call cost what was kept.
/// Debug output shows all that a value holds, so a list of calls would show there.
#[test]
fn a_time_window_holds_as_much_after_a_million_calls_as_after_ten() {
    let window = Window::Time { length: Duration::from_secs(3_600), buckets: 10 };
    let mut bench = Bench::new(config().window(window).failure_rate(0.9));
    let held = |bench: &Bench| format!("{:?}", bench.breaker).len();
    let mix = |bench: &Bench| {
        bench.calls(5, Outcome::Success);
        bench.calls(5, Outcome::Failure);
    };
    mix(&bench);
    let few = held(&bench);
    for _ in 0..100_000 {
        mix(&bench);
        bench.pass(MS);
    }
    let snapshot = bench.breaker.snapshot(bench.now);
    assert_eq!((snapshot.calls, snapshot.failures), (1_000_010, 500_005), "all are in the window");
    // Longer numbers are written with more digits; that is all the growth there may be.
    assert!(held(&bench) < few + 500, "{} characters grew to {}", few, held(&bench));
}
