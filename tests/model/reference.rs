//! A slow, obvious breaker: it keeps every result and every call, and counts them afresh at each
//! step. It shares nothing with the library but the names of states, outcomes, reasons and commands.

use portcullis::{Outcome, Reason, State, policy::breaker::Command};

use super::rules::Rules;

#[path = "counting.rs"]
mod counting;

/// A result that was recorded while closed.
#[derive(Clone, Copy, Debug)]
struct Logged {
    /// The start of the bucket it fell in; in a count window, nothing.
    start: u64,
    failed: bool,
    slow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Call,
    Probe,
    /// Admitted, and of no further interest.
    Untracked,
}

/// What the end of a call says about the service.
#[derive(Clone, Copy, Debug)]
enum Said {
    Result {
        failed: bool,
        slow: bool,
    },
    /// Dropped past the slow limit.
    SlowDrop,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    id: usize,
    kind: Kind,
    period: u64,
    started: u64,
    deadline: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Closed,
    Open { since: u64, wait: u64 },
    HalfOpen,
    ForcedOpen,
    Disabled,
}

/// What the two sides must agree on after every step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) shadow: bool,
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) slow: u64,
    pub(crate) rejected: u64,
    pub(crate) failure_rate: Option<f64>,
    pub(crate) slow_rate: Option<f64>,
    pub(crate) row: u32,
    pub(crate) probes_in_flight: u32,
    pub(crate) openings: u32,
    pub(crate) time_to_half_open: Option<u64>,
}

/// Admitted (as a probe or not, and against which reason in shadow), or refused.
pub(crate) type Answer = Result<Admitted, (Reason, Option<u64>)>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Admitted {
    pub(crate) probe: bool,
    pub(crate) shadowed: Option<Reason>,
}

/// A change of state, and how long it will sleep if it opened.
pub(crate) type Turn = (State, State, Option<u64>);

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) rules: Rules,
    phase: Phase,
    shadow: bool,
    /// Grows with every period.
    pub(crate) period: u64,
    log: Vec<Logged>,
    /// Failed and slow, of each result of this half-open period.
    probed: Vec<(bool, bool)>,
    row: u32,
    openings: u32,
    rejected: u64,
    calls: Vec<Call>,
    pub(crate) turns: Vec<Turn>,
}

