//! The keys of keyed limiters, and the order in which they are asked for.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// In which a token comes back to a key's bucket. A bucket that is full may count as absent: it takes
/// that long after a call before one is.
pub const MINUTE: Duration = Duration::from_secs(60);
/// Tokens per key: more than any run takes.
pub const BURST: u32 = 1_000_000;

/// 2⁶⁴ divided by the golden ratio: its multiples spread evenly, and no two neighbours follow each
/// other.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Goes through a number of keys, all alike often and in no order that a processor could guess.
#[derive(Debug)]
pub struct Walk {
    keys: u64,
    starts: AtomicU64,
}

impl Walk {
    /// Goes through so many keys.
    pub const fn over(keys: u64) -> Self {
        Self { keys, starts: AtomicU64::new(1) }
    }

    /// Makes so many calls, each with the number of the next key. Every batch starts somewhere else:
    /// two threads must not ask for the same keys in step.
    #[inline]
    pub fn each(&self, calls: u64, mut call: impl FnMut(u64)) {
        let mut at = self.starts.fetch_add(0x0123_4567_89AB_CDEF, Ordering::Relaxed);
        for _ in 0..calls {
            at = at.wrapping_add(STEP);
            call(((u128::from(at) * u128::from(self.keys)) >> 64) as u64);
        }
    }
}

/// Keys as an application would have them: a name, 14 bytes long.
pub fn strings(count: u64) -> Vec<String> {
    (0..count).map(|number| format!("client-{number:07}")).collect()
}
