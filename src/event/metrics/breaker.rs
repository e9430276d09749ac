//! Metrics of circuits.

use std::sync::OnceLock;

use metrics::{Counter, Gauge};

use super::{
    chain::Chain,
    names,
    sink::{Rejections, Scope, shadow_pair},
};
use crate::{
    error::{PolicyKind, Reason},
    outcome::Outcome,
    policy::breaker::{Snapshot, State, Transition},
    sync::Mutex,
};

/// Every state, in the order of their gauges.
const STATES: [State; 5] =
    [State::Closed, State::Open, State::HalfOpen, State::ForcedOpen, State::Disabled];

pub(super) struct Breaker {
    scope: Scope,
    success: Counter,
    failure: Counter,
    ignored: Counter,
    cancelled: Counter,
    rejected: Counter,
    shadowed: Counter,
    slow: Counter,
    rejections: Rejections,
    transitions: Chain<(State, State), Counter>,
    /// Known from the first transition or sample on: a circuit that is one of many by key has none of its
    /// own.
    states: OnceLock<[Gauge; STATES.len()]>,
    /// How many transitions the gauges have been told, held while they are set.
    told: Mutex<u64>,
    window: OnceLock<[Gauge; 3]>,
    keys: OnceLock<Gauge>,
    evictions: OnceLock<Counter>,
    untracked: OnceLock<Counter>,
}

impl Breaker {
    pub(super) fn new(scope: Scope) -> Self {
        let calls = |outcome, shadow| {
            let pairs = [("outcome", outcome), shadow_pair(shadow)];
            scope.counter(&names::BREAKER_CALLS, pairs)
        };
        Self {
            success: calls("success", false),
            failure: calls("failure", false),
            ignored: calls("ignored", false),
            cancelled: calls("cancelled", false),
            rejected: calls("rejected", false),
            shadowed: calls("rejected", true),
            slow: scope.counter(&names::BREAKER_SLOW_CALLS, []),
            rejections: Rejections::new(&scope, PolicyKind::CircuitBreaker),
            transitions: Chain::default(),
            states: OnceLock::new(),
            told: Mutex::new(0),
            window: OnceLock::new(),
            keys: OnceLock::new(),
            evictions: OnceLock::new(),
            untracked: OnceLock::new(),
            scope,
        }
    }

    pub(super) fn rejected(&self, reason: Reason, shadow: bool) {
        if shadow { &self.shadowed } else { &self.rejected }.increment(1);
        self.rejections.add(reason, shadow);
    }

    pub(super) fn settled(&self, outcome: Outcome, slow: bool) {
        let counter = match outcome {
            Outcome::Success => &self.success,
            Outcome::Failure => &self.failure,
            Outcome::Ignored => &self.ignored,
        };
        self.ended(counter, slow);
    }

    /// A drop that counts as a failure is one here as well, as it is in the circuit's window.
    pub(super) fn abandoned(&self, outcome: Outcome, slow: bool) {
        let counted = outcome == Outcome::Failure;
        self.ended(if counted { &self.failure } else { &self.cancelled }, slow);
    }

    fn ended(&self, counter: &Counter, slow: bool) {
        counter.increment(1);
        if slow {
            self.slow.increment(1);
        }
    }

    pub(super) fn evicted(&self) {
        self.scope.late_counter(&self.evictions, &names::BREAKER_EVICTIONS).increment(1);
    }

    pub(super) fn untracked(&self) {
        self.scope.late_counter(&self.untracked, &names::BREAKER_UNTRACKED).increment(1);
    }

    pub(super) fn changed(&self, Transition { from, to, .. }: Transition, keyed: bool) {
        let register = || {
            let pairs = [("from", from.as_str()), ("to", to.as_str())];
            self.scope.counter(&names::BREAKER_TRANSITIONS, pairs)
        };
        self.transitions.get((from, to), register).increment(1);
        if !keyed {
            let states = self.states();
            let mut told = self.told.lock();
            *told += 1;
            show(states, to);
        }
    }

    /// How many transitions have been told: see [`sampled`](Self::sampled).
    pub(super) fn told(&self) -> u64 {
        *self.told.lock()
    }

    /// Shows a circuit as it was found. If a transition has been told since `told` was read, its state is
    /// at least as new as what was found, and stays.
    pub(super) fn sampled(&self, found: &Snapshot, told: u64) {
        let states = self.states();
        let now = self.told.lock();
        if *now == told {
            show(states, found.state);
        }
        drop(now);
        let [failures, slow, calls] = self.window.get_or_init(|| {
            let metrics = [
                &names::BREAKER_FAILURE_RATE,
                &names::BREAKER_SLOW_CALL_RATE,
                &names::BREAKER_WINDOW_CALLS,
            ];
            metrics.map(|metric| self.scope.gauge(metric, []))
        });
        let share = |part: u64| part as f64 / found.calls.max(1) as f64;
        failures.set(share(found.failures));
        slow.set(share(found.slow));
        calls.set(found.calls as f64);
    }

    /// Shows how many circuits by key are in each state.
    pub(super) fn counted(&self, counts: impl IntoIterator<Item = (State, usize)>) {
        let mut sums = [0; STATES.len()];
        for (state, number) in counts {
            sums[place(state)] += number;
        }
        let states = self.states();
        states.iter().zip(sums).for_each(|(gauge, number)| gauge.set(number as f64));
        let keys = self.scope.late_gauge(&self.keys, &names::BREAKER_KEYS);
        keys.set(sums.iter().sum::<usize>() as f64);
    }

    fn states(&self) -> &[Gauge; STATES.len()] {
        self.states.get_or_init(|| {
            STATES.map(|state| self.scope.gauge(&names::BREAKER_STATE, [("state", state.as_str())]))
        })
    }
}

fn place(state: State) -> usize {
    STATES.iter().position(|known| *known == state).unwrap_or_default()
}

fn show(states: &[Gauge; STATES.len()], state: State) {
    // First the one that holds: nobody who looks meanwhile finds none.
    states[place(state)].set(1.0);
    for (gauge, other) in states.iter().zip(STATES) {
        if other != state {
            gauge.set(0.0);
        }
    }
}
