//! A fleet of processes that all call one service, each with a stack of its own.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use portcullis::BoxError;
use tokio::{
    runtime,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tower::{Service, ServiceExt, util::BoxCloneService};

use crate::service::{Backend, END, Seen, TROUBLE};

/// Processes, and calls a second that each of them makes.
pub(crate) const PROCESSES: u64 = 10;
pub(crate) const RATE: f64 = 70.0;

/// What a process calls.
pub(crate) type Client = BoxCloneService<u64, (), BoxError>;

/// How a process calls the service.
pub(crate) struct Strategy {
    pub(crate) name: &'static str,
    /// Makes the stack of the process with this number.
    pub(crate) client: fn(Backend, u64) -> Result<Client, BoxError>,
}

/// Calls that began in one second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Second {
    pub(crate) calls: u32,
    pub(crate) succeeded: u32,
}

impl Second {
    pub(crate) fn share(&self) -> f64 {
        if self.calls == 0 { 1.0 } else { f64::from(self.succeeded) / f64::from(self.calls) }
    }
}

/// How it went.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    pub(crate) seen: Vec<Seen>,
    pub(crate) answered: Vec<Second>,
}

impl Story {
    /// Requests that the service saw per call, in these seconds.
    pub(crate) fn amplification(&self, seconds: std::ops::Range<u64>) -> f64 {
        let seconds = seconds.start as usize..seconds.end as usize;
        let came: u32 = self.seen[seconds.clone()].iter().map(|seen| seen.came).sum();
        let calls: u32 = self.answered[seconds].iter().map(|second| second.calls).sum();
        f64::from(came) / f64::from(calls)
    }

    /// The share of calls that succeeded, in these seconds.
    pub(crate) fn share(&self, seconds: std::ops::Range<u64>) -> f64 {
        let seconds = &self.answered[seconds.start as usize..seconds.end as usize];
        let calls: u32 = seconds.iter().map(|second| second.calls).sum();
        let succeeded: u32 = seconds.iter().map(|second| second.succeeded).sum();
        f64::from(succeeded) / f64::from(calls)
    }

    /// The most requests that the service saw in one second.
    pub(crate) fn peak(&self) -> u32 {
        self.seen.iter().map(|seen| seen.came).max().unwrap_or(0)
    }

    /// How long after the trouble it takes until all calls succeed for three seconds running.
    pub(crate) fn recovery(&self) -> Option<u64> {
        let after = &self.answered[TROUBLE.end as usize..END as usize];
        let well = |seconds: &[Second]| seconds.iter().all(|second| second.share() > 0.99);
        after.windows(3).position(well).map(|second| second as u64)
    }
}

/// Plays the story through, in virtual time.
pub(crate) fn play(strategy: &Strategy) -> Result<Story, BoxError> {
    let runtime =
        runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(run(strategy))
}

async fn run(strategy: &Strategy) -> Result<Story, BoxError> {
    let start = Instant::now();
    let backend = Backend::new(start);
    let answered = Arc::new(Mutex::new(vec![Second::default(); END as usize + 1]));
    let mut processes = JoinSet::new();
    for process in 0..PROCESSES {
        let client = (strategy.client)(backend.clone(), process)?;
        processes.spawn(call_on(client, start, process, Arc::clone(&answered)));
    }
    while let Some(process) = processes.join_next().await {
        process?;
    }
    let answered = answered.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Story { name: strategy.name, seen: backend.seen(), answered })
}

/// One process: calls come at random, as they do when many people cause them.
async fn call_on(client: Client, start: Instant, seed: u64, answered: Arc<Mutex<Vec<Second>>>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut calls = JoinSet::new();
    let mut at = 0.0;
    loop {
        at -= (1.0 - random.f64()).ln() / RATE;
        if at >= END as f64 {
            break;
        }
        sleep_until(start + Duration::from_secs_f64(at)).await;
        let (mut client, answered, second) = (client.clone(), Arc::clone(&answered), at as usize);
        calls.spawn(async move {
            let result = match client.ready().await {
                Ok(ready) => ready.call(0).await,
                Err(error) => Err(error),
            };
            let mut answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
            answered[second].calls += 1;
            answered[second].succeeded += u32::from(result.is_ok());
        });
        while calls.try_join_next().is_some() {}
    }
    while calls.join_next().await.is_some() {}
}
