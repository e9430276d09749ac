//! Whatever happens, in whatever order: gauges equal what the policy says of itself.

use std::{pin::Pin, time::Duration};

use futures_util::FutureExt;
use portcullis::{
    Bulkhead, BulkheadConfig, BulkheadPermit, Circuit, Command, RateLimitConfig, RateLimiter,
    Rejection, State, circuit_breaker::Permit,
};
use proptest::{collection::vec, prelude::*};
use tokio::time::advance;

use crate::{SECOND, book::Book, circuit_config};

const STATES: [State; 5] =
    [State::Closed, State::Open, State::HalfOpen, State::ForcedOpen, State::Disabled];

/// Runs on a clock of its own that moves only when it is told.
fn on_paused_time(run: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(run);
}

#[derive(Clone, Copy, Debug)]
enum OfCircuit {
    Call,
    Settle(usize, bool),
    Drop(usize),
    Tell(Command),
    Wait(u64),
}

fn of_circuit() -> impl Strategy<Value = OfCircuit> {
    let commands = [
        Command::Open,
        Command::OpenFor(SECOND),
        Command::HalfOpen,
        Command::Close,
        Command::ForceOpen,
        Command::Disable,
        Command::Shadow,
        Command::Enable,
        Command::Reset,
    ];
    prop_oneof![
        4 => Just(OfCircuit::Call),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(at, well)| OfCircuit::Settle(at, well)),
        1 => any::<usize>().prop_map(OfCircuit::Drop),
        2 => proptest::sample::select(commands.to_vec()).prop_map(OfCircuit::Tell),
        2 => (0_u64..15).prop_map(OfCircuit::Wait),
    ]
}

#[track_caller]
fn assert_one_hot(book: &Book, state: State) {
    let shown = STATES.map(|state| book.get(&format!("breaker.state{{name=db,state={state}}}")));
    let expected = STATES.map(|other| Some(f64::from(u8::from(other == state))));
    assert_eq!(shown, expected, "it is {state}");
    assert_eq!(shown.iter().flatten().sum::<f64>(), 1.0);
}

#[derive(Clone, Copy, Debug)]
enum OfLine {
    Enter,
    Poll(usize),
    Drop(usize),
    Leave(usize),
    Tell(Command),
    Resize(usize),
    Wait(u64),
}

fn of_line() -> impl Strategy<Value = OfLine> {
    let commands = [Command::Shadow, Command::Disable, Command::Enable, Command::Reset];
    prop_oneof![
        5 => Just(OfLine::Enter),
        4 => any::<usize>().prop_map(OfLine::Poll),
        2 => any::<usize>().prop_map(OfLine::Drop),
        3 => any::<usize>().prop_map(OfLine::Leave),
        1 => proptest::sample::select(commands.to_vec()).prop_map(OfLine::Tell),
        1 => (1_usize..4).prop_map(OfLine::Resize),
        2 => (0_u64..1_500).prop_map(OfLine::Wait),
    ]
}

fn take<T>(from: &mut Vec<T>, at: usize) -> Option<T> {
    (!from.is_empty()).then(|| {
        let at = at % from.len();
        from.swap_remove(at)
    })
}

type Waits<T> = Pin<Box<dyn Future<Output = Result<T, Rejection>>>>;

