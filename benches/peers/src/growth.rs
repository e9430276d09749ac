//! Cost per call against whatever a policy has gathered by then. It should be flat.

use crate::{
    Batch,
    measure::{median, per_call},
    panel::Group,
    progress::{Progress, now},
};

/// What grows. One table each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Axis {
    /// Calls that a breaker's window holds.
    Calls,
    /// Keys that a limiter holds.
    Keys,
    /// Callers who wait, or calls in flight.
    Waiters,
    /// Seconds since the last call.
    Idle,
}

impl Axis {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 4] = [Self::Calls, Self::Keys, Self::Waiters, Self::Idle];

    /// The policy that it is about.
    const fn is_of(self, group: Group) -> bool {
        match self {
            Self::Calls => matches!(group, Group::Breaker),
            Self::Keys => matches!(group, Group::Keyed),
            Self::Waiters => {
                matches!(group, Group::Bulkhead | Group::Limiter | Group::Timeout)
            }
            Self::Idle => matches!(group, Group::Breaker | Group::Limiter | Group::Retry),
        }
    }

    /// How far each is taken. The largest window takes one of the peers some ten seconds to fill.
    pub fn sizes(self, quick: bool) -> Vec<u32> {
        let (mut sizes, in_a_hurry) = match self {
            Self::Calls => (vec![100, 1_000, 10_000, 100_000], 3),
            Self::Keys => (vec![100, 1_000, 10_000, 100_000, 1_000_000], 3),
            Self::Waiters => (vec![0, 100, 1_000, 10_000], 3),
            Self::Idle => (vec![1, 60, 3_600, 86_400], 4),
        };
        if quick {
            sizes.truncate(in_a_hurry);
        }
        sizes
    }

    /// Calls before those that are timed, so that what the other subjects pushed out of the caches comes
    /// back unmeasured.
    fn warming(self, size: u32) -> u64 {
        match self {
            // They would count as calls in the window.
            Self::Calls if size <= FEW => 0,
            // Once around, or else whoever was built last is the one that is still in the caches.
            Self::Keys => u64::from(size.clamp(100, 200_000)),
            _ => TIMED,
        }
    }

    /// The table's heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Calls => "Cost per call against calls in the window",
            Self::Keys => "Cost per call against keys held",
            Self::Waiters => "Cost per call against callers that wait",
            Self::Idle => "Cost per call against seconds since the last one",
        }
    }

    /// What the reader of the table has to know.
    pub const fn note(self) -> &'static str {
        match self {
            Self::Calls => {
                "Nanoseconds on one thread; every hundredth call fails. Time windows are an hour \
                 long, so that they hold every call made."
            }
            Self::Keys => {
                "Nanoseconds on one thread. One key asked for again and again shows what the table \
                 costs; keys in no order show the processor's caches too."
            }
            Self::Waiters => {
                "Nanoseconds on one thread, for one more caller to join those that wait and to give \
                 up, or for one more call to start its timer and to end."
            }
            Self::Idle => {
                "Nanoseconds on one thread; a clock that jumps so far before each call, which is \
                 how a long uptime looks to a policy."
            }
        }
    }
}

/// One policy along one axis.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Series {
    /// What grows.
    pub axis: Axis,
    /// The crate and its kind of policy.
    pub name: &'static str,
    /// Builds it at so large a size.
    pub make: fn(u32) -> Batch,
}

impl Series {
    /// A series.
    pub const fn new(axis: Axis, name: &'static str, make: fn(u32) -> Batch) -> Self {
        Self { axis, name, make }
    }
}

/// What the series of one axis cost, in nanoseconds per call, at each size.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Curves {
    /// What grows.
    pub axis: Axis,
    /// How far.
    pub sizes: Vec<u32>,
    /// Each series with one figure per size.
    pub costs: Vec<(Series, Vec<f64>)>,
}

/// Few enough not to change what a large window holds, enough to time, and one failure exactly.
const TIMED: u64 = 100;
const ROUNDS: u32 = 11;
/// A window of time holds every call made. One that holds no more than so many is made anew for each round,
/// lest the timed calls outnumber those that were there; larger ones hardly notice.
const FEW: u32 = 1_000;

/// Measures every series, or every one that is about a group, axis by axis.
pub fn run(only: Option<Group>, quick: bool) -> Vec<Curves> {
    let mut all = crate::ours::growth();
    all.extend(crate::rivals::growth());
    let wanted = |axis: &Axis| only.is_none_or(|group| axis.is_of(group));
    Axis::ALL
        .into_iter()
        .filter(wanted)
        .map(|axis| {
            let series: Vec<Series> =
                all.iter().filter(|series| series.axis == axis).copied().collect();
            along(axis, axis.sizes(quick), series)
        })
        .filter(|curves| !curves.costs.is_empty())
        .collect()
}

/// Builds each series at each size, then times a few calls, on one thread.
fn along(axis: Axis, sizes: Vec<u32>, series: Vec<Series>) -> Curves {
    let mut costs: Vec<(Series, Vec<f64>)> =
        series.iter().map(|series| (*series, Vec::new())).collect();
    for &size in &sizes {
        let mut samples = vec![Vec::new(); series.len()];
        let anew = size <= FEW;
        let mut kept: Vec<Option<Batch>> = series.iter().map(|_| None).collect();
        for _ in 0..ROUNDS {
            for (i, series) in series.iter().enumerate() {
                let batch = match kept[i].take() {
                    Some(batch) if !anew => batch,
                    _ => (series.make)(size),
                };
                batch(axis.warming(size));
                let begun = now();
                batch(TIMED);
                samples[i].push(per_call(now() - begun, TIMED));
                kept[i] = Some(batch);
            }
        }
        for ((_, costs), samples) in costs.iter_mut().zip(samples) {
            costs.push(median(samples).unwrap_or(f64::NAN));
        }
    }
    Curves { axis, sizes, costs }
}

/// The same batch after so many calls.
pub fn after(batch: Batch, calls: u32) -> Batch {
    let mut progress = Progress::new("calls before the first that is timed");
    let calls = u64::from(calls);
    for done in 0..calls / TIMED {
        batch(TIMED);
        progress.step(done * TIMED, calls);
    }
    batch
}
