//! Random configurations and steps.

use portcullis::{Outcome, policy::breaker::Command};
use proptest::{option, prelude::*, sample::select};
use std::time::Duration;

use super::rules::{Decision, Rules, Shape, Wait};

pub(crate) const MS: u64 = 1_000_000;

/// How far time moves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Jump {
    By(u64),
    /// To a moment at which something may change by itself, and some nanoseconds beside it.
    ToEdge {
        which: usize,
        beside: i64,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Pass(Jump),
    Admit {
        deadline: Option<u64>,
    },
    /// Admit, wait, settle.
    Call {
        outcome: Outcome,
        took: u64,
    },
    Settle {
        pick: usize,
        outcome: Outcome,
        hint: Option<u64>,
    },
    Abandon {
        pick: usize,
    },
    NotReady {
        outcome: Outcome,
        hint: Option<u64>,
    },
    Command(Command),
    Reconfigure(Box<Rules>),
}

pub(crate) fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        (1u32..=12).prop_map(Shape::Count),
        select(vec![1u32, 63, 64, 65, 130]).prop_map(Shape::Count),
        select(vec![(10 * MS, 10), (12 * MS, 3), (100 * MS, 4), (7 * MS, 1), (60 * MS, 60)])
            .prop_map(|(length, buckets)| Shape::Time { length, buckets }),
    ]
}

fn share() -> impl Strategy<Value = f64> {
    select(vec![0.1, 0.25, 1.0 / 3.0, 0.5, 0.6, 0.7, 0.9, 1.0])
}

fn wait() -> impl Strategy<Value = Wait> {
    (
        select(vec![0, 5 * MS, 10 * MS, 37 * MS]),
        select(vec![(1, 1), (3, 2), (2, 1), (10, 1)]),
        select(vec![1, 2, 5, 50]),
        any::<bool>(),
    )
        .prop_map(|(base, multiplier, times, hints)| Wait {
            base,
            multiplier,
            max: base * times,
            hints,
        })
}

fn decision() -> impl Strategy<Value = Decision> {
    prop_oneof![
        (1u32..=4, 1u32..=3)
            .prop_map(|(successes, failures)| Decision::Counts { successes, failures }),
        (1u32..=5, share(), option::of(share())).prop_map(|(calls, failure_rate, slow_rate)| {
            Decision::Rate { calls, failure_rate, slow_rate }
        }),
    ]
}

/// Bounds on the probes: in total beyond what a decision needs, at once, or both.
fn bounds() -> impl Strategy<Value = (Option<u32>, Option<u32>)> {
    prop_oneof![
        (0u32..=2).prop_map(|more| (Some(more), None)),
        (1u32..=4).prop_map(|at_once| (None, Some(at_once))),
        (0u32..=2, 1u32..=4).prop_map(|(more, at_once)| (Some(more), Some(at_once))),
    ]
}

pub(crate) fn rules() -> impl Strategy<Value = Rules> {
    let trip = (
        option::of(share()),
        option::of(select(vec![0, MS, 3 * MS, 20 * MS])),
        option::of(share()),
        option::of(1u32..=4),
        option::of((1u32..=5, 0u32..=8)),
        option::weighted(0.2, (1u32..=3, share())),
    );
    let lease = select(vec![1, 4 * MS, 30 * MS, 1_000 * MS]);
    (shape(), trip, 0u32..=8, wait(), decision(), bounds(), lease, prop::bool::weighted(0.2))
        .prop_map(|(shape, trip, minimum, wait, decision, bounds, lease, drops_are_failures)| {
            let (failure_rate, slow_after, slow_rate, consecutive, failures, hung) = trip;
            let mut rules = Rules {
                shape,
                failure_rate,
                slow_after,
                slow_rate,
                consecutive,
                failures,
                hung,
                minimum,
                wait,
                decision,
                total: None,
                concurrent: bounds.1,
                lease,
                drops_are_failures,
            };
            rules.total = bounds.0.map(|more| rules.probes_needed() + more);
            rules.made_valid()
        })
}

impl Rules {
    /// What is said about slow calls needs a slow limit, and no window holds more than its size.
    fn made_valid(mut self) -> Self {
        if self.slow_after.is_none() {
            (self.slow_rate, self.hung) = (None, None);
            if let Decision::Rate { slow_rate, .. } = &mut self.decision {
                *slow_rate = None;
            }
        }
        if let (Shape::Count(size), Some((count, _))) = (self.shape, &mut self.failures) {
            *count = (*count).min(size);
        }
        self
    }

