//! The state machine of a breaker, used in sequence: the truth that the lock guards.
//!
//! Times are nanoseconds since the breaker was made. Every method leaves the machine in a state that
//! [`word`](Machine::word), [`until`](Machine::until) and [`grantable`](Machine::grantable) describe to
//! the lock-free side.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    Command,
    config::CircuitBreakerConfig,
    fast::Grant,
    permit::Kind,
    rules::{self, Probed, Verdict},
    state::{Refusal, State, Transition},
};
use crate::{
    error::Reason,
    outcome::Outcome,
    policy::{Cause, in_flight::InFlight, nanos, rng::Rng, window::Rolling},
};

/// What a command has put in place of the machine's own decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Enforcing,
    Shadow,
    ForcedOpen,
    Disabled,
}

/// What the machine itself is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed { ramp_from: Option<u64> },
    Open { until: u64 },
    HalfOpen,
}

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) config: Arc<CircuitBreakerConfig>,
    pub(super) mode: Mode,
    pub(super) phase: Phase,
    pub(super) generation: u64,
    /// When this period began.
    since: u64,
    pub(super) window: Rolling,
    /// Failures in a row.
    pub(super) row: u32,
    pub(super) probed: Probed,
    /// Probes, or the calls of a closed circuit with an in-flight rule.
    pub(super) in_flight: InFlight,
    /// Openings since the last closing.
    pub(super) openings: u32,
    pub(super) opened_by: Option<Cause>,
    /// Whether refusals are to be counted afresh: after a change of state, except to open.
    pub(super) recount_refusals: bool,
    /// What the lock-free side may use at present.
    pub(super) granted: Grant,
    /// Transitions that nobody has been told of yet, in order.
    pub(super) news: VecDeque<Transition>,
    /// How many of them are kept; the oldest go first.
    pub(super) untold: usize,
    /// Whether someone is telling them.
    pub(super) telling: bool,
    pub(super) rng: Rng,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Success,
    Failure,
    /// It says nothing about the service.
    Ignored,
    /// It was dropped when it was slow already: slow, but neither a success nor a failure.
    CutSlow,
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failure => Self::Failure,
            Outcome::Ignored => Self::Ignored,
        }
    }
}

/// An admission: what stands in the list of calls in flight, or a refusal.
pub(super) type Admission = Result<(Kind, u32), Refusal>;

impl Machine {
    pub(super) fn new(config: Arc<CircuitBreakerConfig>) -> Self {
        Self {
            mode: Mode::Enforcing,
            phase: Phase::Closed { ramp_from: None },
            generation: 1,
            since: 0,
            window: Rolling::new(config.window),
            row: 0,
            probed: Probed::default(),
            in_flight: InFlight::new(),
            openings: 0,
            opened_by: None,
            recount_refusals: false,
            granted: Grant::Nothing,
            news: VecDeque::new(),
            untold: usize::MAX,
            telling: false,
            rng: Rng::new(config.seed),
            config,
        }
    }

    pub(super) fn state(&self) -> State {
        match (self.mode, self.phase) {
            (Mode::ForcedOpen, _) => State::ForcedOpen,
            (Mode::Disabled, _) => State::Disabled,
            (_, Phase::Closed { .. }) => State::Closed,
            (_, Phase::Open { .. }) => State::Open,
            (_, Phase::HalfOpen) => State::HalfOpen,
        }
    }

    pub(super) fn admit(&mut self, now: u64) -> Admission {
        // Who read the clock before this period began, and got the lock after, comes at its beginning.
        let now = now.max(self.since);
        match self.mode {
            Mode::ForcedOpen => return refuse(Reason::ForcedOpen, None),
            Mode::Disabled => return Ok((Kind::Untracked, 0)),
            Mode::Enforcing | Mode::Shadow => {}
        }
        self.expire_lease(now);
        self.trip_on_hung_calls(now);
        if self.phase == Phase::HalfOpen {
            // Undecided, unless the rules changed since the last result.
            self.decide(None, now);
        }
        if let Phase::Open { until } = self.phase {
            if now < until {
                return refuse(Reason::CircuitOpen, Some(until - now));
            }
            self.turn(Phase::HalfOpen, Cause::SleepOver, now);
        }
        match self.phase {
            Phase::Closed { ramp_from } => self.admit_closed(ramp_from, now),
            Phase::Open { until } => refuse(Reason::CircuitOpen, Some(until.saturating_sub(now))),
            Phase::HalfOpen if self.free_probes() == 0 => refuse(Reason::ProbeLimit, None),
            Phase::HalfOpen => Ok((Kind::Probe, self.in_flight.insert(now))),
        }
    }