impl Reference {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            phase: Phase::Closed,
            shadow: false,
            period: 0,
            log: Vec::new(),
            probed: Vec::new(),
            row: 0,
            openings: 0,
            rejected: 0,
            calls: Vec::new(),
            turns: Vec::new(),
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen => State::HalfOpen,
            Phase::ForcedOpen => State::ForcedOpen,
            Phase::Disabled => State::Disabled,
        }
    }

    // ===== changing state =====

    fn turn(&mut self, to: Phase, shadow: bool) {
        let (from, was_shadow) = (self.state(), self.shadow);
        (self.phase, self.shadow) = (to, shadow);
        self.period += 1;
        self.probed.clear();
        if !matches!(to, Phase::Open { .. }) {
            self.log.clear();
            self.row = 0;
            if self.state() != from {
                self.rejected = 0;
            }
            if to != Phase::HalfOpen {
                self.openings = 0;
            }
        }
        if (from, was_shadow) != (self.state(), shadow) {
            let sleep = match to {
                Phase::Open { wait, .. } => Some(wait),
                _ => None,
            };
            self.turns.push((from, self.state(), sleep));
        }
    }

    fn open(&mut self, since: u64, hint: Option<u64>) {
        self.openings += 1;
        let wait = self.wait(hint);
        self.turn(Phase::Open { since, wait }, self.shadow);
    }

    /// A probe that has not answered in time opens the circuit as of the moment its lease ended.
    pub(crate) fn end_lease(&mut self, now: u64) {
        if self.phase != Phase::HalfOpen {
            return;
        }
        let first = self.probes_in_flight().map(|c| c.started + self.rules.lease).min();
        if let Some(end) = first.filter(|end| *end <= now) {
            self.open(end, None);
        }
    }

    fn end_hang(&mut self, now: u64) {
        let (Phase::Closed, Some((calls, share)), Some(limit)) =
            (self.phase, self.rules.hung, self.rules.slow_after)
        else {
            return;
        };
        let here: Vec<_> = self.calls.iter().filter(|c| c.period == self.period).collect();
        let hanging = here.iter().filter(|c| now - c.started > limit).count();
        if hanging >= calls as usize && hanging as f64 / here.len() as f64 >= share {
            self.open(now, None);
        }
    }

    fn judge(&mut self, hint: Option<u64>, now: u64) {
        match self.judged() {
            Some(true) => self.turn(Phase::Closed, self.shadow),
            Some(false) => self.open(now, hint),
            None => {}
        }
    }

    // ===== what callers do =====

    pub(crate) fn admit(&mut self, id: usize, deadline: Option<u64>, now: u64) -> Answer {
        let (kind, shadowed) = match self.may_call(now) {
            Ok(kind) => (kind, None),
            Err((reason, after)) => {
                self.rejected += 1;
                if !self.shadow {
                    return Err((reason, after));
                }
                (Kind::Untracked, Some(reason))
            }
        };
        self.calls.push(Call { id, kind, period: self.period, started: now, deadline });
        Ok(Admitted { probe: kind == Kind::Probe, shadowed })
    }

    fn may_call(&mut self, now: u64) -> Result<Kind, (Reason, Option<u64>)> {
        self.end_lease(now);
        self.end_hang(now);
        if self.phase == Phase::HalfOpen {
            // Decided already, if the rules have changed since the last result.
            self.judge(None, now);
        }
        if let Phase::Open { since, wait } = self.phase {
            if now - since < wait {
                return Err((Reason::CircuitOpen, Some(wait - (now - since))));
            }
            self.turn(Phase::HalfOpen, self.shadow);
        }
        match self.phase {
            Phase::Closed | Phase::Open { .. } => Ok(Kind::Call),
            Phase::ForcedOpen => Err((Reason::ForcedOpen, None)),
            Phase::Disabled => Ok(Kind::Untracked),
            Phase::HalfOpen => {
                let in_flight = self.probes_in_flight().count();
                let used = self.probed.len() + in_flight;
                let total = self.rules.total.is_none_or(|n| used < n as usize);
                let at_once = self.rules.concurrent.is_none_or(|n| in_flight < n as usize);
                if total && at_once { Ok(Kind::Probe) } else { Err((Reason::ProbeLimit, None)) }
            }
        }
    }

    fn in_flight(&self, id: usize) -> Call {
        *self.calls.iter().find(|c| c.id == id).expect("the call is in flight")
    }

    fn take(&mut self, id: usize) {
        self.calls.retain(|c| c.id != id);
    }

    fn is_slow(&self, call: &Call, now: u64) -> bool {
        self.rules.slow_after.is_some_and(|limit| now - call.started > limit)
    }

    pub(crate) fn settle(&mut self, id: usize, outcome: Outcome, hint: Option<u64>, now: u64) {
        let call = self.in_flight(id);
        let slow = self.is_slow(&call, now);
        let said = match outcome {
            Outcome::Success => Some(Said::Result { failed: false, slow }),
            Outcome::Failure => Some(Said::Result { failed: true, slow }),
            Outcome::Ignored => None,
        };
        self.finish(call, said, hint, now);
    }

    /// A dropped call: a failure if drops are, or from its deadline on. Past the slow limit it is
    /// slow, and not a success: it neither ends a row of failures nor vouches for the service.
    pub(crate) fn abandon(&mut self, id: usize, now: u64) {
        let call = self.in_flight(id);
        let slow = self.is_slow(&call, now);
        let late = call.deadline.is_some_and(|deadline| now >= deadline);
        if self.rules.drops_are_failures || late {
            return self.finish(call, Some(Said::Result { failed: true, slow }), None, now);
        }
        let matters = match call.kind {
            Kind::Probe => self.slow_probes_matter(),
            _ => self.rules.slow_rate.is_some(),
        };
        self.finish(call, (slow && matters).then_some(Said::SlowDrop), None, now);
    }

    fn finish(&mut self, call: Call, said: Option<Said>, hint: Option<u64>, now: u64) {
        let is_watched = call.kind == Kind::Probe || self.rules.hung.is_some();
        if call.kind == Kind::Untracked || (said.is_none() && !is_watched) {
            // Says nothing, and nothing waits for it.
            self.take(call.id);
            return;
        }
        self.end_lease(now);
        self.take(call.id);
        if call.period != self.period {
            return;
        }
        if let Some(said) = said {
            self.record(said, hint, now);
        }
        self.end_hang(now);
    }

    fn record(&mut self, said: Said, hint: Option<u64>, now: u64) {
        let (failed, slow) = match said {
            Said::Result { failed, slow } => (failed, slow),
            Said::SlowDrop => (false, true),
        };
        self.row = match said {
            Said::Result { failed: true, .. } => self.row + 1,
            Said::Result { .. } => 0,
            Said::SlowDrop => self.row,
        };
        match self.phase {
            Phase::Closed => {
                self.log.push(Logged { start: self.bucket_of(now), failed, slow });
                if self.trips(now) {
                    self.open(now, hint);
                }
            }
            Phase::HalfOpen => {
                self.probed.push((failed, slow));
                self.judge(hint, now);
            }
            _ => unreachable!("no call of this period is in flight while {:?}", self.phase),
        }
    }

    pub(crate) fn not_ready(&mut self, outcome: Outcome, hint: Option<u64>, now: u64) {
        if outcome == Outcome::Ignored {
            return;
        }
        self.end_lease(now);
        let failed = outcome == Outcome::Failure;
        if let Phase::Open { since, wait } = self.phase {
            if failed && now - since >= wait {
                self.turn(Phase::HalfOpen, self.shadow);
            }
        }
        match self.phase {
            Phase::Closed => self.record(Said::Result { failed, slow: false }, hint, now),
            Phase::HalfOpen if failed => self.open(now, hint),
            _ => {}
        }
    }

    pub(crate) fn command(&mut self, command: Command, now: u64) {
        let shadow = match command {
            Command::Shadow => true,
            Command::Enable | Command::ForceOpen | Command::Disable => false,
            _ => self.shadow,
        };
        let phase = match command {
            Command::Open | Command::OpenFor(_) => {
                // Said of a circuit that is open, it is no further opening.
                if self.state() != State::Open {
                    self.openings += 1;
                }
                let wait = match command {
                    Command::OpenFor(wait) => wait.as_nanos() as u64,
                    _ => self.wait(None),
                };
                Phase::Open { since: now, wait }
            }
            Command::HalfOpen => Phase::HalfOpen,
            Command::ForceOpen => Phase::ForcedOpen,
            Command::Disable => Phase::Disabled,
            _ => Phase::Closed,
        };
        self.turn(phase, shadow);
        self.log.clear();
        self.row = 0;
    }

    pub(crate) fn reconfigure(&mut self, rules: Rules, now: u64) {
        if rules.shape != self.rules.shape {
            self.log = self.counted(now);
            if std::mem::discriminant(&rules.shape) != std::mem::discriminant(&self.rules.shape) {
                self.log.clear();
            }
        }
        self.rules = rules;
        let starts: Vec<u64> = self.log.iter().map(|r| self.bucket_of(r.start)).collect();
        self.log.iter_mut().zip(starts).for_each(|(r, start)| r.start = start);
    }
}
