//! What ours may cost at most, as a share of what a peer costs in the same run.

use crate::{NONE, Subject, counted::Counted, measure::Cost};

/// One comparison.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Target {
    /// What is compared.
    pub work: &'static str,
    /// Our subject.
    pub ours: &'static str,
    /// Theirs.
    pub peer: &'static str,
    /// The largest share wanted on one thread, or in the runtime.
    pub one: f64,
    /// The largest share wanted on two threads.
    pub two: Option<f64>,
}

const fn target(
    work: &'static str,
    ours: &'static str,
    peer: &'static str,
    one: f64,
    two: f64,
) -> Target {
    Target { work, ours, peer, one, two: Some(two) }
}

/// A comparison in a runtime, of what each adds to the service's cost.
const fn added(work: &'static str, ours: &'static str, peer: &'static str, one: f64) -> Target {
    Target { work, ours, peer, one, two: None }
}

/// All comparisons, in the order of the report.
pub const TARGETS: &[Target] = &[
    // Circuit breaker.
    target(
        "breaker: sync call, last 100 calls, all succeed",
        "ours-call",
        "recloser-call",
        0.1,
        0.01,
    ),
    target("the same, 1 % fail", "ours-errors", "recloser-errors", 0.6, 0.17),
    target(
        "breaker: layer, last 100 calls, all succeed",
        "ours-layer-count",
        "tower-resilience-layer",
        0.05,
        0.01,
    ),
    added(
        "the same in a runtime of 2 workers, 64 tasks: cost added to the service's",
        "ours-runtime",
        "tower-resilience-runtime",
        0.03,
    ),
    target(
        "breaker: layer, default time window, all succeed; the peer's own service",
        "ours-layer-time",
        "seatbelt-service",
        0.4,
        0.25,
    ),
    target("the same; the peer's Tower service", "ours-layer-time", "seatbelt-layer", 0.4, 0.25),
    target("breaker: open, refused, default clock", "ours-open", "recloser-open", 0.8, 0.8),
    target("breaker: open, refused, fast clock", "ours-open-quanta", "recloser-open", 0.5, 0.5),
    // Rate limiter.
    target("limiter: asked, admitted, std clock", "ours-limit", "governor-std", 0.9, 0.9),
    target("limiter: asked, admitted, quanta's clock", "ours-limit-quanta", "governor", 0.9, 0.9),
    target(
        "limiter: asked, refused, std clock",
        "ours-limit-refused",
        "governor-refused-std",
        0.77,
        0.77,
    ),
    target(
        "limiter: asked, refused, quanta's clock",
        "ours-limit-refused-quanta",
        "governor-refused",
        0.77,
        0.77,
    ),
    target(
        "limiter: layer, admitted, default clock",
        "ours-limit-layer",
        "tower-resilience-limiter",
        0.25,
        0.3,
    ),
    target(
        "limiter: layer over HTTP requests, admitted, default clock",
        "ours-limit-http",
        "tower-governor",
        0.5,
        0.6,
    ),
    target(
        "limiter: layer over HTTP requests, admitted, quanta's clock",
        "ours-limit-http-quanta",
        "tower-governor",
        0.5,
        0.6,
    ),
    // Keyed rate limiter.
    target("keyed: 1 000 numbers, std clock", "ours-1k", "governor-1k-std", 0.55, 0.55),
    target("keyed: 1 000 numbers, quanta's clock", "ours-1k-quanta", "governor-1k", 0.55, 0.55),
    target("keyed: 1 000 strings, std clock", "ours-strings", "governor-strings-std", 0.45, 0.55),
    target(
        "keyed: 1 000 strings, quanta's clock",
        "ours-strings-quanta",
        "governor-strings",
        0.45,
        0.55,
    ),
    target("keyed: 100 000 numbers, std clock", "ours-100k", "governor-100k-std", 0.67, 0.55),
    target(
        "keyed: 100 000 numbers, quanta's clock",
        "ours-100k-quanta",
        "governor-100k",
        0.67,
        0.55,
    ),
    // Timeout.
    target("timeout: inner ready", "ours-timeout-ready", "tower-timeout-ready", 0.05, 0.05),
    target("timeout: pending once", "ours-timeout-pending", "tower-timeout-pending", 1.0, 1.0),
    added(
        "timeout: in a runtime of 2 workers, 64 tasks: cost added to the service's",
        "ours-timeout-runtime",
        "tower-timeout-runtime",
        1.0,
    ),
    // Bulkhead.
    target("bulkhead: layer, admitted", "ours-bulkhead", "tower-limit", 0.55, 0.75),
    // Retry.
    target("retry: layer with a budget, succeeds at once", "ours-retry", "tower-retry", 0.25, 0.15),
    // Stack.
    target(
        "five layers: default clock, time window; the peer's five",
        "ours-stack",
        "tower-resilience-stack",
        0.11,
        0.15,
    ),
    target(
        "five layers: quanta's clock, count window; the peer's five",
        "ours-stack-fast",
        "tower-resilience-stack",
        0.08,
        0.13,
    ),
    added(
        "the latter in a runtime of 2 workers, 64 tasks: cost added to the service's",
        "ours-stack-runtime",
        "tower-resilience-stack-runtime",
        0.08,
    ),
    target(
        "five layers: default clock, time window; tower's three",
        "ours-stack",
        "tower-stack",
        0.8,
        0.9,
    ),
    target(
        "five layers: quanta's clock, count window; tower's three",
        "ours-stack-fast",
        "tower-stack",
        0.5,
        0.75,
    ),
];

