//! `RateLimit` fields: what is left of a client's quota, told with every response.
//!
//! They are told by a [`RespondLayer`](crate::http::RespondLayer), and only where that is asked for, since they
//! show what a server can bear:
//!
//! ```
//! use portcullis::{RateLimitConfig, RateLimitLayer, http::{RespondLayer, rate_limit_fields::Fields}};
//!
//! let limit = RateLimitLayer::new(RateLimitConfig::per_second("api", 100))?;
//! let respond = RespondLayer::new().rate_limit_fields(Fields::Draft10, limit.limiter());
//! # let _ = respond;
//! # Ok::<(), portcullis::ConfigError>(())
//! ```
//!
//! ```text
//! ratelimit-policy: "api";q=100;w=1
//! ratelimit: "api";r=42;t=1
//! ```
//!
//! # What they say
//!
//! | [`Draft10`](Fields::Draft10) | [`Legacy`](Fields::Legacy) | what |
//! |---|---|---|
//! | `q` of `ratelimit-policy` | `x-ratelimit-limit` | the burst: the most at once |
//! | `w` of `ratelimit-policy` | – | the seconds in which a whole burst comes back, rounded up; left out where none does |
//! | `r` of `ratelimit` | `x-ratelimit-remaining` | whole tokens that are left |
//! | `t` of `ratelimit` | `x-ratelimit-reset` | seconds until there is one more, rounded up, and never zero; left out where that is never or none is missing, which in the old field is zero |
//!
//! The numbers are those at the time of the response, after the request's own tokens were taken. Where the limiter
//! itself refused the request, they are the refusal's: nothing is left, and `t` is what `Retry-After` says.
//!
//! `Draft10` is draft-ietf-httpapi-ratelimit-headers-10. Its fields are lists: each limiter that is told adds a line of
//! its own, below whatever the service wrote. Of the older `x-ratelimit-…` fields there can be but one of each: the
//! first limiter's, unless the service wrote them itself. What they count differs from server to server; here,
//! `x-ratelimit-reset` is in seconds from now.
//!
//! In a name, what is not printable ASCII is percent-encoded. In [shadow](crate::Mode::Shadow) or disabled, a limiter is
//! not told of.
//!
//! # By key
//!
//! Limiters by key need to know whose quota it is:
//! [`rate_limit_fields_by`](crate::http::RespondLayer::rate_limit_fields_by) takes the closure that the limiting layer was
//! given. The key is made once more for each call, and is kept until the response. At the bound of their table, see
//! [`level`](crate::RateLimiters::level).
//!
//! # What it costs
//!
//! Nothing where it is off. Else one look at the limiter, and the allocations of the fields, with each response.

mod quota;
mod source;

pub use self::source::{And, Keyed, NoQuotas, OfKey, OfLimiter, OfRefusals, Quotas, Ticket};

/// Which fields tell of quotas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fields {
    /// None.
    #[default]
    Off,
    /// `RateLimit-Policy` and `RateLimit`, as of draft-ietf-httpapi-ratelimit-headers-10.
    Draft10,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`, the last in seconds from now.
    Legacy,
}
