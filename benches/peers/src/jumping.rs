//! A clock that stands still until it is told to jump.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

static SECONDS: AtomicU64 = AtomicU64::new(0);

/// Its time.
pub fn now() -> Instant {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(crate::progress::now);
    *ORIGIN + Duration::from_secs(SECONDS.load(Ordering::Relaxed))
}

/// Later by so many seconds.
pub fn ahead(seconds: u32) {
    SECONDS.fetch_add(seconds.into(), Ordering::Relaxed);
}
