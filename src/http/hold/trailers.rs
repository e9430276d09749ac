//! What trailers say about a call.

use http::HeaderMap;

use crate::outcome::{Hint, Outcome};

/// Decides what a call's trailers mean. Any `Fn(&HeaderMap) -> Outcome` is one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not classify trailers",
    note = "it is any `Fn(&http::HeaderMap) -> Outcome`"
)]
pub trait ClassifyTrailers {
    /// What these trailers mean after a head of that outcome, which was no failure.
    fn classify(&self, head: Outcome, trailers: &HeaderMap) -> Outcome;

    /// What they say about when to come back, asked for of a failure; nothing by default.
    fn hint(&self, trailers: &HeaderMap) -> Option<Hint> {
        let _ = trailers;
        None
    }
}

impl<F: Fn(&HeaderMap) -> Outcome> ClassifyTrailers for F {
    fn classify(&self, _: Outcome, trailers: &HeaderMap) -> Outcome {
        self(trailers)
    }
}

/// Trailers say nothing: the head's outcome stands. The default.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit that users name as a value")]
pub struct HeadDecides;

impl ClassifyTrailers for HeadDecides {
    fn classify(&self, head: Outcome, _: &HeaderMap) -> Outcome {
        head
    }
}