/// Polls one of those that wait; what it got if it waits no more.
fn poll_one<T>(waiting: &mut Vec<Waits<T>>, at: usize) -> Option<T> {
    let mut one = take(waiting, at)?;
    match one.as_mut().now_or_never() {
        Some(got) => got.ok(),
        None => {
            waiting.push(one);
            None
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn one_state_of_a_circuit_is_1_and_it_is_the_one_it_is_in(ops in vec(of_circuit(), 1..60)) {
        on_paused_time(async {
            let book = Book::default();
            let observer = book.observer();
            let options = portcullis::Options::new().observer(observer.clone());
            let circuit = Circuit::with(circuit_config(), options).unwrap();
            observer.sample_policy(&circuit);
            assert_one_hot(&book, State::Closed);
            let mut permits: Vec<Permit> = Vec::new();
            let (mut calls, mut refused) = (0.0, 0.0);
            for op in ops {
                match op {
                    OfCircuit::Call => match circuit.try_acquire() {
                        Ok(permit) => permits.push(permit),
                        Err(_) => refused += 1.0,
                    },
                    OfCircuit::Settle(at, well) => {
                        if let Some(permit) = take(&mut permits, at) {
                            calls += 1.0;
                            if well { permit.success() } else { permit.failure() }
                        }
                    }
                    OfCircuit::Drop(at) => {
                        calls += f64::from(u8::from(take(&mut permits, at).is_some()));
                    }
                    OfCircuit::Tell(command) => circuit.command(command),
                    OfCircuit::Wait(seconds) => advance(Duration::from_secs(seconds)).await,
                }
                assert_one_hot(&book, circuit.state());
            }
            calls += permits.len() as f64;
            drop(permits);
            let of = |outcome: &str| {
                book.get(&format!("breaker.calls{{name=db,outcome={outcome},shadow=false}}"))
            };
            let ended = ["success", "failure", "ignored", "cancelled"];
            // Before the first call nothing is counted at all.
            assert_eq!(ended.iter().filter_map(|outcome| of(outcome)).sum::<f64>(), calls);
            assert_eq!(of("rejected").unwrap_or_default(), refused);
        });
    }

    #[test]
    fn gauges_of_a_bulkhead_are_what_it_says_of_itself(ops in vec(of_line(), 1..80)) {
        on_paused_time(async {
            let book = Book::default();
            let config = || BulkheadConfig::new("pool", 2).queue(3).max_wait(2 * SECOND);
            let bulkhead = Bulkhead::with(config(), book.options()).unwrap();
            let mut waiting: Vec<Waits<BulkheadPermit>> = Vec::new();
            let mut inside = Vec::new();
            let equal = |when: &dyn std::fmt::Debug| {
                let of = |name: &str| book.get(&format!("bulkhead.{name}{{name=pool}}"));
                let now = bulkhead.snapshot();
                let gauges = (of("in_flight").unwrap_or(0.0), of("queued").unwrap_or(0.0));
                assert_eq!(gauges, (now.in_flight as f64, now.queued as f64), "{when:?}");
            };
            for op in ops {
                match op {
                    OfLine::Enter => waiting.push(Box::pin(bulkhead.acquire())),
                    OfLine::Poll(at) => inside.extend(poll_one(&mut waiting, at)),
                    OfLine::Drop(at) => drop(take(&mut waiting, at)),
                    OfLine::Leave(at) => drop(take(&mut inside, at)),
                    OfLine::Tell(command) => bulkhead.command(command).unwrap(),
                    OfLine::Resize(slots) => bulkhead.resize(slots).unwrap(),
                    OfLine::Wait(millis) => advance(Duration::from_millis(millis)).await,
                }
                equal(&op);
            }
            drop((waiting, inside));
            equal(&"all have gone");
            assert_eq!(bulkhead.snapshot().in_flight, 0);
        });
    }

    #[test]
    fn the_gauge_of_a_limiter_is_what_it_says_of_itself(ops in vec(of_line(), 1..80)) {
        on_paused_time(async {
            let book = Book::default();
            let config = |rate| RateLimitConfig::per_second("api", rate).burst(2);
            let limiter = RateLimiter::with(config(2), book.options()).unwrap();
            let mut waiting: Vec<Waits<()>> = Vec::new();
            let equal = |when: &dyn std::fmt::Debug| {
                let queued = book.get("limiter.queued{name=api}").unwrap_or(0.0);
                assert_eq!(queued, limiter.queued() as f64, "{when:?}");
            };
            for op in ops {
                match op {
                    OfLine::Enter => waiting.push(Box::pin(limiter.acquire())),
                    OfLine::Poll(at) => drop(poll_one(&mut waiting, at)),
                    OfLine::Drop(at) => drop(take(&mut waiting, at)),
                    OfLine::Leave(_) => drop(limiter.try_acquire()),
                    OfLine::Tell(command) => limiter.command(command).unwrap(),
                    OfLine::Resize(rate) => limiter.reconfigure(config(rate as u64)).unwrap(),
                    OfLine::Wait(millis) => advance(Duration::from_millis(millis)).await,
                }
                // In shadow and disabled, those who wait go when they are next polled.
                equal(&op);
            }
            drop(waiting);
            equal(&"all have gone");
            assert_eq!(limiter.queued(), 0);
        });
    }
}
