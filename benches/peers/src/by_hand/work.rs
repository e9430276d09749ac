//! What each policy does before a call and after it, and nothing else.

use std::{
    future::Future,
    hint::black_box,
    marker::PhantomData,
    pin::Pin,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use pin_project_lite::pin_project;
use portcullis::clock::tokio_now;
use tokio::time::{Sleep, sleep_until};
use tower_service::Service;

use super::HOUR;

/// What one policy does for one call. One that keeps nothing after the call needs no reference to itself.
pub(super) trait Work: Default + Send + Sync + 'static {
    /// Whether the call's future has to keep the policy.
    const KEPT: bool = true;

    /// Whether the call may be made.
    fn before(&self) -> bool {
        true
    }

    /// It has succeeded.
    fn after(&self) {}
}

/// A clock in nanoseconds.
pub(super) trait Time: Default + Send + Sync + 'static {
    /// Nanoseconds since this value was made.
    fn passed(&self) -> u64;
}

/// tokio's clock, which is std's.
pub(super) struct Std(Instant);

impl Default for Std {
    fn default() -> Self {
        Self(tokio_now())
    }
}

impl Time for Std {
    #[inline]
    fn passed(&self) -> u64 {
        let passed = tokio_now().saturating_duration_since(self.0);
        passed.as_secs() * 1_000_000_000 + u64::from(passed.subsec_nanos())
    }
}

/// quanta's clock.
pub(super) struct Quanta(u64);

static QUANTA: LazyLock<quanta::Clock> = LazyLock::new(quanta::Clock::new);

impl Default for Quanta {
    fn default() -> Self {
        Self(QUANTA.raw())
    }
}

impl Time for Quanta {
    #[inline]
    fn passed(&self) -> u64 {
        QUANTA.delta_as_nanos(self.0, QUANTA.raw())
    }
}

/// A rate limit by one word: when the bucket will be full.
#[derive(Default)]
pub(super) struct Limit<T> {
    time: T,
    full_at: AtomicU64,
}

/// What a token takes: a million a second.
const TOKEN: u64 = 1_000;
/// What the bucket holds, in nanoseconds.
const BURST: u64 = 1_000_000_000 * TOKEN;

impl<T: Time> Limit<T> {
    /// One that refuses for as long as any run takes.
    pub(super) fn used_up() -> Self {
        let full_at = u64::MAX / 2;
        Self { time: T::default(), full_at: full_at.into() }
    }

    /// How long to wait for a token, if at all.
    #[inline]
    pub(super) fn wait(&self) -> Result<(), u64> {
        let now = self.time.passed();
        let after = self.full_at.load(Ordering::Acquire).max(now) + TOKEN;
        if after - now > BURST { Err(after - now - BURST) } else { Ok(()) }
    }
}

impl<T: Time> Work for Limit<T> {
    const KEPT: bool = false;

    #[inline]
    fn before(&self) -> bool {
        let now = self.time.passed();
        let mut seen = self.full_at.load(Ordering::Acquire);
        loop {
            let after = seen.max(now) + TOKEN;
            if after - now > BURST {
                return false;
            }
            match self.full_at.compare_exchange_weak(
                seen,
                after,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(changed) => seen = changed,
            }
        }
    }
}

/// A breaker with a window of the last calls, all of which succeeded.
pub(super) struct CountBreaker {
    state: AtomicU64,
    left: AtomicU64,
}

impl Default for CountBreaker {
    fn default() -> Self {
        Self { state: 0.into(), left: u64::MAX.into() }
    }
}

impl Work for CountBreaker {
    #[inline]
    fn before(&self) -> bool {
        self.state.load(Ordering::Acquire) == 0
    }

    #[inline]
    fn after(&self) {
        black_box(self.left.load(Ordering::Acquire));
    }
}

/// A breaker whose window holds failures: every result is counted.
#[derive(Default)]
pub(super) struct Counted(AtomicU64);

impl Work for Counted {
    #[inline]
    fn before(&self) -> bool {
        let more = |counted| Some(counted + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }
}

/// A breaker with a window of time: it has to see whether the bucket has changed, and counts.
#[derive(Default)]
pub(super) struct TimeBreaker {
    time: Std,
    counted: CountBreaker,
}

impl Work for TimeBreaker {
    #[inline]
    fn before(&self) -> bool {
        self.counted.before()
    }

    #[inline]
    fn after(&self) {
        black_box(self.time.passed());
        let left = &self.counted.left;
        let _ = left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| Some(left - 1));
    }
}

/// A limit on calls in flight.
#[derive(Default)]
pub(super) struct Bulkhead(AtomicU64);

impl Work for Bulkhead {
    #[inline]
    fn before(&self) -> bool {
        let more = |taken| (taken < 1_000).then_some(taken + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    #[inline]
    fn after(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A retry that is never needed: a call is counted for the budget.
#[derive(Default)]
pub(super) struct Retry(AtomicU64);

impl Work for Retry {
    #[inline]
    fn before(&self) -> bool {
        self.0.fetch_add(1, Ordering::AcqRel);
        true
    }
}

/// A timeout that counts from the call.
#[derive(Default)]
pub(super) struct Timeout(PhantomData<()>);

impl Work for Timeout {
    const KEPT: bool = false;

    #[inline]
    fn before(&self) -> bool {
        black_box(tokio_now().checked_add(HOUR)).is_some()
    }
}

/// A timeout with a timer, which is started when the service is not ready at once.
#[derive(Clone)]
pub(super) struct Pending<S>(pub(super) S);

impl<S: Service<u64>> Service<u64> for Pending<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Timed<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: u64) -> Self::Future {
        let deadline = tokio_now() + HOUR;
        Timed { future: self.0.call(request), deadline, timer: None }
    }
}

pin_project! {
    pub(super) struct Timed<F> {
        #[pin]
        future: F,
        deadline: Instant,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<F: Future> Future for Timed<F> {
    type Output = F::Output;

    #[inline]
    #[expect(clippy::disallowed_methods, reason = "what tokio's timer costs is the question")]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let answer = this.future.poll(cx);
        if answer.is_pending() {
            if this.timer.is_none() {
                this.timer.set(Some(sleep_until((*this.deadline).into())));
            }
            if let Some(timer) = this.timer.as_pin_mut() {
                let _ = black_box(timer.poll(cx));
            }
        }
        answer
    }
}
