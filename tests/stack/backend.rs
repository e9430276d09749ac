//! A service that answers by a script and notes when it was called.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use portcullis::{CarryRejection, Rejection};
use tokio::time::{Instant, Sleep};
use tower::{Service, ServiceExt as _};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The service's own error, with a cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Down(pub(crate) &'static str, pub(crate) fmt::Error);

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Down {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.1)
    }
}

/// What one call gives, and after how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line(End, Duration);

#[derive(Clone, Copy, Debug)]
enum End {
    Ok(u32),
    Down(&'static str),
    Hangs,
    Panics,
}

pub(crate) const OK: Line = ok(200);
pub(crate) const DOWN: Line = down("down");
pub(crate) const HANGS: Line = Line(End::Hangs, Duration::ZERO);
pub(crate) const PANICS: Line = Line(End::Panics, Duration::ZERO);

pub(crate) const fn ok(answer: u32) -> Line {
    Line(End::Ok(answer), Duration::ZERO)
}

pub(crate) const fn down(why: &'static str) -> Line {
    Line(End::Down(why), Duration::ZERO)
}

pub(crate) fn failed(why: &'static str) -> Down {
    Down(why, fmt::Error)
}

impl Line {
    pub(crate) const fn after(self, wait: Duration) -> Self {
        Self(self.0, wait)
    }
}

/// Always ready. Clones are the same service, and the last line of its script repeats.
#[derive(Clone, Debug)]
pub(crate) struct Backend(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    start: Instant,
    script: Mutex<VecDeque<Line>>,
    calls: Mutex<Vec<Duration>>,
    live: AtomicU32,
}

impl Backend {
    pub(crate) fn new(script: impl IntoIterator<Item = Line>) -> Self {
        Self(Arc::new(Shared {
            start: Instant::now(),
            script: Mutex::new(script.into_iter().collect()),
            calls: Mutex::default(),
            live: AtomicU32::new(0),
        }))
    }

    /// Goes on by another script.
    pub(crate) fn script(&self, script: impl IntoIterator<Item = Line>) {
        *self.0.script.lock().unwrap() = script.into_iter().collect();
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.calls.lock().unwrap().len()
    }

    /// When it was called, in milliseconds since it was made.
    pub(crate) fn times(&self) -> Vec<u128> {
        self.0.calls.lock().unwrap().iter().map(Duration::as_millis).collect()
    }

    /// Calls that it works on.
    pub(crate) fn live(&self) -> u32 {
        self.0.live.load(SeqCst)
    }
}

impl Service<u32> for Backend {
    type Response = u32;
    type Error = Down;
    type Future = Working;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Down>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Working {
        self.0.calls.lock().unwrap().push(self.0.start.elapsed());
        let mut script = self.0.script.lock().unwrap();
        let line = if script.len() > 1 { script.pop_front() } else { script.front().copied() };
        let Line(end, wait) = line.expect("a script has at least one line");
        self.0.live.fetch_add(1, SeqCst);
        let sleep = (!wait.is_zero()).then(|| Box::pin(tokio::time::sleep(wait)));
        Working { backend: self.0.clone(), end, sleep }
    }
}

#[derive(Debug)]
pub(crate) struct Working {
    backend: Arc<Shared>,
    end: End,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Future for Working {
    type Output = Result<u32, Down>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
        }
        match self.end {
            End::Ok(answer) => Poll::Ready(Ok(answer)),
            End::Down(why) => Poll::Ready(Err(failed(why))),
            End::Hangs => Poll::Pending,
            End::Panics => panic!("the backend panics"),
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.backend.live.fetch_sub(1, SeqCst);
    }
}

/// Readies and calls once, to the end.
pub(crate) async fn ask<S: Service<u32>>(service: &mut S) -> Result<S::Response, S::Error> {
    service.ready().await?.call(7).await
}

/// The refusal that a result must be.
#[track_caller]
pub(crate) fn refused<T: fmt::Debug, E: CarryRejection + fmt::Debug>(
    result: Result<T, E>,
) -> Rejection {
    match result {
        Err(error) => *error.rejection().unwrap_or_else(|| panic!("no refusal: {error:?}")),
        Ok(answer) => panic!("expected a refusal, got {answer:?}"),
    }
}

/// How long it took, in milliseconds, and what came of it.
pub(crate) async fn timed<F: Future>(future: F) -> (u128, F::Output) {
    let start = Instant::now();
    let output = future.await;
    (start.elapsed().as_millis(), output)
}
