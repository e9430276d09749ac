//! A fleet of processes that all call one service, each with a stack of its own.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use portcullis::BoxError;
use tokio::{
    runtime,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tower::{ServiceExt, util::BoxCloneService};

use crate::service::{Backend, END, TROUBLE};

/// Processes, and calls a second that each of them makes, on average.
pub(crate) const PROCESSES: u64 = 10;
pub(crate) const RATE: f64 = 70.0;

/// What a process calls.
pub(crate) type Client = BoxCloneService<(), (), BoxError>;

/// How a process calls the service.
pub(crate) struct Strategy {
    pub(crate) name: &'static str,
    /// Makes the stack of one process; what it leaves to chance follows from the number.
    pub(crate) client: fn(Backend, u64) -> Result<Client, BoxError>,
}

/// The calls that began in one second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) made: u32,
    pub(crate) succeeded: u32,
}

impl Calls {
    pub(crate) fn share(self) -> f64 {
        if self.made == 0 { 1.0 } else { f64::from(self.succeeded) / f64::from(self.made) }
    }
}

/// How it went, second by second.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    /// Requests that the service counted.
    pub(crate) came: Vec<u32>,
    /// Calls that the fleet made.
    pub(crate) calls: Vec<Calls>,
}

impl Story {
    pub(crate) fn came(&self, seconds: Range<u64>) -> u32 {
        self.came[seconds.start as usize..seconds.end as usize].iter().sum()
    }

    pub(crate) fn calls(&self, seconds: Range<u64>) -> Calls {
        let seconds = &self.calls[seconds.start as usize..seconds.end as usize];
        Calls {
            made: seconds.iter().map(|calls| calls.made).sum(),
            succeeded: seconds.iter().map(|calls| calls.succeeded).sum(),
        }
    }

    /// Requests that the service saw per call.
    pub(crate) fn amplification(&self, seconds: Range<u64>) -> f64 {
        f64::from(self.came(seconds.clone())) / f64::from(self.calls(seconds).made)
    }

    /// The most requests that the service saw in one second.
    pub(crate) fn peak(&self) -> u32 {
        self.came.iter().copied().max().unwrap_or(0)
    }

    /// How many seconds after the trouble calls begin to succeed again, three seconds running.
    pub(crate) fn recovery(&self) -> Option<u64> {
        let after = &self.calls[TROUBLE.end as usize..END as usize];
        let well = |seconds: &[Calls]| seconds.iter().all(|calls| calls.share() > 0.99);
        after.windows(3).position(well).map(|second| second as u64)
    }
}

/// Plays the story through, in virtual time, and tells of each second that it begins.
pub(crate) fn play(
    strategy: &Strategy,
    seed: u64,
    begins: impl FnMut(u64),
) -> Result<Story, BoxError> {
    let runtime =
        runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(run(strategy, seed, begins))
}

async fn run(
    strategy: &Strategy,
    seed: u64,
    mut begins: impl FnMut(u64),
) -> Result<Story, BoxError> {
    let start = Instant::now();
    let backend = Backend::new(start);
    let counted = Arc::new(Mutex::new(vec![Calls::default(); END as usize + 1]));
    let mut processes = JoinSet::new();
    for process in 0..PROCESSES {
        let seed = seed.wrapping_mul(PROCESSES).wrapping_add(process);
        let client = (strategy.client)(backend.clone(), seed)?;
        processes.spawn(call_on(client, start, seed, Arc::clone(&counted)));
    }
    for second in 0..END {
        sleep_until(start + Duration::from_secs(second)).await;
        begins(second);
    }
    while let Some(process) = processes.join_next().await {
        process?;
    }
    let calls = counted.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Story { name: strategy.name, came: backend.came(), calls })
}

/// One process: calls come at random, as they do when many people cause them.
async fn call_on(client: Client, start: Instant, seed: u64, counted: Arc<Mutex<Vec<Calls>>>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut calls = JoinSet::new();
    let mut at = 0.0;
    loop {
        at -= (1.0 - random.f64()).ln() / RATE;
        if at >= END as f64 {
            break;
        }
        sleep_until(start + Duration::from_secs_f64(at)).await;
        let (client, counted) = (client.clone(), Arc::clone(&counted));
        calls.spawn(async move {
            // Timers count in milliseconds: this is the second in which the service sees the call.
            let second = start.elapsed().as_secs().min(END) as usize;
            let result = client.oneshot(()).await;
            let mut counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
            counted[second].made += 1;
            counted[second].succeeded += u32::from(result.is_ok());
        });
        while calls.try_join_next().is_some() {}
    }
    while calls.join_next().await.is_some() {}
}
