//! What operators see of limiters by key, and tell them.

use std::{borrow::Borrow, fmt, hash::Hash, time::Duration};

use super::RateLimiters;
use crate::{
    error::{ConfigError, PolicyKind},
    policy::{
        Cause, Command, Explanation, Mode,
        bucket::{KeyedRateLimitSnapshot, Level, keyed::AtCap},
    },
    registry::{commands, managed},
};

impl<K> RateLimiters<K> {
    /// What they do with their verdicts.
    pub fn mode(&self) -> Mode {
        self.shared.mode.get()
    }

    /// The whole table at one moment.
    pub fn snapshot(&self) -> KeyedRateLimitSnapshot {
        KeyedRateLimitSnapshot {
            mode: self.mode(),
            refused: self.shared.refused.sum(),
            untracked: self.shared.untracked.sum(),
            ..self.shared.buckets.snapshot(self.shared.clock)
        }
    }

    /// Whether a call for some new key would get in, and why: how many keys there are, or what is left of
    /// the bucket that further ones share. At the bound of a large table that depends on the key: see
    /// [`explain_key`](Self::explain_key).
    pub fn explain(&self) -> Explanation {
        let now = self.snapshot();
        let keys = Cause::Keys { observed: now.keys as u64, limit: now.max_keys as u64 };
        let burst = now.shared.burst > 0;
        match now.at_cap {
            _ if self.shared.buckets.takes_more(self.shared.clock) => {
                self.explanation(burst, keys, None)
            }
            AtCap::Admit => self.explanation(true, keys, None),
            AtCap::Refuse => self.explanation(false, keys, None),
            AtCap::ShareOverflow => self.explain_level(now.shared),
        }
    }

    commands! {
        /// Decides and reports, but never refuses, until [`enable`](Self::enable).
        shadow: Shadow;

        /// Admits everything and counts nothing, until [`enable`](Self::enable).
        disable: Disable;

        /// Back to work.
        enable: Enable;
    }

    /// Forgets every key: all buckets are full.
    pub fn reset(&self) {
        self.shared.buckets.reset();
    }

    /// Does what an operator says.
    ///
    /// # Errors
    /// [`ConfigError`] for `command` when it is one for circuits. Nothing has changed then.
    pub fn command(&self, command: Command) -> Result<(), ConfigError> {
        self.shared.mode.command(PolicyKind::RateLimit, command)?;
        if command == Command::Reset {
            self.reset();
        }
        Ok(())
    }

    fn explain_level(&self, level: Level) -> Explanation {
        let cause = Cause::Tokens { available: level.remaining, burst: level.burst };
        let until = level.next_after.filter(|next| *next > Duration::ZERO);
        self.explanation(level.remaining > 0, cause, until)
    }

    fn explanation(&self, would_admit: bool, cause: Cause, until: Option<Duration>) -> Explanation {
        let mode = self.mode();
        let (cause, until) = match mode {
            Mode::Disabled => (Cause::Command(Command::Disable), None),
            _ => (cause, until),
        };
        Explanation {
            policy: self.name(),
            state: mode.as_str(),
            shadow: mode == Mode::Shadow,
            admits: would_admit || mode != Mode::Enforce,
            would_admit: would_admit || mode == Mode::Disabled,
            cause,
            until,
            opened_by: None,
        }
    }
}

impl<K: Hash + Eq> RateLimiters<K> {
    /// Whether a call for this key that costs one token would get in, and why.
    pub fn explain_key<Q>(&self, key: &Q) -> Explanation
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.explain_level(self.level(key))
    }
}

managed!(RateLimiters<K>: RateLimit, KeyedRateLimit, for[K: Send + 'static]);

impl<K> fmt::Debug for RateLimiters<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiters")
            .field("name", &self.name())
            .field("len", &self.len())
            .finish()
    }
}
