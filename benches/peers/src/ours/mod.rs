//! Our policies, in the configurations that the peers' are compared with.

mod breaker;

use crate::{Subject, growth::Series, memory::Store};

const OURS: &str = "portcullis";

/// All of our subjects.
pub fn subjects() -> Vec<Subject> {
    breaker::subjects()
}

/// All of our series.
pub fn growth() -> Vec<Series> {
    breaker::growth()
}

/// All of our keyed stores.
pub fn stores() -> Vec<Store> {
    Vec::new()
}
