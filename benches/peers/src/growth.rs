//! Cost per call against the number of calls in the window. It should be flat.

use crate::{
    Batch,
    measure::{median, per_call},
    progress::{Progress, now},
};

/// One breaker at several sizes of its window.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Series {
    /// The crate and its kind of window.
    pub name: &'static str,
    /// Builds it for so many calls in the window.
    pub make: fn(u32) -> Batch,
}

impl Series {
    /// A series.
    pub const fn new(name: &'static str, make: fn(u32) -> Batch) -> Self {
        Self { name, make }
    }
}

/// What a series costs, in nanoseconds per call, at each size.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Curve {
    /// The series.
    pub series: Series,
    /// One figure per size.
    pub costs: Vec<f64>,
}

/// Few enough not to change what a large window holds, enough to time, and one failure exactly.
const TIMED: u64 = 100;
const ROUNDS: u32 = 11;

/// Fills each window with as many calls as it is to hold, then times a few more, on one thread.
pub fn run(series: &[Series], sizes: &[u32]) -> Vec<Curve> {
    let mut curves: Vec<Curve> =
        series.iter().map(|series| Curve { series: *series, costs: Vec::new() }).collect();
    for &size in sizes {
        let mut samples = vec![Vec::new(); series.len()];
        // A window of time holds every call made. Small ones are made anew for each round, lest the
        // timed calls outnumber those that were there; large ones hardly notice.
        let anew = size <= 1_000;
        let mut kept: Vec<Option<Batch>> = series.iter().map(|_| None).collect();
        for _ in 0..ROUNDS {
            for (i, series) in series.iter().enumerate() {
                let batch = match kept[i].take() {
                    Some(batch) if !anew => {
                        // What the other subjects pushed out of the caches comes back unmeasured.
                        batch(TIMED);
                        batch
                    }
                    _ => filled(*series, size),
                };
                let begun = now();
                batch(TIMED);
                samples[i].push(per_call(now() - begun, TIMED));
                kept[i] = Some(batch);
            }
        }
        for (curve, samples) in curves.iter_mut().zip(samples) {
            curve.costs.push(median(samples).unwrap_or(f64::NAN));
        }
    }
    curves
}

fn filled(series: Series, size: u32) -> Batch {
    let batch = (series.make)(size);
    let mut progress = Progress::new(series.name);
    let size = u64::from(size);
    for done in 0..size / TIMED {
        batch(TIMED);
        progress.step(done * TIMED, size);
    }
    batch
}
