//! What ours may cost at most, as a share of what a peer costs in the same run.

use crate::{Panel, measure::Cost};

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

/// All comparisons, in the order of the report.
pub const TARGETS: [Target; 8] = [
    target("sync call, last 100 calls, all succeed", "ours-call", "recloser-call", 0.1, 0.01),
    target("the same, 1 % fail", "ours-errors", "recloser-errors", 0.6, 0.17),
    target(
        "layer, last 100 calls, all succeed",
        "ours-layer-count",
        "tower-resilience-layer",
        0.05,
        0.01,
    ),
    Target {
        work: "the same in a runtime of 2 workers, 64 tasks: cost added to the service's",
        ours: "ours-runtime",
        peer: "tower-resilience-runtime",
        one: 0.03,
        two: None,
    },
    target(
        "layer, default time window, all succeed; the peer's own service",
        "ours-layer-time",
        "seatbelt-service",
        0.4,
        0.25,
    ),
    target(
        "layer, default time window, all succeed; the peer's Tower service",
        "ours-layer-time",
        "seatbelt-layer",
        0.4,
        0.25,
    ),
    target("open, refused, default clock", "ours-open", "recloser-open", 0.8, 0.8),
    target("open, refused, fast clock", "ours-open-quanta", "recloser-open", 0.5, 0.5),
];

/// A comparison as it came out.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// What was compared.
    pub target: Target,
    /// Ours.
    pub ours: Cost,
    /// Theirs.
    pub peer: Cost,
    /// Ours as a share of theirs, on one thread or in the runtime.
    pub one: f64,
    /// The same on two threads.
    pub two: Option<f64>,
}

/// Sets ours beside theirs, wherever both were measured.
pub fn outcomes(costs: &[Cost]) -> Vec<Outcome> {
    let find = |name: &str| costs.iter().find(|cost| cost.subject.name == name).copied();
    // In a runtime most of the time is the runtime's; what the bare service takes there is no
    // breaker's doing.
    let bare = find("bare-runtime").map_or(0.0, |cost| cost.one);
    let outcome = |target: &Target| {
        let (ours, peer) = (find(target.ours)?, find(target.peer)?);
        let base = if ours.subject.panel == Panel::Runtime { bare } else { 0.0 };
        Some(Outcome {
            target: *target,
            ours,
            peer,
            // Noise may exceed what a cheap breaker adds; no breaker adds less than nothing.
            one: (ours.one - base).max(0.0) / (peer.one - base),
            two: ours.two.zip(peer.two).map(|(ours, peer)| ours / peer),
        })
    };
    TARGETS.iter().filter_map(outcome).collect()
}
