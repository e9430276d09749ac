//! Whose quotas a response tells.

use std::{fmt, hash::Hash, sync::Arc};

use http::HeaderMap;

use super::{Fields, quota::Quota};
use crate::{
    error::Rejection,
    policy::Mode,
    rate_limit::{RateLimiter, RateLimiters},
};

/// Whose quotas a response tells: made by the methods of [`RespondLayer`](crate::http::RespondLayer). Not to be
/// implemented elsewhere.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not know whose quota a `{Req}` counts against",
    note = "the closure given to `rate_limit_fields_by` takes a reference to the request"
)]
pub trait Quotas<Req>: sealed::Sealed {
    /// What is kept of a request until it is answered.
    type Ticket: Ticket;

    #[doc(hidden)]
    fn ticket(&self, request: &Req) -> Self::Ticket;
}

/// What is kept of a request until it is answered.
pub trait Ticket: sealed::Sealed {
    /// Writes what is left by then.
    #[doc(hidden)]
    fn write(self, refusal: Option<&Rejection>, headers: &mut HeaderMap);
}

mod sealed {
    pub trait Sealed {}
}

/// Nobody's: a response is as it was made.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct NoQuotas;

impl NoQuotas {
    pub(crate) const fn new() -> Self {
        Self
    }
}

impl sealed::Sealed for NoQuotas {}

impl<Req> Quotas<Req> for NoQuotas {
    type Ticket = Self;

    #[inline]
    fn ticket(&self, _: &Req) -> Self {
        Self
    }
}

impl Ticket for NoQuotas {
    #[inline]
    fn write(self, _: Option<&Rejection>, _: &mut HeaderMap) {}
}

/// What refusals themselves know of the quota that is used up.
#[derive(Clone, Copy, Debug)]
pub struct OfRefusals {
    fields: Fields,
}

impl OfRefusals {
    pub(crate) const fn new(fields: Fields) -> Self {
        Self { fields }
    }
}

impl sealed::Sealed for OfRefusals {}

impl<Req> Quotas<Req> for OfRefusals {
    type Ticket = Self;

    #[inline]
    fn ticket(&self, _: &Req) -> Self {
        *self
    }
}

impl Ticket for OfRefusals {
    fn write(self, refusal: Option<&Rejection>, headers: &mut HeaderMap) {
        if let Some(quota) = refusal.and_then(Quota::of_refusal) {
            quota.write(self.fields, headers);
        }
    }
}

/// The quota that all share.
#[derive(Clone, Debug)]
pub struct OfLimiter {
    fields: Fields,
    limiter: RateLimiter,
}

impl OfLimiter {
    pub(crate) const fn new(fields: Fields, limiter: RateLimiter) -> Self {
        Self { fields, limiter }
    }
}

impl sealed::Sealed for OfLimiter {}

impl<Req> Quotas<Req> for OfLimiter {
    type Ticket = Self;

    #[inline]
    fn ticket(&self, _: &Req) -> Self {
        self.clone()
    }
}

impl Ticket for OfLimiter {
    fn write(self, refusal: Option<&Rejection>, headers: &mut HeaderMap) {
        let Self { fields, limiter } = self;
        // A limit that does not hold is nothing to tell clients of.
        if fields != Fields::Off && limiter.mode() == Mode::Enforce {
            Quota::of(&limiter.config(), limiter.remaining(), limiter.reset_after())
                .refused(refusal)
                .write(fields, headers);
        }
    }
}

/// The quota of the key that a request belongs to.
pub struct OfKey<K, F> {
    key: Arc<F>,
    limiters: KeyedQuotas<K>,
}

/// The quotas of all keys.
struct KeyedQuotas<K> {
    fields: Fields,
    limiters: RateLimiters<K>,
}

/// A key whose quota will be told; none where there is nothing to tell.
pub struct Keyed<K> {
    asked: Option<(KeyedQuotas<K>, K)>,
}

impl<K, F> OfKey<K, F> {
    pub(crate) fn new(fields: Fields, limiters: RateLimiters<K>, key: F) -> Self {
        Self { key: Arc::new(key), limiters: KeyedQuotas { fields, limiters } }
    }
}

impl<K> Clone for KeyedQuotas<K> {
    fn clone(&self) -> Self {
        Self { fields: self.fields, limiters: self.limiters.clone() }
    }
}

impl<K, F> Clone for OfKey<K, F> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), limiters: self.limiters.clone() }
    }
}

impl<K, F> fmt::Debug for OfKey<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfKey").field("limiters", &self.limiters.limiters).finish_non_exhaustive()
    }
}

impl<K> fmt::Debug for Keyed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").finish_non_exhaustive()
    }
}

impl<K, F> sealed::Sealed for OfKey<K, F> {}

impl<K> sealed::Sealed for Keyed<K> {}

impl<K: Hash + Eq, F: Fn(&Req) -> K, Req> Quotas<Req> for OfKey<K, F> {
    type Ticket = Keyed<K>;

    fn ticket(&self, request: &Req) -> Keyed<K> {
        let Self { key, limiters } = self;
        let tells = limiters.fields != Fields::Off && limiters.limiters.mode() == Mode::Enforce;
        Keyed { asked: tells.then(|| (limiters.clone(), key(request))) }
    }
}

impl<K: Hash + Eq> Ticket for Keyed<K> {
    fn write(self, refusal: Option<&Rejection>, headers: &mut HeaderMap) {
        if let Some((KeyedQuotas { fields, limiters }, key)) = self.asked {
            let level = limiters.level(&key);
            Quota::of(&limiters.config(), level.remaining, level.reset_after)
                .refused(refusal)
                .write(fields, headers);
        }
    }
}

/// The quotas of `A`, and then those of `B`.
#[derive(Clone, Copy, Debug)]
pub struct And<A, B> {
    first: A,
    then: B,
}

impl<A, B> And<A, B> {
    pub(crate) const fn new(first: A, then: B) -> Self {
        Self { first, then }
    }
}

impl<A, B> sealed::Sealed for And<A, B> {}

impl<A: Quotas<Req>, B: Quotas<Req>, Req> Quotas<Req> for And<A, B> {
    type Ticket = And<A::Ticket, B::Ticket>;

    #[inline]
    fn ticket(&self, request: &Req) -> Self::Ticket {
        And { first: self.first.ticket(request), then: self.then.ticket(request) }
    }
}

impl<A: Ticket, B: Ticket> Ticket for And<A, B> {
    #[inline]
    fn write(self, refusal: Option<&Rejection>, headers: &mut HeaderMap) {
        self.first.write(refusal, headers);
        self.then.write(refusal, headers);
    }
}
