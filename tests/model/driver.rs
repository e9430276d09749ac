//! Takes each step on the library's breaker and on the reference, and compares them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use portcullis::{
    Outcome, State,
    policy::breaker::{Breaker, Command, Permit, Refusal},
};
use proptest::{prelude::*, test_runner::TestCaseError};

use super::{
    reference::{Admitted, Answer, Reference, Turn, View},
    rules::Rules,
    strategies::{Jump, Op},
};

type Step = Result<(), TestCaseError>;

#[derive(Debug)]
struct InFlight {
    id: usize,
    permit: Permit,
    /// The generation that admitted it.
    generation: u64,
}

/// The probes of one generation, counted from outside.
#[derive(Clone, Copy, Debug, Default)]
struct Probes {
    in_flight: u32,
    results: u32,
}

pub(crate) struct Driver {
    start: Instant,
    /// Nanoseconds since the start.
    pub(crate) now: u64,
    pub(crate) breaker: Breaker,
    pub(crate) reference: Reference,
    in_flight: Vec<InFlight>,
    ids: usize,
    generation: u64,
    period: u64,
    told: u64,
    probes: BTreeMap<u64, Probes>,
}

impl Driver {
    pub(crate) fn new(rules: Rules) -> Self {
        let start = portcullis::clock::tokio_now();
        let breaker = Breaker::new(rules.config(), start)
            .unwrap_or_else(|error| panic!("{error} in {rules:?}"));
        Self {
            start,
            now: 0,
            generation: breaker.generation(),
            breaker,
            reference: Reference::new(rules),
            in_flight: Vec::new(),
            ids: 0,
            period: 0,
            told: 0,
            probes: BTreeMap::new(),
        }
    }

    fn at(&self, now: u64) -> Instant {
        self.start + Duration::from_nanos(now)
    }

    pub(crate) fn take(&mut self, op: Op) -> Step {
        match op {
            Op::Pass(jump) => self.pass(jump),
            Op::Admit { deadline } => {
                self.admit(deadline)?;
            }
            Op::Call { outcome, took } => {
                if self.admit(None)? {
                    self.compare()?;
                    self.now += took;
                    let last = self.in_flight.len() - 1;
                    self.settle(last, outcome, None)?;
                }
            }
            Op::Settle { .. } | Op::Abandon { .. } if self.in_flight.is_empty() => {}
            Op::Settle { pick, outcome, hint } => {
                self.settle(pick % self.in_flight.len(), outcome, hint)?;
            }
            Op::Abandon { pick } => self.abandon(pick % self.in_flight.len()),
            Op::NotReady { outcome, hint } => {
                let now = self.at(self.now);
                self.breaker.not_ready(outcome, hint.map(Duration::from_nanos), now);
                self.reference.not_ready(outcome, hint, self.now);
            }
            Op::Command(command) => self.command(command),
            Op::Reconfigure(rules) => {
                let rules = rules.replacing(&self.reference.rules);
                let now = self.at(self.now);
                let done = self.breaker.reconfigure(rules.config(), now);
                prop_assert!(done.is_ok(), "{done:?} for {rules:?}");
                self.reference.reconfigure(rules, self.now);
            }
        }
        self.compare()
    }

    fn pass(&mut self, jump: Jump) {
        match jump {
            Jump::By(time) => self.now += time,
            Jump::ToEdge { which, beside } => {
                if let Some(edge) = self.reference.edges(self.now)[which] {
                    self.now = self.now.max(edge.saturating_add_signed(beside));
                }
            }
        }
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.breaker.command(command, self.at(self.now));
        self.reference.command(command, self.now);
    }

    /// Whether the call was admitted.
    pub(crate) fn admit(&mut self, deadline: Option<u64>) -> Result<bool, TestCaseError> {
        let (id, now) = (self.ids, self.at(self.now));
        self.ids += 1;
        let deadline = deadline.map(|after| self.now + after);
        let sure = self.breaker.refuses(now);
        let found = self.breaker.admit_until(deadline.map(|at| self.at(at)), now);
        let expected = self.reference.admit(id, deadline, self.now);
        prop_assert_eq!(answer(&found), expected, "admission at {} ns", self.now);
        if let Some(sure) = sure {
            prop_assert_eq!(found.as_ref().err(), Some(&sure), "a sure refusal was none");
        }
        let Ok(permit) = found else { return Ok(false) };
        let generation = self.breaker.generation();
        if permit.is_probe() {
            let probes = self.probes.entry(generation).or_default();
            let (rules, Probes { in_flight, results }) = (&self.reference.rules, *probes);
            prop_assert!(rules.concurrent.is_none_or(|n| in_flight < n), "one probe too many");
            prop_assert!(
                rules.total.is_none_or(|n| in_flight + results < n),
                "one too many in all"
            );
            probes.in_flight += 1;
        }
        self.in_flight.push(InFlight { id, permit, generation });
        Ok(true)
    }

