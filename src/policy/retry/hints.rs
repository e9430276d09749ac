//! What a retry makes of a service that says when to come back.

use std::time::Duration;

use crate::policy::{
    check::{Check, Shown, ensure},
    nanos,
};

/// How a retry obeys a [`Hint::After`](crate::Hint), such as `Retry-After`. A
/// [`Hint::Stop`](crate::Hint) is obeyed always.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[must_use]
pub struct Hints {
    /// How the hint and the back-off make the delay. Default [`HintMode::Exact`].
    pub mode: HintMode,
    /// The longest wait that a service may ask for. Default 60 s.
    pub cap: Duration,
    /// Up to this share of the wait is added at random, never taken away, `0.0..=1.0`. Default 0.
    pub jitter: f64,
    /// Whether the back-off begins anew after a hint. Default `false`.
    pub restart: bool,
}

/// How a hint and the back-off make a delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HintMode {
    /// The hint replaces the back-off. Above the cap there is no further attempt.
    Exact,
    /// The longer of the two. A hint above the cap ends the call.
    AtLeast,
    /// The hint replaces the back-off, but is no longer than the cap.
    Capped,
    /// The hint, but neither less than the back-off nor more than so much above it; the cap is not asked.
    Within(Duration),
}

impl Default for Hints {
    fn default() -> Self {
        Self { mode: HintMode::Exact, cap: Duration::from_secs(60), jitter: 0.0, restart: false }
    }
}

impl Hints {
    /// For `Retry-After` of HTTP: exact, plus 0..10 % so that those who were told the same do not come
    /// back together.
    pub fn http() -> Self {
        Self { jitter: 0.1, ..Self::default() }
    }

    /// For gRPC's pushback (gRFC A6): exact, and the back-off begins anew after it.
    pub fn grpc() -> Self {
        Self { restart: true, ..Self::default() }
    }

    /// Sets how hint and back-off make the delay.
    pub const fn mode(mut self, mode: HintMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the longest wait that a service may ask for.
    pub const fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Sets the share that is added at random.
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Sets whether the back-off begins anew after a hint.
    pub const fn restart(mut self, on: bool) -> Self {
        self.restart = on;
        self
    }

    /// The delay for a hint; `None` if it is longer than may be.
    pub(super) fn delay(&self, hint: Duration, own: Duration, random: f64) -> Option<Duration> {
        let delay = match self.mode {
            HintMode::Exact | HintMode::AtLeast if hint > self.cap => return None,
            HintMode::Exact => hint,
            HintMode::AtLeast => hint.max(own),
            HintMode::Capped => hint.min(self.cap),
            HintMode::Within(above) => hint.clamp(own, own.saturating_add(above)),
        };
        let more = nanos(delay) as f64 * self.jitter * random;
        Some(delay.saturating_add(Duration::from_nanos(more as u64)))
    }

    /// The longest delay that a service may ask for; `None` where the back-off limits it and not the cap.
    pub(crate) fn longest(&self) -> Option<Duration> {
        match self.mode {
            HintMode::Within(_) => None,
            HintMode::Exact | HintMode::AtLeast | HintMode::Capped => {
                let more = (nanos(self.cap) as f64 * self.jitter) as u64;
                Some(self.cap.saturating_add(Duration::from_nanos(more)))
            }
        }
    }

    pub(crate) fn check(&self) -> Check {
        ensure(
            (0.0..=1.0).contains(&self.jitter),
            "hints.jitter",
            self.jitter,
            "must be a share in 0.0..=1.0",
        )?;
        let why = "must be longer than zero, or every hint would be too long";
        let needed = matches!(self.mode, HintMode::Exact | HintMode::AtLeast);
        ensure(!needed || self.cap > Duration::ZERO, "hints.cap", Shown(self.cap), why)
    }
}
