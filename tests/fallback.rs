//! Fallbacks: where answers come from, which failures they are for, and what is kept for that.
#![allow(clippy::unwrap_used, reason = "a test may panic, and picks any instant to begin with")]

mod support;

#[path = "fallback/backup.rs"]
mod backup;
#[path = "fallback/drops.rs"]
mod drops;
#[path = "fallback/keys.rs"]
mod keys;
#[path = "fallback/last_good.rs"]
mod last_good;
#[path = "fallback/model.rs"]
mod model;
#[path = "fallback/operators.rs"]
mod operators;
#[path = "fallback/readiness.rs"]
mod readiness;
#[path = "fallback/shadow.rs"]
mod shadow;
#[path = "fallback/sources.rs"]
mod sources;
#[path = "fallback/threads.rs"]
mod threads;
#[path = "fallback/types.rs"]
mod types;
#[path = "fallback/without_tower.rs"]
mod without_tower;

use std::{
    fmt::Debug,
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use portcullis::{Error, FallbackConfig, LastGoodConfig};
use support::{Caller, Fault};
use tower::Service;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

type TestError = Error<Fault>;

fn config() -> FallbackConfig {
    FallbackConfig::new("spare")
}

/// Answers younger than a minute.
fn kept() -> LastGoodConfig {
    LastGoodConfig::new("spare", MINUTE)
}

fn down<T>() -> Result<T, TestError> {
    Err(Error::Inner(Fault("down")))
}

/// A service that does what the test says, and knows which requests it saw.
#[derive(Clone, Debug)]
struct Told<T> {
    does: Arc<Mutex<Result<T, &'static str>>>,
    seen: Arc<Mutex<Vec<u32>>>,
}

impl<T: Clone> Told<T> {
    fn to(answer: T) -> Self {
        Self { does: Arc::new(Mutex::new(Ok(answer))), seen: Arc::default() }
    }

    fn answers(&self, answer: T) {
        *self.does.lock().unwrap() = Ok(answer);
    }

    fn fails(&self, why: &'static str) {
        *self.does.lock().unwrap() = Err(why);
    }

    fn seen(&self) -> Vec<u32> {
        self.seen.lock().unwrap().clone()
    }
}

impl<T: Clone> Service<u32> for Told<T> {
    type Response = T;
    type Error = TestError;
    type Future = Ready<Result<T, TestError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TestError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        self.seen.lock().unwrap().push(request);
        ready(self.does.lock().unwrap().clone().map_err(|why| Error::Inner(Fault(why))))
    }
}

/// Readies, calls, and polls until the answer is there.
#[track_caller]
fn ask<S, Req>(service: &mut S, request: Req) -> Result<S::Response, S::Error>
where
    S: Service<Req>,
    S::Error: Debug,
{
    let caller = Caller::new();
    assert!(matches!(caller.ready(service), Poll::Ready(Ok(()))), "ready");
    caller.finish(&mut Box::pin(service.call(request)))
}