    pub(crate) fn settle(&mut self, at: usize, outcome: Outcome, hint: Option<u64>) -> Step {
        let InFlight { id, permit, generation } = self.in_flight.remove(at);
        if permit.is_probe() {
            let probes = self.probes.entry(generation).or_default();
            probes.in_flight -= 1;
            probes.results += u32::from(outcome != Outcome::Ignored);
        }
        let now = self.at(self.now);
        self.breaker.settle(permit, outcome, hint.map(Duration::from_nanos), now);
        self.reference.settle(id, outcome, hint, self.now);
        self.allow_a_look_at_the_lease();
        self.compare()
    }

    /// The end of a lease shows at the next call or late result. The end of a call that says nothing
    /// and was no probe may show it as well, but need not.
    fn allow_a_look_at_the_lease(&mut self) {
        if self.breaker.state() != self.reference.state() {
            self.reference.end_lease(self.now);
        }
    }

    pub(crate) fn abandon(&mut self, at: usize) {
        let InFlight { id, permit, generation } = self.in_flight.remove(at);
        let recorded = self.breaker.snapshot(self.at(self.now)).calls;
        let probe = permit.is_probe();
        self.breaker.abandon(permit, self.at(self.now));
        self.reference.abandon(id, self.now);
        self.allow_a_look_at_the_lease();
        if probe {
            let after = self.breaker.snapshot(self.at(self.now));
            let probes = self.probes.entry(generation).or_default();
            probes.in_flight -= 1;
            if after.generation == generation {
                probes.results += (after.calls - recorded) as u32;
            }
        }
    }

    pub(crate) fn compare(&mut self) -> Step {
        let now = self.at(self.now);
        let found = self.breaker.snapshot(now);
        prop_assert_eq!(found.successes, found.calls - found.failures);
        prop_assert_eq!(
            (found.state, found.generation),
            (self.breaker.state(), self.breaker.generation())
        );
        let seen = View {
            state: found.state,
            shadow: found.shadow,
            calls: found.calls,
            failures: found.failures,
            slow: found.slow,
            rejected: found.rejected,
            failure_rate: found.failure_rate,
            slow_rate: found.slow_rate,
            row: found.consecutive_failures,
            probes_in_flight: found.probes_in_flight,
            openings: found.consecutive_openings,
            time_to_half_open: found.time_to_half_open.map(|left| left.as_nanos() as u64),
        };
        prop_assert_eq!(seen, self.reference.view(self.now), "at {} ns", self.now);
        self.compare_turns(found.generation)?;
        // Explaining is for people: here it only must not move or break anything.
        let sentence = self.breaker.explain(now).to_string();
        prop_assert!(sentence.starts_with("model "), "{}", sentence);
        prop_assert_eq!(self.breaker.snapshot(now), found, "looking has moved something");
        Ok(())
    }

    /// Transitions are told once, in order, and a generation begins with each period.
    fn compare_turns(&mut self, generation: u64) -> Step {
        let mut turns: Vec<Turn> = Vec::new();
        let mut generations = Vec::new();
        self.breaker.deliver(|turn| {
            turns.push((turn.from, turn.to, turn.sleep.map(|s| s.as_nanos() as u64)));
            generations.push(turn.generation);
        });
        prop_assert_eq!(turns, std::mem::take(&mut self.reference.turns));
        for told in generations {
            prop_assert!(told > self.told && told <= generation, "{} after {}", told, self.told);
            self.told = told;
        }
        prop_assert!(generation >= self.generation);
        prop_assert_eq!(generation > self.generation, self.reference.period > self.period);
        (self.generation, self.period) = (generation, self.reference.period);
        Ok(())
    }

    /// However it got here, a half-open circuit has exactly the slots that it is configured with,
    /// and gets back each that is given back.
    pub(crate) fn has_every_slot(&mut self) -> Step {
        let rules = self.reference.rules.clone();
        let slots = rules.total.unwrap_or(u32::MAX).min(rules.concurrent.unwrap_or(u32::MAX));
        self.command(Command::Enable);
        self.command(Command::HalfOpen);
        for _ in 0..2 {
            let before = self.in_flight.len();
            while self.admit(None)? {}
            prop_assert_eq!(self.in_flight.len() - before, slots as usize);
            prop_assert_eq!(self.breaker.state(), State::HalfOpen);
            while self.in_flight.len() > before {
                let last = self.in_flight.len() - 1;
                self.settle(last, Outcome::Ignored, None)?;
            }
        }
        // What is still in flight from before belongs to other periods.
        let before = self.breaker.snapshot(self.at(self.now));
        while !self.in_flight.is_empty() {
            self.settle(0, Outcome::Failure, None)?;
        }
        prop_assert_eq!(self.breaker.snapshot(self.at(self.now)), before);
        Ok(())
    }
}

fn answer(found: &Result<Permit, Refusal>) -> Answer {
    match found {
        Ok(permit) => Ok(Admitted { probe: permit.is_probe(), shadowed: permit.shadowed() }),
        Err(refusal) => {
            Err((refusal.reason, refusal.retry_after.map(|left| left.as_nanos() as u64)))
        }
    }
}