    /// These rules as a live change of `old`. What a permit carries is fixed when it is admitted (its
    /// start, and whether its drop is a failure), so a case keeps to one choice of those.
    pub(crate) fn replacing(mut self, old: &Self) -> Self {
        self.drops_are_failures = old.drops_are_failures;
        self.slow_after = old.slow_after.map(|before| self.slow_after.unwrap_or(before));
        self.hung = old.hung.map(|before| self.hung.unwrap_or(before));
        self.made_valid()
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Success),
        5 => Just(Outcome::Failure),
        1 => Just(Outcome::Ignored),
    ]
}

fn hint() -> impl Strategy<Value = Option<u64>> {
    option::weighted(0.15, select(vec![0, MS, 50 * MS, 10_000 * MS]))
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::Open),
        select(vec![0, 3, 40]).prop_map(|ms| Command::OpenFor(Duration::from_millis(ms))),
        Just(Command::HalfOpen),
        Just(Command::Close),
        Just(Command::ForceOpen),
        Just(Command::Disable),
        Just(Command::Shadow),
        Just(Command::Enable),
        Just(Command::Reset),
    ]
}

fn jump() -> impl Strategy<Value = Jump> {
    prop_oneof![
        3 => select(vec![0, 1, MS, 2 * MS, 5 * MS, 11 * MS]).prop_map(Jump::By),
        4 => (0usize..5, -1i64..=1).prop_map(|(which, beside)| Jump::ToEdge { which, beside }),
        1 => select(vec![1_000 * MS, 3_600_000 * MS, 30 * 86_400_000 * MS]).prop_map(Jump::By),
    ]
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let took = select(vec![0, 0, 0, MS, MS + 1, 4 * MS, 25 * MS]);
    let deadline = option::weighted(0.2, select(vec![0, 2 * MS, 30 * MS]));
    let pick = any::<u16>().prop_map(usize::from);
    let other = any::<u16>().prop_map(usize::from);
    prop_oneof![
        6 => jump().prop_map(Op::Pass),
        6 => deadline.prop_map(|deadline| Op::Admit { deadline }),
        8 => (outcome(), took).prop_map(|(outcome, took)| Op::Call { outcome, took }),
        5 => (pick, outcome(), hint())
            .prop_map(|(pick, outcome, hint)| Op::Settle { pick, outcome, hint }),
        2 => other.prop_map(|pick| Op::Abandon { pick }),
        1 => (outcome(), hint()).prop_map(|(outcome, hint)| Op::NotReady { outcome, hint }),
        1 => command().prop_map(Op::Command),
        1 => rules().prop_map(|rules| Op::Reconfigure(Box::new(rules))),
    ]
}

pub(crate) fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..most)
}

/// Rules under which calls hang and nothing else opens the circuit.
pub(crate) fn hanging_rules() -> impl Strategy<Value = Rules> {
    let limit = select(vec![MS, 3 * MS, 20 * MS]);
    (rules(), 1u32..=6, share(), limit).prop_map(|(mut rules, calls, share, limit)| {
        rules.hung = Some((calls, share));
        rules.slow_after = Some(limit);
        (rules.failure_rate, rules.slow_rate) = (None, None);
        (rules.consecutive, rules.failures) = (None, None);
        rules
    })
}

/// Many calls in flight at once, under limits that change.
pub(crate) fn hanging_ops() -> impl Strategy<Value = Vec<Op>> {
    let pick = any::<u16>().prop_map(usize::from);
    let other = any::<u16>().prop_map(usize::from);
    let op = prop_oneof![
        9 => Just(Op::Admit { deadline: None }),
        5 => jump().prop_map(Op::Pass),
        3 => (pick, outcome()).prop_map(|(pick, outcome)| Op::Settle { pick, outcome, hint: None }),
        1 => other.prop_map(|pick| Op::Abandon { pick }),
        1 => Just(Op::Command(Command::Close)),
        2 => hanging_rules().prop_map(|rules| Op::Reconfigure(Box::new(rules))),
    ];
    prop::collection::vec(op, 1..80)
}
