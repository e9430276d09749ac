//! A breaker under any sequence of calls, drops, commands and new numbers at any times, backwards ones
//! too: never more probes than it may have, a sure refusal is one, looking moves nothing, and whatever it
//! went through, it has all of its slots again in the end.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use portcullis::{
    CircuitBreakerConfig, HalfOpen, Hung, Outcome, Sleep, State, Window,
    policy::breaker::{Breaker, Command, Permit},
};

use super::bytes::Bytes;

const MOST_STEPS: usize = 1_000;
/// More slots are not counted one by one.
const MOST_SLOTS: u32 = 64;

fn window(bytes: &mut Bytes<'_>) -> Window {
    match bytes.pick(3) {
        0 => Window::count(1 + bytes.small() % (1 << 16)),
        1 => Window::time(bytes.span()),
        _ => Window::Time { length: bytes.span(), buckets: count(bytes) },
    }
}

/// At least one, mostly: zero is refused nearly everywhere.
fn count(bytes: &mut Bytes<'_>) -> u32 {
    match bytes.small() {
        15 => 0,
        other => other.max(1),
    }
}

fn config(bytes: &mut Bytes<'_>) -> CircuitBreakerConfig {
    let mut config = CircuitBreakerConfig::new("fuzzed").window(window(bytes)).seed(7);
    config.failure_rate = bytes.maybe(Bytes::share);
    config.slow_call_after = bytes.maybe(Bytes::span);
    if config.slow_call_after.is_some() {
        config.slow_call_rate = bytes.maybe(Bytes::share);
        config.hung = bytes.maybe(|bytes| Hung::new(count(bytes), bytes.share()));
    }
    config.consecutive_failures = bytes.maybe(count);
    config.failures = bytes.maybe(count);
    config.failures_minimum_calls = bytes.small();
    config.minimum_calls = bytes.small();
    let (base, more) = (bytes.span(), bytes.span());
    let sleep = Sleep::growing(base, 1.0 + 3.0 * bytes.share(), base.saturating_add(more));
    config.sleep = sleep.jitter(bytes.share()).hints(bytes.flag());
    config.half_open = match bytes.pick(2) {
        0 => HalfOpen::counts(count(bytes), count(bytes)),
        _ => HalfOpen::rate(count(bytes), bytes.share()),
    };
    config.half_open.concurrent = bytes.maybe(count);
    if bytes.pick(4) == 0 {
        config.half_open = config.half_open.only_concurrent(count(bytes));
    }
    config.probe_lease = bytes.span();
    config.recovery_ramp = bytes.maybe(Bytes::span);
    config.drops_are_failures(bytes.flag())
}

fn outcome(bytes: &mut Bytes<'_>) -> Outcome {
    [Outcome::Success, Outcome::Failure, Outcome::Ignored][bytes.pick(3)]
}

fn command(bytes: &mut Bytes<'_>) -> Command {
    match bytes.pick(9) {
        0 => Command::Open,
        1 => Command::OpenFor(bytes.span()),
        2 => Command::HalfOpen,
        3 => Command::Close,
        4 => Command::ForceOpen,
        5 => Command::Disable,
        6 => Command::Shadow,
        7 => Command::Enable,
        _ => Command::Reset,
    }
}

/// The probes of one generation, counted from outside.
#[derive(Default)]
struct Probes {
    in_flight: u32,
    results: u32,
}

struct Run {
    start: Instant,
    config: CircuitBreakerConfig,
    breaker: Breaker,
    now: u64,
    /// Each with the generation that admitted it.
    in_flight: Vec<(Permit, u64)>,
    probes: HashMap<u64, Probes>,
    generation: u64,
}

pub fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let start = portcullis::clock::tokio_now();
    let config = config(&mut bytes);
    let Ok(breaker) = Breaker::new(config.clone(), start) else {
        assert!(config.validate().is_err(), "{config:?} is valid");
        return;
    };
    let (in_flight, probes) = (Vec::new(), HashMap::new());
    let mut run = Run { start, config, breaker, now: 0, in_flight, probes, generation: 0 };
    for _ in 0..MOST_STEPS {
        if !bytes.are_left() {
            break;
        }
        run.step(&mut bytes);
        run.check();
    }
    run.has_every_slot();
}

impl Run {
    fn at(&self, nanos: u64) -> Instant {
        self.start.checked_add(Duration::from_nanos(nanos)).unwrap_or(self.start)
    }

