//! Interleaved timing: in every round every subject runs one batch, alone and then on two threads
//! that share it; what counts is each subject's median over the rounds.

use std::{thread, time::Duration};

use crate::{
    Batch, Subject,
    pair::Pair,
    progress::{Progress, now},
    service::{Errors, answer, calls},
};

/// Calls in one batch, however cheap they are.
const MOST_CALLS: u64 = 1 << 24;

/// How much to measure.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// Batches per subject.
    pub rounds: u32,
    /// Ends the rounds early, for a machine that is busy with other things.
    pub limit: Duration,
    /// About how long a batch takes; the number of calls follows from it.
    pub batch: Duration,
    /// Calls per batch in a runtime's panel: the same number for all, so that starting the tasks
    /// costs all the same, and many, because the workers need some time until both are busy.
    pub runtime_calls: u64,
}

impl Plan {
    /// For figures that are written down.
    pub const FULL: Self = Self {
        rounds: 100,
        limit: Duration::from_secs(300),
        batch: Duration::from_millis(2),
        runtime_calls: 64_000,
    };
    /// For a check that everything still runs.
    pub const QUICK: Self = Self {
        rounds: 20,
        limit: Duration::from_secs(12),
        batch: Duration::from_millis(1),
        runtime_calls: 32_000,
    };
}

/// What a subject costs, in nanoseconds per call: the medians.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Cost {
    /// The subject.
    pub subject: Subject,
    /// On one thread; in a runtime's panel, time passed per call of all tasks together.
    pub one: f64,
    /// On each of two threads that share the subject. None in a runtime's panel.
    pub two: Option<f64>,
}

/// Measures all subjects against each other; also says in how many rounds.
pub fn run(subjects: &[Subject], plan: Plan) -> (Vec<Cost>, u32) {
    let batches: Vec<Batch> = subjects.iter().map(|subject| (subject.make)()).collect();
    let idle = calls(Errors::Never, answer);
    thread::scope(|scope| measure(subjects, &batches, &idle, plan, &Pair::new(scope)))
}

fn measure<'a>(
    subjects: &[Subject],
    batches: &'a [Batch],
    idle: &'a Batch,
    plan: Plan,
    pair: &Pair<'a>,
) -> (Vec<Cost>, u32) {
    let runtime = |i: usize| subjects[i].panel.in_runtime();
    let mut calls = Vec::with_capacity(batches.len());
    pair.wake(idle);
    for (i, batch) in batches.iter().enumerate() {
        calls.push(if runtime(i) {
            batch(plan.runtime_calls);
            [plan.runtime_calls, 0]
        } else {
            [
                calibrate(plan.batch, |calls| time(batch, calls)),
                calibrate(plan.batch, |calls| pair.rough_time(batch, calls)),
            ]
        });
    }
    pair.rest();
    let mut samples = vec![[Vec::new(), Vec::new()]; batches.len()];
    let mut progress = Progress::new("rounds");
    let begun = now();
    let mut rounds = 0;
    for round in 0..plan.rounds {
        if now() - begun > plan.limit {
            break;
        }
        rounds += 1;
        progress.step(round.into(), plan.rounds.into());
        // Every round begins with another subject: none always follows the same one.
        let order = (0..batches.len()).map(|i| (i + round as usize) % batches.len());
        for i in order.clone() {
            let calls = calls[i][0];
            samples[i][0].push(per_call(time(&batches[i], calls), calls));
        }
        pair.wake(idle);
        for i in order.filter(|i| !runtime(*i)) {
            let calls = calls[i][1];
            samples[i][1].extend(pair.time(&batches[i], calls).map(|took| per_call(took, calls)));
        }
        pair.rest();
    }
    let cost = |(subject, [one, two]): (&Subject, [Vec<f64>; 2])| Cost {
        subject: *subject,
        one: median(one).unwrap_or(f64::NAN),
        two: median(two),
    };
    (subjects.iter().zip(samples).map(cost).collect(), rounds)
}

/// How many calls take about `target`, found by trying more and more; it also warms the subject up.
fn calibrate(target: Duration, time: impl Fn(u64) -> Duration) -> u64 {
    let mut calls = 1_000_u64;
    loop {
        let mut took = time(calls);
        if took * 4 >= target {
            // Once more, lest an interruption make all batches of the run short.
            took = took.min(time(calls));
        }
        if took * 4 >= target || calls >= MOST_CALLS {
            let fit = calls as f64 * target.as_secs_f64() / took.as_secs_f64().max(1e-9);
            return (fit as u64).clamp(200, MOST_CALLS);
        }
        calls *= 4;
    }
}

fn time(batch: &Batch, calls: u64) -> Duration {
    let begun = now();
    batch(calls);
    now() - begun
}

/// Nanoseconds per call.
pub fn per_call(took: Duration, calls: u64) -> f64 {
    took.as_secs_f64() * 1e9 / calls as f64
}

/// The middle of the samples.
pub fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    let upper = *samples.get(samples.len() / 2)?;
    let lower = samples[(samples.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}