/// A comparison as it came out.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// What was compared.
    pub target: Target,
    /// Ours as a share of theirs, on one thread or in the runtime.
    pub one: f64,
    /// The same on two threads.
    pub two: Option<f64>,
}

/// In a runtime most of the time is the runtime's; what the bare service takes there is no policy's doing.
fn bare(costs: &[Cost], of: Cost) -> f64 {
    let panel = of.subject.panel;
    let alone = |cost: &&Cost| cost.subject.panel == panel && cost.subject.origin == NONE;
    if panel.in_runtime() { costs.iter().find(alone).map_or(0.0, |cost| cost.one) } else { 0.0 }
}

/// Sets ours beside theirs, wherever both were measured.
pub fn outcomes(costs: &[Cost]) -> Vec<Outcome> {
    let find = |name: &str| costs.iter().find(|cost| cost.subject.name == name).copied();
    let outcome = |target: &Target| {
        let (ours, peer) = (find(target.ours)?, find(target.peer)?);
        let base = bare(costs, ours);
        Some(Outcome {
            target: *target,
            // Noise may exceed what a cheap policy adds; no policy adds less than nothing.
            one: (ours.one - base).max(0.0) / (peer.one - base),
            two: ours.two.zip(peer.two).map(|(ours, peer)| ours / peer),
        })
    };
    TARGETS.iter().filter_map(outcome).collect()
}

/// What a comparison comes to in nanoseconds, where the least that the work takes was measured as well.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Least {
    /// What was compared.
    pub target: Target,
    /// On one thread, or in the runtime; `None` if the target was met.
    pub one: Option<Nanos>,
    /// On two threads, in the same way.
    pub two: Option<Nanos>,
}

/// Nanoseconds per call; in a runtime, those added to the service's.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Nanos {
    /// What the target leaves.
    pub allowed: f64,
    /// The least that the work takes.
    pub by_hand: f64,
    /// What ours takes.
    pub ours: f64,
}

/// Sets what the targets leave beside what the work takes by hand, wherever a target was missed.
pub fn least(costs: &[Cost]) -> Vec<Least> {
    let find = |name: &str| costs.iter().find(|cost| cost.subject.name == name).copied();
    let row = |outcome: Outcome| {
        let target = outcome.target;
        let hand = find(&target.ours.replacen("ours", "hand", 1))?;
        let (ours, peer) = (find(target.ours)?, find(target.peer)?);
        let base = bare(costs, ours);
        let one = (outcome.one > target.one).then_some(Nanos {
            allowed: target.one * (peer.one - base),
            by_hand: hand.one - base,
            ours: ours.one - base,
        });
        let two = (target.two.zip(outcome.two)).filter(|(most, ratio)| ratio > most).and_then(
            |(most, _)| {
                let (allowed, by_hand, ours) = (most * peer.two?, hand.two?, ours.two?);
                Some(Nanos { allowed, by_hand, ours })
            },
        );
        (one.is_some() || two.is_some()).then_some(Least { target, one, two })
    };
    outcomes(costs).into_iter().filter_map(row).collect()
}

/// Names in the comparisons that no subject has: rows that would be missing without a word.
pub fn unknown(subjects: &[Subject]) -> Vec<&'static str> {
    let mut names: Vec<_> = TARGETS.iter().flat_map(|target| [target.ours, target.peer]).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| subjects.iter().all(|subject| subject.name != *name));
    names
}

/// Our stores that must not hold more for a key than a peer's.
const STORES: [(&str, &str); 2] =
    [("ours-numbers", "governor-numbers"), ("ours-addresses", "governor-addresses")];

/// Bytes per key: ours, theirs, and at how many keys, wherever both were counted.
pub fn bytes(counted: &Counted, sizes: &[u32]) -> Vec<(&'static str, &'static str, u32, f64)> {
    let mut all = Vec::new();
    for (ours, peer) in STORES {
        for &size in sizes {
            let held = |name: &str| counted.bytes.get(&(name.to_owned(), size));
            if let (Some(mine), Some(theirs)) = (held(ours), held(peer)) {
                all.push((ours, peer, size, mine / theirs));
            }
        }
    }
    all
}