    fn now(&self) -> Instant {
        self.at(self.now)
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.pick(12) {
            0..=3 => {
                let deadline = bytes.maybe(Bytes::number);
                self.admit(deadline);
            }
            4..=6 => {
                let at = bytes.small() as usize;
                let (outcome, hint) = (outcome(bytes), bytes.maybe(Bytes::span));
                self.settle(at, outcome, hint);
            }
            7 => self.abandon(bytes.small() as usize),
            8 => self.now = self.now.saturating_add(bytes.number()).min(u64::MAX / 4),
            9 => match bytes.pick(3) {
                0 => self.now = self.now.saturating_sub(bytes.number()),
                _ => self.now = self.now.saturating_add(u64::from(bytes.byte()) * 1_000_000),
            },
            10 => {
                let (outcome, hint) = (outcome(bytes), bytes.maybe(Bytes::span));
                self.breaker.not_ready(outcome, hint, self.now());
            }
            _ => match bytes.pick(4) {
                0 => {
                    let new = config(bytes);
                    match self.breaker.reconfigure(new.clone(), self.now()) {
                        Ok(()) => self.config = new,
                        Err(_) => assert!(new.validate().is_err(), "{new:?} is valid"),
                    }
                }
                _ => self.breaker.command(command(bytes), self.now()),
            },
        }
    }

    fn admit(&mut self, deadline: Option<u64>) -> bool {
        let now = self.now();
        let sure = self.breaker.refuses(now);
        let deadline = deadline.map(|after| self.at(self.now.saturating_add(after) / 2));
        let found = self.breaker.admit_until(deadline, now);
        if let Some(sure) = sure {
            assert_eq!(found.as_ref().err(), Some(&sure), "a sure refusal was none");
        }
        let Ok(permit) = found else { return false };
        let generation = self.breaker.generation();
        if permit.is_probe() {
            let HalfOpen { total, concurrent, .. } = self.config.half_open;
            let probes = self.probes.entry(generation).or_default();
            assert!(concurrent.is_none_or(|n| probes.in_flight < n), "one probe too many");
            let all = probes.in_flight + probes.results;
            assert!(total.is_none_or(|n| all < n), "one probe too many in all");
            probes.in_flight += 1;
        }
        self.in_flight.push((permit, generation));
        true
    }

    /// The permit at a place, counted from the newest.
    fn take(&mut self, at: usize) -> Option<(Permit, u64)> {
        let at = self.in_flight.len().checked_sub(1 + at)?;
        Some(self.in_flight.swap_remove(at))
    }

    fn settle(&mut self, at: usize, outcome: Outcome, hint: Option<Duration>) {
        let Some((permit, generation)) = self.take(at) else { return };
        if permit.is_probe() {
            let probes = self.probes.entry(generation).or_default();
            probes.in_flight -= 1;
            probes.results += u32::from(outcome != Outcome::Ignored);
        }
        self.breaker.settle(permit, outcome, hint, self.now());
    }

    fn abandon(&mut self, at: usize) {
        let Some((permit, generation)) = self.take(at) else { return };
        let probe = permit.is_probe();
        let before = self.breaker.snapshot(self.now()).calls;
        self.breaker.abandon(permit, self.now());
        let after = self.breaker.snapshot(self.now());
        if probe {
            let probes = self.probes.entry(generation).or_default();
            probes.in_flight -= 1;
            if after.generation == generation {
                probes.results += (after.calls - before) as u32;
            }
        }
    }

    fn check(&mut self) {
        let now = self.now();
        let found = self.breaker.snapshot(now);
        assert!(found.failures <= found.calls && found.slow <= found.calls, "{found:?}");
        assert_eq!(found.successes, found.calls - found.failures);
        assert_eq!(found.state, self.breaker.state());
        let held = self.probes.get(&found.generation).map_or(0, |probes| probes.in_flight);
        assert!(found.probes_in_flight <= held, "{found:?}, and {held} are held");
        assert!(found.generation >= self.generation, "periods are counted upwards");
        self.generation = found.generation;
        let sentence = self.breaker.explain(now).to_string();
        assert!(sentence.starts_with("fuzzed"), "{sentence}");
        assert_eq!(self.breaker.snapshot(now), found, "looking has moved something");
        self.breaker.deliver(|_| {});
    }

    /// However it got here, a half-open circuit has exactly the slots that it is configured with, and gets
    /// back each that is given back.
    fn has_every_slot(&mut self) {
        let HalfOpen { total, concurrent, .. } = self.config.half_open;
        let slots = total.unwrap_or(u32::MAX).min(concurrent.unwrap_or(u32::MAX));
        if slots <= MOST_SLOTS {
            self.breaker.command(Command::Enable, self.now());
            self.breaker.command(Command::HalfOpen, self.now());
            for _ in 0..2 {
                let before = self.in_flight.len();
                while self.admit(None) {}
                assert_eq!(self.in_flight.len() - before, slots as usize, "of {:?}", self.config);
                assert_eq!(self.breaker.state(), State::HalfOpen);
                while self.in_flight.len() > before {
                    self.settle(0, Outcome::Ignored, None);
                }
            }
        }
        while !self.in_flight.is_empty() {
            self.abandon(0);
        }
        assert_eq!(self.breaker.snapshot(self.now()).probes_in_flight, 0);
    }
}
