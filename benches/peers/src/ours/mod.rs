//! Our policies, in the configurations that the peers' are compared with.

mod breaker;
mod bulkhead;
mod fallback;
mod keyed;
mod limiter;
mod retry;
mod stack;
mod timeout;

use crate::{Subject, growth::Series, memory::Store};

const OURS: &str = "portcullis";

/// All of our subjects.
pub fn subjects() -> Vec<Subject> {
    let mut all = breaker::subjects();
    all.extend(limiter::subjects());
    all.extend(keyed::subjects());
    all.extend(timeout::subjects());
    all.extend(bulkhead::subjects());
    all.extend(retry::subjects());
    all.extend(fallback::subjects());
    all.extend(stack::subjects());
    all
}

/// All of our series.
pub fn growth() -> Vec<Series> {
    let mut all = breaker::growth();
    all.extend(limiter::growth());
    all.extend(keyed::growth());
    all.extend(timeout::growth());
    all.extend(bulkhead::growth());
    all.extend(retry::growth());
    all
}

/// All of our keyed stores.
pub fn stores() -> Vec<Store> {
    keyed::stores()
}
