//! The policies of other crates, and the same work without a policy.
//!
//! Where a setting decides what is compared (the kind of window, a quota), all get the same one;
//! everything else is each crate's default.

mod breakers;
mod keyed;
mod layers;
mod limiters;
mod stacks;
mod waiters;

use seatbelt::ResilienceContext;
use tick::Clock;

use crate::{
    Subject,
    growth::Series,
    memory::Store,
    service::{Fault, runtime},
};

const GOVERNOR: &str = "governor";
const SEATBELT: &str = "seatbelt";
const TOWER: &str = "tower";

/// Every subject that is not ours.
pub fn subjects() -> Vec<Subject> {
    let mut all = breakers::subjects();
    all.extend(limiters::subjects());
    all.extend(keyed::subjects());
    all.extend(layers::subjects());
    all.extend(stacks::subjects());
    all
}

/// Every series that is not ours.
pub fn growth() -> Vec<Series> {
    let mut all = breakers::growth();
    all.extend(limiters::growth());
    all.extend(keyed::growth());
    all.extend(waiters::growth());
    all
}

/// Every keyed store that is not ours.
pub fn stores() -> Vec<Store> {
    keyed::stores()
}

/// Where seatbelt's policies get their time from. The clock has a driver task for timers, which sleeps
/// while there are none.
fn seatbelt() -> ResilienceContext<u64, Result<u64, Fault>> {
    let _inside = runtime().enter();
    ResilienceContext::new(Clock::new_tokio())
}