    fn admit_closed(&mut self, ramp_from: Option<u64>, now: u64) -> Admission {
        if let Some(from) = ramp_from {
            let ramp = self.ramp();
            let passed = now.saturating_sub(from);
            if passed >= ramp {
                self.phase = Phase::Closed { ramp_from: None };
            } else if self.rng.share() >= rules::ramp_share(passed, ramp) {
                return refuse(Reason::Recovering, Some(ramp - passed));
            }
        }
        if self.config.hung.is_some() {
            return Ok((Kind::Listed, self.in_flight.insert(now)));
        }
        Ok((Kind::Call, 0))
    }

    /// Takes the end of a call.
    pub(super) fn settle(
        &mut self,
        (generation, kind, slot): (u64, Kind, u32),
        end: End,
        slow: bool,
        hint: Option<Duration>,
        now: u64,
    ) {
        self.expire_lease(now);
        if generation != self.generation {
            return;
        }
        if kind != Kind::Call {
            self.in_flight.remove(slot);
        }
        self.record(end, slow, hint, now);
        self.trip_on_hung_calls(now);
    }

    /// The answer of a call in the list has begun: it hangs no more.
    pub(super) fn answered(&mut self, generation: u64, slot: u32, now: u64) {
        if generation == self.generation {
            self.in_flight.remove(slot);
            self.trip_on_hung_calls(now);
        }
    }

    /// Takes an error from the service's `poll_ready`.
    pub(super) fn not_ready(&mut self, end: End, hint: Option<Duration>, now: u64) {
        self.expire_lease(now);
        if let Phase::Open { until } = self.phase {
            // Somebody asks whether the service is ready for a probe: the wait is over for them, as it
            // would be for a call.
            if now < until || end != End::Failure {
                return;
            }
            self.turn(Phase::HalfOpen, Cause::SleepOver, now);
        }
        match self.phase {
            Phase::Closed { .. } => self.record(end, false, hint, now),
            Phase::HalfOpen if end == End::Failure => self.trip(Cause::NotReady, hint, now),
            _ => {}
        }
    }

    fn record(&mut self, end: End, slow: bool, hint: Option<Duration>, now: u64) {
        let counts = match (self.mode, self.phase, end) {
            (Mode::ForcedOpen | Mode::Disabled, ..) | (_, Phase::Open { .. }, _) => false,
            (.., End::Ignored) => false,
            // Counts only where slowness does; else it says nothing, and a probe's slot is free again.
            (_, Phase::HalfOpen, End::CutSlow) => rules::slow_probes_count(&self.config),
            (_, Phase::Closed { .. }, End::CutSlow) => self.config.slow_call_rate.is_some(),
            _ => true,
        };
        if !counts {
            return;
        }
        match end {
            End::Failure => self.row = self.row.saturating_add(1),
            End::Success => self.row = 0,
            End::Ignored | End::CutSlow => {}
        }
        let failed = end == End::Failure;
        if self.phase == Phase::HalfOpen {
            self.probed.add(failed, slow);
            return self.decide(hint, now);
        }
        self.window.record(now, failed, slow);
        if let Some(cause) = rules::trips(&self.config, self.window.latest(), self.row) {
            self.trip(cause, hint, now);
        }
    }

    fn decide(&mut self, hint: Option<Duration>, now: u64) {
        match rules::decide(&self.config, self.probed) {
            Verdict::Undecided => {}
            Verdict::Reopen(cause) => self.trip(cause, hint, now),
            Verdict::Close(cause) => {
                let ramp_from = (self.ramp() > 0).then_some(now);
                self.turn(Phase::Closed { ramp_from }, cause, now);
            }
        }
    }

    /// Opens from `at` on.
    fn trip(&mut self, cause: Cause, hint: Option<Duration>, at: u64) {
        self.openings = self.openings.saturating_add(1);
        let wait = rules::sleep(&self.config.sleep, self.openings, hint, &mut self.rng);
        self.turn(Phase::Open { until: at.saturating_add(wait) }, cause, at);
    }

    /// When the oldest probe's lease ends.
    pub(super) fn lease_end(&self) -> Option<u64> {
        Some(self.in_flight.oldest()?.saturating_add(nanos(self.config.probe_lease)))
    }

    pub(super) fn lease_expired(&self) -> Cause {
        Cause::LeaseExpired { limit: self.config.probe_lease }
    }

    /// Reopens a half-open circuit as of the moment at which its oldest probe's lease ended.
    fn expire_lease(&mut self, now: u64) {
        if self.phase != Phase::HalfOpen {
            return;
        }
        if let Some(end) = self.lease_end().filter(|end| now >= *end) {
            self.trip(self.lease_expired(), None, end);
        }
    }

    fn trip_on_hung_calls(&mut self, now: u64) {
        if let Some(cause) = self.hangs(now) {
            self.trip(cause, None, now);
        }
    }

