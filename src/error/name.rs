//! Names and durations as rejections show them.

use std::{
    collections::HashSet,
    fmt,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

/// A duration for people: rounded up to tenths of a second, or to milliseconds below one second.
pub(crate) struct Rounded(pub(crate) Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = if self.0 >= Duration::from_secs(1) { 100_000_000 } else { 1_000_000 };
        let up = self.0.subsec_nanos().next_multiple_of(step);
        let whole = Duration::from_secs(self.0.as_secs());
        fmt::Debug::fmt(&whole.saturating_add(Duration::from_nanos(up.into())), f)
    }
}

/// Turns a name that is known only at run time into the `&'static str` that policies carry.
///
/// Each distinct name is stored once and never freed: intern names from configuration, never names
/// from requests.
///
/// ```
/// let from_file = String::from("payments");
/// let name: &'static str = portcullis::intern(&from_file);
/// assert!(std::ptr::eq(name, portcullis::intern("payments")));
/// ```
pub fn intern(name: &str) -> &'static str {
    static NAMES: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    match names.get(name) {
        Some(known) => known,
        None => {
            let kept: &'static str = Box::leak(name.into());
            names.insert(kept);
            kept
        }
    }
}
