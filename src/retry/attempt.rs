//! The number of the attempt that runs here.

use std::cell::Cell;

use crate::ambient::{self, Restore};

thread_local! {
    /// Zero outside.
    static ATTEMPT: Cell<u32> = const { Cell::new(0) };
}

/// Which attempt of a retry runs here: 1 for the first call, 2 for the first retry. `None` outside of a
/// retry, and inside one that makes a single attempt anyway.
///
/// It holds during the synchronous part of the service's `call` and of each poll of its future, like the
/// ambient [deadline](crate::deadline). A spawned task does not inherit it. It costs one thread-local read.
///
/// ```
/// use portcullis::{Error, RetryConfig, RetryPolicy, retry};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let policy = RetryPolicy::new(RetryConfig::new("db"))?;
/// let answer = policy.run(|| async {
///     match retry::attempt() {
///         Some(1) => Err(Error::Inner("try again")),
///         attempt => Ok(attempt),
///     }
/// });
/// assert_eq!(answer.await, Ok(Some(2)));
/// assert_eq!(retry::attempt(), None);
/// # Ok(())
/// # }
/// ```
#[inline]
pub fn attempt() -> Option<u32> {
    match ambient::current(&ATTEMPT, 0) {
        0 => None,
        attempt => Some(attempt),
    }
}

/// Lets an attempt's number hold until the result is dropped.
#[inline]
pub(super) fn enter(attempt: u32) -> Restore<u32> {
    ambient::set(&ATTEMPT, attempt)
}