    /// Whether so many calls of a closed circuit hang that it opens.
    fn hangs(&mut self, now: u64) -> Option<Cause> {
        self.hanging(now).and_then(|(cause, trips)| trips.then_some(cause))
    }

    /// The calls of a closed circuit that hang, where there is a rule for them, and whether it trips.
    pub(super) fn hanging(&mut self, now: u64) -> Option<(Cause, bool)> {
        let (Some(hung), Phase::Closed { .. }) = (self.config.hung, self.phase) else {
            return None;
        };
        let in_flight = self.in_flight.len();
        let observed = self.in_flight.older_than(self.slow_after(), now);
        let share = rules::share(observed.into(), in_flight.into());
        let (observed, in_flight, limit) = (observed.into(), in_flight.into(), hung.calls.into());
        let trips = observed >= limit && share >= hung.share;
        Some((Cause::HungCalls { observed, in_flight, limit }, trips))
    }

    /// Begins a period of its own.
    fn turn(&mut self, phase: Phase, cause: Cause, now: u64) {
        let (from, shadow) = (self.state(), self.mode == Mode::Shadow);
        self.begin(phase, cause, now);
        self.announce(from, shadow, cause, now);
    }

    fn begin(&mut self, phase: Phase, cause: Cause, now: u64) {
        self.generation += 1;
        self.since = now;
        self.in_flight.clear();
        self.probed = Probed::default();
        self.phase = phase;
        match phase {
            // What opened it stays readable until the circuit is half-open.
            Phase::Open { .. } => self.opened_by = Some(cause),
            Phase::HalfOpen => self.forget(now),
            Phase::Closed { .. } => {
                self.forget(now);
                self.openings = 0;
                self.opened_by = None;
            }
        }
    }

    fn forget(&mut self, now: u64) {
        self.window.clear();
        self.window.advance(now);
        self.row = 0;
    }

    fn announce(&mut self, from: State, was_shadow: bool, cause: Cause, now: u64) {
        let (to, shadow) = (self.state(), self.mode == Mode::Shadow);
        let reset = cause == Cause::Command(Command::Reset);
        self.recount_refusals |= reset || (from != to && to != State::Open);
        if (from, was_shadow) == (to, shadow) {
            return;
        }
        let sleep = match self.phase {
            Phase::Open { until } if to == State::Open => {
                Some(Duration::from_nanos(until.saturating_sub(now)))
            }
            _ => None,
        };
        let generation = self.generation;
        if self.news.len() >= self.untold {
            self.news.pop_front();
        }
        self.news.push_back(Transition { from, to, cause, generation, sleep, shadow });
    }

    pub(super) fn command(&mut self, command: Command, now: u64) {
        let (from, was_shadow) = (self.state(), self.mode == Mode::Shadow);
        self.mode = match (command, self.mode) {
            (Command::ForceOpen, _) => Mode::ForcedOpen,
            (Command::Disable, _) => Mode::Disabled,
            (Command::Shadow, _) => Mode::Shadow,
            (Command::Enable, _) => Mode::Enforcing,
            (_, Mode::Shadow) => Mode::Shadow,
            _ => Mode::Enforcing,
        };
        let phase = match command {
            Command::Open | Command::OpenFor(_) => {
                // An opening like any other, but said twice it is still one.
                if from != State::Open {
                    self.openings = self.openings.saturating_add(1);
                }
                let wait = match command {
                    Command::OpenFor(wait) => nanos(wait),
                    _ => rules::sleep(&self.config.sleep, self.openings, None, &mut self.rng),
                };
                Phase::Open { until: now.saturating_add(wait) }
            }
            Command::HalfOpen => Phase::HalfOpen,
            _ => Phase::Closed { ramp_from: None },
        };
        let cause = Cause::Command(command);
        self.begin(phase, cause, now);
        self.forget(now);
        if command == Command::ForceOpen {
            self.opened_by = Some(cause);
        }
        self.announce(from, was_shadow, cause, now);
    }

    pub(super) fn reconfigure(&mut self, config: Arc<CircuitBreakerConfig>, now: u64) {
        if config.window != self.config.window {
            self.window.reshape(config.window, now);
        }
        if config.seed != self.config.seed {
            self.rng = Rng::new(config.seed);
        }
        self.config = config;
        self.in_flight.forget_ages();
    }

    pub(super) fn free_probes(&self) -> u32 {
        let half_open = &self.config.half_open;
        rules::free_probes(half_open, self.probed.results, self.in_flight.len())
    }

    pub(super) fn slow_after(&self) -> u64 {
        self.config.slow_call_after.map_or(u64::MAX, nanos)
    }

    fn ramp(&self) -> u64 {
        self.config.recovery_ramp.map_or(0, nanos)
    }
}

fn refuse(reason: Reason, after: Option<u64>) -> Admission {
    Err(Refusal { reason, retry_after: after.map(Duration::from_nanos) })
}
