//! How many tokens a request costs.

use std::sync::Arc;

/// How many tokens a request costs. Any `Fn(&Req) -> u64` says it.
///
/// ```
/// use portcullis::rate_limit::Cost;
///
/// let by_length = |body: &String| body.len() as u64;
/// assert_eq!(by_length.cost(&String::from("abc")), 3);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what a `{Req}` costs",
    note = "a cost is any `Fn(&Request) -> u64`"
)]
pub trait Cost<Req> {
    /// How many tokens this request costs. Nothing is taken for zero.
    fn cost(&self, request: &Req) -> u64;
}

impl<F: Fn(&Req) -> u64, Req> Cost<Req> for F {
    #[inline]
    fn cost(&self, request: &Req) -> u64 {
        self(request)
    }
}

/// A cost that is shared.
impl<C: Cost<Req> + ?Sized, Req> Cost<Req> for Arc<C> {
    fn cost(&self, request: &Req) -> u64 {
        (**self).cost(request)
    }
}

/// Every request costs one token: what layers start with.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit that users name as a value")]
pub struct OneToken;

impl<Req> Cost<Req> for OneToken {
    #[inline(always)]
    fn cost(&self, _request: &Req) -> u64 {
        1
    }
}
