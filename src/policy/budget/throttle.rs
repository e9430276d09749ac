//! The retry throttling of gRPC, as gRFC A6 has it.

use super::config::{TOKEN, parts};
use crate::sync::{AtomicU64, Mutex, Ordering};

/// Tokens in one atomic number. Successes while it is full write nothing.
#[derive(Debug)]
pub(super) struct Throttle {
    tokens: AtomicU64,
    /// Changed together, by whoever configures.
    max: AtomicU64,
    ratio: AtomicU64,
    configuring: Mutex<()>,
}

impl Throttle {
    pub(super) fn new(max_tokens: u32, ratio: f64) -> Self {
        let max = u64::from(max_tokens) * TOKEN;
        Self {
            tokens: AtomicU64::new(max),
            max: AtomicU64::new(max),
            ratio: AtomicU64::new(parts(ratio)),
            configuring: Mutex::new(()),
        }
    }

    /// A success puts a part of a token back.
    #[inline]
    pub(super) fn success(&self) {
        let max = self.max.load(Ordering::Relaxed);
        if self.tokens.load(Ordering::Relaxed) != max {
            let ratio = self.ratio.load(Ordering::Relaxed);
            self.change(|tokens| (tokens + ratio).min(max));
        }
    }

    /// A failure takes a token, if there is one; whether more than half are left.
    pub(super) fn failure(&self) -> bool {
        let left = self.change(|tokens| tokens.saturating_sub(TOKEN));
        left > self.max.load(Ordering::Relaxed) / 2
    }

    pub(super) fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }

    pub(super) fn allows(&self) -> bool {
        self.tokens() > self.max.load(Ordering::Relaxed) / 2
    }

    pub(super) fn reconfigure(&self, max_tokens: u32, ratio: f64) {
        let _one_at_a_time = self.configuring.lock();
        let max = u64::from(max_tokens) * TOKEN;
        self.max.store(max, Ordering::Relaxed);
        self.ratio.store(parts(ratio), Ordering::Relaxed);
        self.change(|tokens| tokens.min(max));
    }

    pub(super) fn reset(&self) {
        let max = self.max.load(Ordering::Relaxed);
        self.change(|_| max);
    }

    fn change(&self, change: impl Fn(u64) -> u64) -> u64 {
        let mut tokens = self.tokens.load(Ordering::Relaxed);
        loop {
            let changed = change(tokens);
            match self.tokens.compare_exchange_weak(
                tokens,
                changed,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return changed,
                Err(other) => tokens = other,
            }
        }
    }
}
